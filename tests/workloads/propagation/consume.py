"""consume.py publish PORT COUNT TARGET | consume.py consume PORT COUNT TARGET: messages with the keys ID-0, ID-1 and so on, some
of which have headers of their own, and each fifth the context of a trace that TRACE is, of these each second with a `tracestate`.
For each, the consumer asks TARGET before it acknowledges it. They come one at a time.
"""
import http.client
import os
import sys

import pika

EXCHANGE, QUEUE = "shop", "placed"

what, port, count, target = sys.argv[1:]
channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(port))).channel()
channel.exchange_declare(EXCHANGE, "topic")
channel.queue_declare(QUEUE)
channel.queue_bind(QUEUE, EXCHANGE, "#")
if what == "publish":
    for number in range(int(count)):
        headers = [None, {}, {"number": number, "what": "some text"}][number % 3]
        if number % 5 == 3:
            headers = {"number": number, "traceparent": f"00-{os.environ['TRACE']}-00f067aa0ba902b7-01"}
            if number % 10 == 8:
                headers |= {"tracestate": f"own={number}", "more": [number]}
        content_type = [None, "text/plain"][number % 2]
        properties = pika.BasicProperties(content_type=content_type, headers=headers, message_id=f"ID-{number}")
        channel.basic_publish(EXCHANGE, f"ID-{number}", b"b" * (number * 100), properties)
else:
    connection = http.client.HTTPConnection(target, timeout=30)
    channel.basic_qos(prefetch_count=1)
    print("listening", flush=True)
    for number, (method, *_) in enumerate(channel.consume(QUEUE), 1):
        connection.request("GET", f"/{method.routing_key}")
        assert connection.getresponse().read() == b"ok"
        channel.basic_ack(method.delivery_tag)
        if number == int(count):
            break
channel.connection.close()
