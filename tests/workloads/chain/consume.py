"""consume.py PORT COUNT STOCK PREFETCH: messages.py's consumer by aio-pika, which handles up to PREFETCH messages at a time in
tasks, each of which asks stock by aiohttp.
"""
import asyncio
import sys

import aio_pika
import aiohttp

from messages import EXCHANGE, QUEUE

port, count, stock, prefetch = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])


async def main():
    done = asyncio.Queue()
    connection = await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{port}/")
    async with connection, aiohttp.ClientSession() as session:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=prefetch)
        exchange = await channel.declare_exchange(EXCHANGE, "topic")
        queue = await channel.declare_queue(QUEUE)
        await queue.bind(exchange, "placed.*")

        async def handle(message):
            id = message.message_id
            async with session.get(f"http://{stock}/stock/{id}") as response:
                assert await response.text() == id
            await message.ack()
            done.put_nowait(id)

        print("listening", flush=True)
        await queue.consume(handle)
        for _ in range(count):
            print(await done.get(), flush=True)


asyncio.run(main())
