"""parcels_asyncio.py ADDRESS COUNT CONCURRENCY: messages of every outcome through aio-pika.

Each of CONCURRENCY connections publishes its part of COUNT messages on two channels from tasks side by side, each message
after PACE, and consumes them on a third. At the end, a line of JSON for each message published, delivered and got, and when
that began: of a delivery, when it was published.
"""
import asyncio
import json
import os
import sys
import time

import aio_pika
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError

KINDS = 6
EXCHANGE = "parcels"
PACE = int(os.environ.get("PACE", "0ms").removesuffix("ms")) / 1000

told = []


def tell(at, operation, exchange, key, id, size, queue=None, tag=None, redelivered=False, settled=None, error=None):
    told.append(locals())


def tell_of(at, operation, message, queue, settled):
    tell(at, operation, message.exchange, message.routing_key, message.message_id, len(message.body), queue,
         message.delivery_tag, message.redelivered, settled)


async def publish(exchange, key, id, size, mandatory=False):
    at = time.time_ns()
    headers = {"n": size, "deep": {"l": [1, None]}, "at": at}
    message = aio_pika.Message(b"\xce" * size, message_id=id, correlation_id=id, headers=headers)
    error = None
    try:
        await exchange.publish(message, key, mandatory=mandatory)
    except PublishError as returned:
        error = str(returned.message.delivery.reply_code)
    except DeliveryError:
        error = "nack"
    except ChannelNotFoundEntity:
        error = "404"
    tell(at, "publish", exchange.name, key, id, size, error=error)


async def calls(address, part, mine):
    connection = await aio_pika.connect(f"amqp://guest:guest@{address}/")
    senders = [await connection.channel(on_return_raises=True) for _ in range(2)]
    receiver, other = await connection.channel(), await connection.channel()
    queue, key, full = f"aiopika-{part}", f"aiopika-key-{part}", f"aiopika-full-{part}"
    await receiver.declare_exchange(EXCHANGE, "direct")
    incoming = await receiver.declare_queue(queue, exclusive=True)
    await incoming.bind(EXCHANGE, key)
    await receiver.declare_queue(full, exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    box = await other.declare_queue("", exclusive=True)
    exchanges = [(await sender.get_exchange(EXCHANGE), sender.default_exchange) for sender in senders]
    due = sum(call % KINDS in (0, 1, 5) for call in mine)
    done, held = asyncio.Event(), []
    if not due:
        done.set()

    async def take(message):
        nonlocal due
        kind = int(message.message_id.rsplit("-", 1)[1]) % KINDS

        def settled(message, how):
            tell_of(message.headers["at"], "deliver", message, queue, how)

        if kind == 5 and not message.redelivered:
            # It comes back.
            await message.nack()
            settled(message, "nack")
            return
        due -= 1
        if kind == 1 and due:
            held.append(message)
        elif kind == 0 and due:
            await message.ack()
            settled(message, "ack")
        elif kind == 5 and due:
            await message.reject()
            settled(message, "reject")
        else:
            await message.ack(multiple=True)
            for one in [*held, message]:
                settled(one, "ack")
            held.clear()
        if not due:
            done.set()

    async def send(call, turn):
        await asyncio.sleep(PACE * turn)
        direct, default = exchanges[turn % 2]
        id = f"aiopika-{part}-{call}"
        await [
            lambda: publish(direct, key, id, 10),
            lambda: publish(direct, key, id, 10_000),
            lambda: publish(direct, "nobody", id, 0, mandatory=True),
            lambda: publish(default, box.name, id, 3),
            lambda: publish(default, full, id, 100),
            lambda: publish(direct, key, id, 20),
        ][call % KINDS]()

    await incoming.consume(take)
    await asyncio.gather(done.wait(), *(send(call, turn + 1) for turn, call in enumerate(mine)))
    no_ack = True
    while True:
        at = time.time_ns()
        message = await box.get(no_ack=no_ack, fail=False)
        if message is None:
            break
        if not no_ack:
            await message.ack()
        tell_of(at, "get", message, box.name, None if no_ack else "ack")
        no_ack = not no_ack
    failing = await connection.channel()
    nowhere = await failing.get_exchange("nowhere", ensure=False)
    await publish(nowhere, key, f"aiopika-{part}-nowhere", 5)
    await connection.close()


async def main():
    address, count, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    await asyncio.gather(*(calls(address, part, range(part, count, concurrency)) for part in range(concurrency)))
    for line in told:
        print(json.dumps(line))


asyncio.run(main())
