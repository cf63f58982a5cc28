"""pricing.py PORT DATABASE: GET /prices/SKU?quantity=N, by aiohttp and asyncpg.

What is appraised takes a while, and what there is none of costs nothing that could be computed.
"""
import sys

import asyncpg
from aiohttp import web

PRICE = "SELECT price, appraised FROM prices WHERE sku = $1"
APPRAISE = "SELECT sum(value) FROM appraisals, pg_sleep(0.25) WHERE sku = $1"
DISCOUNT = "SELECT $1::int * (100 - 10 / $2::int) / 100"


async def price(request):
    sku, quantity = request.match_info["sku"], int(request.query["quantity"])
    async with request.app["pool"].acquire() as connection:
        row = await connection.fetchrow(PRICE, sku)
        if row is None:
            raise web.HTTPNotFound
        amount = row["price"]
        if row["appraised"]:
            amount = await connection.fetchval(APPRAISE, sku)
        amount = await connection.fetchval(DISCOUNT, amount * quantity, quantity)
    return web.json_response({"price": amount})


async def resources(app):
    # Without asyncpg's own statement behind each use of a connection: what is left by it is nothing.
    async def reset(_):
        pass

    async with asyncpg.create_pool(sys.argv[2], min_size=0, max_size=10, reset=reset) as app["pool"]:
        yield


app = web.Application()
app.cleanup_ctx.append(resources)
app.add_routes([web.get("/prices/{sku}", price)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
