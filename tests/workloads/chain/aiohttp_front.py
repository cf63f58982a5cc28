"""aiohttp_front.py PORT STOCK DATABASE: aiohttp's server and client, and asyncpg; sequential calls and calls side by side."""
import asyncio
import sys

import aiohttp
import asyncpg
from aiohttp import web

from work import duration

STOCK, DATABASE = sys.argv[2:4]


async def stock(app, path):
    async with app["session"].get(f"http://{STOCK}/stock/{path}") as response:
        response.raise_for_status()
        return await response.text()


async def select(app, text):
    async with app["pool"].acquire() as connection:
        assert await connection.fetchval(f"SELECT '{text}'::text") == text


async def order(request):
    app, id = request.app, request.match_info["id"]
    await stock(app, f"{id}/first")
    await asyncio.sleep(duration(id))
    await asyncio.gather(stock(app, f"{id}/left"), stock(app, f"{id}/right"), select(app, id))
    await select(app, f"{id} last")
    return web.Response(text=id)


async def look(request):
    app, id = request.app, request.match_info["id"]
    await select(app, id)
    return web.Response(text=await stock(app, f"{id}/only"))


async def resources(app):
    connector = aiohttp.TCPConnector(limit=50)
    async with aiohttp.ClientSession(connector=connector) as app["session"]:
        # No connection before the first request: by then the server's processes are watched.
        async with asyncpg.create_pool(DATABASE, min_size=0, max_size=20) as app["pool"]:
            yield


app = web.Application()
app.cleanup_ctx.append(resources)
app.add_routes([web.get("/order/{id}", order), web.get("/look/{id}", look)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), backlog=256, print=None)
