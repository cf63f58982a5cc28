"""meaning.py URL: what PostgreSQL makes of statements that end in every way, as simple queries. Prints a line of JSON for each."""
import json
import sys

import psycopg2

STATEMENTS = [
    "SELECT 1", "SELECT 1;", "SELECT 1 ;\n", "\n    SELECT 1\n", "SELECT 1; SELECT 2", "SELECT 1;;", "", ";", "  ",
    "SELECT 1 -- x", "SELECT 1 -- x\n", "SELECT 1 /* x */", "SELECT 1 /* x", "SELECT 1 /* /* x */", "SELECT 1 --",
    "SELECT 'a", "SELECT 'a''", "SELECT '", "SELECT E'a\\", "SELECT E'a\\'", "SELECT U&'a", "SELECT B'0", "SELECT \"a",
    "SELECT $$a", "SELECT $t$a$t", "SELECT $t$a$t$", "SELECT $", "SELECT 1 AS \"a\"", "SELECT 'a'", "SELECT E'a\\\\'",
    "SELECT *", "SELECT 1 +", "SELECT 1 -", "SELECT 1 /", "SELECT 4 *", "SELECT 1::int", "SELECT 'a' 'b'", "SELECT 'a'\n'b'",
    "SELECT 1 AS a", "SELECT 1e", "SELECT 1.", "SELECT 0x", "SELECT 1 / 0", "SELECT 'ä'", "SELECT 'a' AS \"ä\"", "SELECT 1\\",
    "BEGIN", "COMMIT", "BEGIN; SELECT 1; COMMIT", "ROLLBACK", "SHOW server_version_num", "SET application_name = 'x'",
    "VALUES (1), (2)", "WITH a AS (SELECT 1) SELECT * FROM a", "SELEC 1", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p",
    "BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 3)", "FETCH 2 FROM c", "CLOSE c; COMMIT",
    "SELECT 1 /*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/", "SELECT 'traceparent'",
    "SELECT length('" + "x" * 3000 + "')", "SELECT length('" + "x" * 5000 + "')", "SELECT length('" + "x" * 500_000 + "')",
    "SELECT count(*) FROM pg_cursors", "SELECT 'a--b'", "SELECT 2--1", "SELECT 6/*2*/*7",
]

for backslash in ("on", "off"):
    connection = psycopg2.connect(sys.argv[1])
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("SET standard_conforming_strings = " + backslash)
    for statement in STATEMENTS:
        rows, code = None, None
        try:
            cursor.execute(statement)
            rows = [list(map(str, row)) for row in cursor.fetchall()] if cursor.description else cursor.statusmessage
        except psycopg2.Error as failure:
            code = failure.pgcode or type(failure).__name__
        print(json.dumps([statement[:80], rows, code, connection.info.transaction_status]), flush=True)
    connection.close()
