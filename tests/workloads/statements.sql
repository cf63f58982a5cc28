-- Statements of every kind, for psql.
SELECT 1;
SELECT 'two
lines', $$dollar ' quote$$, E'it\'s', /* a /* nested */ comment */ 1.5e3;
SELECT 1 \; SELECT 'two' \; UPDATE accounts SET balance = 0 WHERE id = 7;
SELECT 1 \; SELECT 1 / 0 \; SELECT 'never';
SELECT nothing FROM nowhere;
SELEC 1;
CREATE TABLE notes (id int, note text);
COPY notes FROM STDIN;
1	one
2	two
\.
\copy notes TO STDOUT
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM accounts;
FETCH 10 FROM c;
ROLLBACK;
LISTEN news;
NOTIFY news, 'extra';
DO $$ BEGIN RAISE NOTICE 'noted'; END $$;
SELECT repeat('x', 100000);
