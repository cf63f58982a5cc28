"""publish_asyncio.py ADDRESS COUNT LARGE NAME: the messages of publish.py through aio-pika, from thirty tasks side by side."""
import asyncio

import aio_pika

from publish import ADDRESS, ALL, COUNT, body, key, properties

TASKS = 30
# Of bytes it takes these alone.
ALL |= {"bytes": bytearray(b"\x00\xce"), "list": [1, "two", {"q": [bytearray(b"x")]}, None]}


async def main():
    connection = await aio_pika.connect(f"amqp://guest:guest@{ADDRESS}/")
    channels = [await connection.channel() for _ in range(3)]
    exchanges = [await channel.get_exchange("amq.topic") for channel in channels]

    async def some(part):
        for number in range(part, COUNT, TASKS):
            # Else it makes one up.
            named = {"message_id": str(number), **properties(number)}
            if "expiration" in named:
                # Here in seconds.
                named["expiration"] = 60
            message = aio_pika.Message(body(number), **named)
            await exchanges[number % 3].publish(message, key(number))

    await asyncio.gather(*(some(part) for part in range(TASKS)))
    await connection.close()


asyncio.run(main())
