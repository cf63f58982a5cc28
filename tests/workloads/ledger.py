"""ledger.py DRIVER URL COUNT CONCURRENCY: statements of every outcome through psycopg2, psycopg or asyncpg.

Each of CONCURRENCY connections executes its part of COUNT. At the end, a line of JSON for each statement: its text as
the driver sends it, rows returned (null where it returns none by its nature), SQLSTATE of its failure.
"""
import asyncio
import json
import sys
import threading

KINDS = 6
ONE = "SELECT id, name FROM accounts WHERE id = {}"
SEVEN = "SELECT id FROM accounts ORDER BY id LIMIT 7"
UPDATE = "UPDATE accounts SET balance = balance + 1 WHERE id = {}"
ZERO = "SELECT 1 / ({}::int)"
TWICE = "INSERT INTO accounts (id, name) VALUES ({}, $$it's$$)"
NONE = "SELECT * FROM accounts WHERE name = 'O''Brien' -- nobody"

told = []


def tell(statement, rows=None, code=None):
    told.append({"statement": statement, "rows": rows, "code": code})


def dbapi(connect, error, text, calls):
    """psycopg2 and psycopg are used in the same way."""
    connection = connect()
    connection.autocommit = True
    cursor = connection.cursor()

    def execute(statement, *values):
        sql = statement.format(*["%s"] * len(values))
        try:
            cursor.execute(sql, values or None)
        except error as failure:
            tell(text(cursor, statement, values), None, failure.sqlstate if hasattr(failure, "sqlstate") else failure.pgcode)
        else:
            tell(text(cursor, statement, values), None if cursor.description is None else cursor.rowcount)

    for call in calls:
        kind = call % KINDS
        if kind == 0:
            execute(ONE, call % 100 + 1)
        elif kind == 1:
            execute(SEVEN)
        elif kind == 2:
            execute("BEGIN")
            execute(UPDATE, call % 100 + 1)
            execute("COMMIT")
        elif kind == 3:
            execute(ZERO, 0)
        elif kind == 4:
            execute(TWICE, 1)
        else:
            execute(NONE)
    return connection


def psycopg2(url, calls):
    import psycopg2

    dbapi(lambda: psycopg2.connect(url), psycopg2.Error, lambda cursor, *_: cursor.query.decode(), calls).close()


def psycopg(url, calls):
    import psycopg

    def text(_, statement, values):
        return statement.format(*[f"${at + 1}" for at in range(len(values))])

    connection = dbapi(lambda: psycopg.connect(url), psycopg.Error, text, calls)
    pipelines(psycopg, connection, len(calls) // KINDS)
    connection.close()


def pipelines(psycopg, connection, count):
    """Statements without waiting for answers: one fails in the middle, and the server skips what is behind it."""
    select = "SELECT %s::int + 1"
    for at in range(count):
        with connection.pipeline():
            cursors = [connection.execute(select, (number,)) for number in range(5)]
        for cursor in cursors:
            tell("SELECT $1::int + 1", cursor.rowcount)
        try:
            with connection.pipeline():
                connection.execute(select, (at,))
                connection.execute("SELECT 2 / %s::int", (0,))
                connection.execute("SELECT 'skipped'")
        except psycopg.Error as failure:
            tell("SELECT $1::int + 1", 1)
            tell("SELECT 2 / $1::int", None, failure.sqlstate)


async def asyncpg_calls(url, calls):
    import asyncpg

    connection = await asyncpg.connect(url)

    async def execute(statement, *values):
        text = statement.format(*[f"${at + 1}" for at in range(len(values))])
        try:
            rows = await connection.fetch(text, *values)
        except asyncpg.PostgresError as failure:
            tell(text, None, failure.sqlstate)
        else:
            tell(text, len(rows) if text.startswith("SELECT") else None)

    for call in calls:
        kind = call % KINDS
        if kind == 0:
            await execute(ONE, call % 100 + 1)
        elif kind == 1:
            await execute(SEVEN)
        elif kind == 2:
            async with connection.transaction():
                await execute(UPDATE, call % 100 + 1)
                # A portal, executed in pieces: 5, 5 and 2 rows.
                rows = [row async for row in connection.cursor("SELECT generate_series(1, 12)", prefetch=5)]
                assert len(rows) == 12
        elif kind == 3:
            await execute(ZERO, 0)
        elif kind == 4:
            await execute(TWICE, 1)
        else:
            await execute(NONE)
    await connection.close()


def main():
    driver, url, count, concurrency = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    parts = [range(part, count, concurrency) for part in range(concurrency)]
    if driver == "asyncpg":
        async def together():
            await asyncio.gather(*(asyncpg_calls(url, part) for part in parts))

        asyncio.run(together())
    else:
        run = {"psycopg2": psycopg2, "psycopg": psycopg}[driver]
        threads = [threading.Thread(target=run, args=(url, part)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for line in told:
        print(json.dumps(line))


main()
