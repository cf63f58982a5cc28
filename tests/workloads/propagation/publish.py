"""publish.py ADDRESS COUNT LARGE NAME: publishes through pika, on three channels with confirms, to the exchange amq.topic.

The routing key is NAME and the message's number, its body counts up modulo 251 from that on; LARGE of them have 10 MiB. Properties
are of ten kinds, by the last digit: none, tables of every kind of value, no table behind and before others, a `traceparent`
of the application's own, too many entries, too long ones. Ends well where all were confirmed.
"""
import datetime
import decimal
import sys

import pika

ADDRESS, COUNT, LARGE, NAME = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
OWN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SIZES = [0, 1, 100, 5_000, 20, 4_096, 0, 131_064, 300, 3, 131_065, 60_000, 200_000]
COUNTING = bytes(range(251)) * (11 * 1024 * 1024 // 251)
ALL = {
    "true": True, "int": -1, "long": 1 << 40, "text": "ü", "bytes": b"\x00\xce", "nothing": None,
    "decimal": decimal.Decimal("1.5"), "time": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
    "list": [1, "two", {"q": [b"x"]}, None], "table": {"traceparent": OWN, "deep": {"deeper": {}}},
}


def properties(number):
    return [
        {},
        {"content_type": "text/plain", "headers": {"a": 1, "b": "x" * (number % 200)}},
        {"content_type": "t", "content_encoding": "gzip", "message_id": str(number), "priority": 3},
        {"headers": {"n": {"m": [1, True, None]}, "traceparent": OWN}},
        {"headers": ALL, "delivery_mode": 2},
        {"headers": {f"x-{entry}": entry for entry in range(40)}},
        {"content_encoding": "e" * 255, "headers": {"a": "b"}, "delivery_mode": 1, "priority": 9, "correlation_id": "c" * 255,
         "reply_to": "r", "expiration": "60000", "message_id": "m", "timestamp": 1, "type": "t", "user_id": "guest",
         "app_id": "a"},
        {"headers": {"traceparent": OWN}, "app_id": "a"},
        {"headers": {"long": "l" * 5_000}},
        {"headers": {}, "content_type": ""},
    ][number % 10]


def key(number):
    return f"{NAME}.{number}"


def body(number):
    size = 10 << 20 if number < LARGE else SIZES[number // 10 % len(SIZES)]
    return COUNTING[number % 251:number % 251 + size]


def main():
    host, port = ADDRESS.split(":")
    connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port)))
    channels = [connection.channel() for _ in range(3)]
    for channel in channels:
        channel.confirm_delivery()
    for number in range(COUNT):
        channels[number % 3].basic_publish("amq.topic", key(number), body(number), pika.BasicProperties(**properties(number)))
    connection.close()


if __name__ == "__main__":
    main()
