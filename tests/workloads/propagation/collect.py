"""collect.py ADDRESS COUNT NAME: says `ready`, consumes so many messages that publish.py called NAME sends and prints a line of JSON for each: its routing
key, its properties as they came in hex, its body's size, and whether that counts up modulo 251 from the number in its routing key on.
On standard error, how they came.
"""
import json
import sys
import time

import pika

address, count, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
host, port = address.split(":")
COUNTING = bytes(range(251)) * (11 * 1024 * 1024 // 251)
got = []
times = []


def keep(self, encoded, offset=0):
    self.encoded = encoded[offset:]
    return self


pika.BasicProperties.decode = keep


def take(channel, method, properties, body):
    times.append(time.monotonic())
    number = int(method.routing_key.rsplit(".")[1])
    channel.basic_ack(method.delivery_tag)
    got.append({"key": method.routing_key, "properties": properties.encoded.hex(), "size": len(body),
                "same": COUNTING[number % 251:number % 251 + len(body)] == body})
    if len(got) == count:
        channel.stop_consuming()


connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port), heartbeat=0))
channel = connection.channel()
channel.basic_qos(prefetch_count=100)
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, "amq.topic", f"{name}.*")
channel.basic_consume(queue, take)
print("ready", flush=True)
channel.start_consuming()
connection.close()
longest = max((after - before for before, after in zip(times, times[1:])), default=0)
print(f"{count} messages in {times[-1] - times[0]:.1f} s, at most {longest * 1000:.1f} ms from one to the next", file=sys.stderr, flush=True)
for line in got:
    print(json.dumps(line))
