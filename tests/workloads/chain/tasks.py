"""tasks.py SERVER LOOP PORT STOCK DATABASE: for /order/ID it asks stock, and then, beside each other, the database, stock by
another task and stock from a thread.

SERVER is aiohttp, or uvicorn with FastAPI, which asks by httpx; LOOP is asyncio or uvloop.
"""
import asyncio
import sys

import asyncpg
from work import CONNECTIONS, Stock, duration, id_of

SERVER, LOOP, PORT, STOCK, DATABASE = sys.argv[1:]

blocking = Stock(STOCK)
# Not before the first request: by then the server's processes are watched.
databases = asyncio.LifoQueue()
for _ in range(CONNECTIONS):
    databases.put_nowait(None)


async def select(id):
    connection = await databases.get() or await asyncpg.connect(DATABASE)
    assert await connection.execute(f"SELECT '{id}'::text") == "SELECT 1"
    databases.put_nowait(connection)


async def handle(get, path):
    id = id_of(path)
    assert await get(f"/stock/{id}/first") == id
    await asyncio.sleep(duration(id))
    second, third, _ = await asyncio.gather(
        get(f"/stock/{id}/second"), asyncio.to_thread(blocking.get, f"/stock/{id}/third"), select(id)
    )
    assert second == id and third.decode() == id
    return id


def aiohttp():
    from aiohttp import ClientSession, TCPConnector, web

    session = None

    async def get(path):
        nonlocal session
        session = session or ClientSession(connector=TCPConnector(limit=CONNECTIONS))
        async with session.get(f"http://{STOCK}{path}") as response:
            return await response.text()

    async def order(request):
        return web.Response(text=await handle(get, request.path))

    if LOOP == "uvloop":
        import uvloop

        uvloop.install()
    application = web.Application()
    application.router.add_get("/order/{id}", order)
    web.run_app(application, host="127.0.0.1", port=int(PORT), print=None)


def uvicorn():
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse
    from httpx import AsyncClient, Limits

    client = AsyncClient(limits=Limits(max_connections=CONNECTIONS), timeout=30)

    async def get(path):
        return (await client.get(f"http://{STOCK}{path}")).text

    application = FastAPI()

    @application.get("/order/{id}", response_class=PlainTextResponse)
    async def order(id):
        return await handle(get, f"/order/{id}")

    uvicorn.run(application, host="127.0.0.1", port=int(PORT), loop=LOOP, log_level="warning")


globals()[SERVER]()
