"""calls.py threads|aio PORT STOCK DATABASE: a server of gRPC, by grpcio. For call/ID it asks stock and the database, for watch/ID
the database before each of three messages. `threads` is its thread pool, `aio` its server for asyncio.
"""
import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from work import Database, Stock, duration

MESSAGES = 3

way, port, stock, database = sys.argv[1:]


class Threads(grpc.GenericRpcHandler):
    def __init__(self):
        self.stock, self.database = Stock(stock), Database(database)

    def service(self, details):
        _, what, id = details.method.split("/")
        if what == "call":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: self.call(id))
        return grpc.unary_stream_rpc_method_handler(lambda request, context: self.watch(id))

    def call(self, id):
        self.stock.get(f"/stock/{id}/first")
        time.sleep(duration(id))
        self.database.select(id)
        return b""

    def watch(self, id):
        for number in range(MESSAGES):
            self.database.select(f"{id} {number}")
            yield b""


class Tasks(grpc.GenericRpcHandler):
    def __init__(self, session, pool):
        self.session, self.pool = session, pool

    def service(self, details):
        _, what, id = details.method.split("/")

        async def call(request, context):
            async with self.session.get(f"http://{stock}/stock/{id}/first") as response:
                assert await response.text() == id
            await asyncio.sleep(duration(id))
            await self.select(id)
            return b""

        async def watch(request, context):
            for number in range(MESSAGES):
                await self.select(f"{id} {number}")
                yield b""

        if what == "call":
            return grpc.unary_unary_rpc_method_handler(call)
        return grpc.unary_stream_rpc_method_handler(watch)

    async def select(self, text):
        assert await self.pool.fetchval(f"SELECT '{text}'::text") == text


async def serve():
    import aiohttp
    import asyncpg

    # Not before the first request: by then the server's processes are watched.
    pool = await asyncpg.create_pool(database, min_size=0, max_size=20)
    async with aiohttp.ClientSession() as session:
        server = grpc.aio.server(handlers=[Tasks(session, pool)])
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()


if way == "aio":
    asyncio.run(serve())
else:
    server = grpc.server(ThreadPoolExecutor(64), handlers=[Threads()])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()
