"""shipping.py BROKER DATABASE: consumes orders by pika, one at a time, and writes each to the database by psycopg2."""
import json
import sys

import pika
import psycopg2

host, port = sys.argv[1].split(":")
database = None


def ship(channel, method, _, body):
    global database
    order = json.loads(body)
    # On the first order: a shop has no orders when it opens.
    database = database or psycopg2.connect(sys.argv[2])
    with database, database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO shipments (order_id, sku, quantity) VALUES (%s, %s, %s)",
            (order["id"], order["sku"], order["quantity"]),
        )
    channel.basic_ack(method.delivery_tag)


channel = pika.BlockingConnection(pika.ConnectionParameters(host, int(port))).channel()
channel.exchange_declare("shop", "topic")
channel.queue_declare("shipping")
channel.queue_bind("shipping", "shop", "orders.*")
channel.basic_qos(prefetch_count=1)
channel.basic_consume("shipping", ship)
print("listening", flush=True)
channel.start_consuming()
