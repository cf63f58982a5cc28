"""messages.py publish PORT COUNT | messages.py consume PORT COUNT STOCK: messages whose id is `ID-message-1-7` for the one
of number 7, and its routing key `placed.ID`; for each, its consumer asks stock before it acknowledges it, and prints the id.
They come one at a time.
"""
import sys

import pika

from work import Stock

EXCHANGE, QUEUE = "shop", "orders"


def main():
    what, port, count, *stock = sys.argv[1:]
    count = int(count)
    channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(port))).channel()
    channel.exchange_declare(EXCHANGE, "topic")
    channel.queue_declare(QUEUE)
    channel.queue_bind(QUEUE, EXCHANGE, "placed.*")
    if what == "publish":
        for number in range(count):
            id = f"ID-message-1-{number}"
            channel.basic_publish(EXCHANGE, f"placed.{id}", b"body", pika.BasicProperties(message_id=id))
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


if __name__ == "__main__":
    main()
