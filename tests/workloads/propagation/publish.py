"""publish.py PORT COUNT: publishes, and gets all messages back. Prints a line of JSON for each: its number, the headers that came
and whether all else is as it was sent.
"""
import json
import sys

import pika

PORT, COUNT = int(sys.argv[1]), int(sys.argv[2])
OWN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SIZES = [0, 1, 100, 5_000, 200_000]


def properties(number):
    """None, a table, no table behind strings, a context of its own, and tables in tables."""
    return [
        pika.BasicProperties(),
        pika.BasicProperties(content_type="text/plain", headers={"a": 1, "b": "x" * (number % 200)}),
        pika.BasicProperties(content_type="t", content_encoding="gzip", message_id=str(number), priority=3),
        pika.BasicProperties(headers={"n": {"m": [1, True, None]}, "traceparent": OWN}),
        pika.BasicProperties(headers={"n": {"m": [1, "two", {"q": b"x"}]}, "t": 1 << 40}, delivery_mode=2),
    ][number % 5]


connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", PORT))
channel = connection.channel()
channel.confirm_delivery()
queue = channel.queue_declare("", exclusive=True).method.queue


def body_of(number):
    return bytes((number + index) % 251 for index in range(SIZES[number // 5 % 5]))


for number in range(COUNT):
    channel.basic_publish("", queue, body_of(number), properties(number))
for number in range(COUNT):
    sent, body = properties(number), body_of(number)
    _, got, back = channel.basic_get(queue, auto_ack=True)
    headers = dict(got.headers or {})
    contexts = [value for key, value in headers.items() if key == "traceparent"]
    left = {key: value for key, value in headers.items() if key != "traceparent"}
    given = {key: value for key, value in (sent.headers or {}).items() if key != "traceparent"}
    names = ["content_type", "content_encoding", "message_id", "priority", "delivery_mode", "expiration", "type"]
    same = left == given and back == body and all(getattr(got, name) == getattr(sent, name) for name in names)
    print(json.dumps({"number": number, "contexts": contexts, "same": same, "own": number % 5 == 3}), flush=True)
connection.close()
