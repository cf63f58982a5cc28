"""messages.py publish PORT COUNT | messages.py consume PORT COUNT STOCK: messages whose id is `ID-message-1-7` for the one
of number 7; for each, its consumer asks stock before it acknowledges it, and prints the id. They come one at a time.
"""
import sys

import pika

from work import Stock

QUEUE = "orders"

what, port, count, *stock = sys.argv[1:]
count = int(count)
channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(port))).channel()
channel.queue_declare(QUEUE)
if what == "publish":
    for number in range(count):
        properties = pika.BasicProperties(message_id=f"ID-message-1-{number}")
        channel.basic_publish("", QUEUE, b"body", properties)
else:
    stock = Stock(stock[0])
    channel.basic_qos(prefetch_count=1)
    print("listening", flush=True)
    for number, (method, properties, _) in enumerate(channel.consume(QUEUE), 1):
        stock.get(f"/stock/{properties.message_id}")
        channel.basic_ack(method.delivery_tag)
        print(properties.message_id, flush=True)
        if number == count:
            break
channel.connection.close()
