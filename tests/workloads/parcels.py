"""parcels.py ADDRESS COUNT CONCURRENCY: messages of every outcome through pika.

Each of CONCURRENCY connections publishes its part of COUNT messages, each after PACE, and consumes them. At the end, a
line of JSON for each message published, delivered and got, and when that began: of a delivery, when it was published.
"""
import json
import os
import sys
import threading
import time

import pika

KINDS = 6
EXCHANGE = "parcels"
LARGE = 10_000
PACE = int(os.environ.get("PACE", "0ms").removesuffix("ms")) / 1000

told = []


def tell(at, operation, exchange, key, id, size, queue=None, tag=None, redelivered=False, settled=None, error=None):
    told.append(locals())


def connect(address):
    host, port = address.split(":")
    # As small as frames may be.
    return pika.BlockingConnection(pika.ConnectionParameters(host, int(port), frame_max=4096))


def publish(channel, exchange, key, id, size, mandatory=False):
    at = time.time_ns()
    headers = {"n": size, "deep": {"l": [1, None]}, "at": at}
    properties = pika.BasicProperties(message_id=id, correlation_id=id, headers=headers)
    error = None
    try:
        channel.basic_publish(exchange, key, b"\xce" * size, properties, mandatory)
    except pika.exceptions.UnroutableError:
        error = "312"
    except pika.exceptions.NackError:
        error = "nack"
    except pika.exceptions.ChannelClosedByBroker as closed:
        error = str(closed.reply_code)
    tell(at, "publish", exchange, key, id, size, error=error)


def calls(address, part, all_of_it):
    connection = connect(address)
    sender, receiver, other = [connection.channel() for _ in range(3)]
    sender.confirm_delivery()
    queue, key, full = f"pika-{part}", f"pika-key-{part}", f"pika-full-{part}"
    receiver.exchange_declare(EXCHANGE, "direct")
    receiver.queue_declare(queue, exclusive=True)
    receiver.queue_bind(queue, EXCHANGE, key)
    receiver.queue_declare(full, exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    box = other.queue_declare("", exclusive=True).method.queue
    deliveries = receiver.consume(queue)
    held = []

    def take(settle):
        """The next delivery; `settle` says what is done with it."""
        method, properties, body = next(deliveries)
        tag = method.delivery_tag
        line = (properties.headers["at"], "deliver", method.exchange, method.routing_key, properties.message_id, len(body),
                queue, tag, method.redelivered)
        if settle == "hold":
            held.append(line)
        elif settle == "all":
            receiver.basic_ack(tag, multiple=True)
            for one in [*held, line]:
                tell(*one, "ack")
            held.clear()
        else:
            {"ack": receiver.basic_ack, "nack": receiver.basic_nack, "reject": receiver.basic_reject}[settle](
                tag, **({} if settle == "ack" else {"requeue": settle == "nack"}))
            tell(*line, settle)

    for call in all_of_it:
        id, kind = f"pika-{part}-{call}", call % KINDS
        time.sleep(PACE)
        if kind == 0:
            publish(sender, EXCHANGE, key, id, 10)
            take("ack")
        elif kind == 1:
            publish(sender, EXCHANGE, key, id, LARGE)
            take("hold")
        elif kind == 2:
            publish(sender, EXCHANGE, "nobody", id, 0, mandatory=True)
        elif kind == 3:
            publish(sender, "", box, id, 3)
            no_ack = call % (2 * KINDS) == 3
            at = time.time_ns()
            method, properties, body = other.basic_get(box, no_ack)
            if not no_ack:
                other.basic_ack(method.delivery_tag)
            tell(at, "get", "", box, properties.message_id, len(body), box, method.delivery_tag, method.redelivered,
                 None if no_ack else "ack")
            assert other.basic_get(box, no_ack)[0] is None
        elif kind == 4:
            publish(sender, "", full, id, 100)
        else:
            publish(sender, EXCHANGE, key, id, 20)
            take("nack")
            # It comes back.
            take("all")
            publish(sender, EXCHANGE, key, id + "-no", 20)
            take("reject")
    publish(sender, EXCHANGE, key, f"pika-{part}-last", 1)
    take("all")
    connection.channel().basic_qos(prefetch_count=1)
    failing = connection.channel()
    failing.confirm_delivery()
    publish(failing, "nowhere", key, f"pika-{part}-nowhere", 5)
    connection.close()


def main():
    address, count, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    threads = [threading.Thread(target=calls, args=(address, part, range(part, count, concurrency))) for part in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for line in told:
        print(json.dumps(line))


main()
