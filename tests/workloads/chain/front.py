"""gunicorn front:application: for /order/ID it asks stock, the database, and stock again.

STOCK is stock's address, DATABASE where the database is.
"""
import os
import time

from work import Database, Stock, duration, id_of

stock = Stock(os.environ["STOCK"])
database = Database(os.environ["DATABASE"])


def application(environ, start_response):
    id = id_of(environ["PATH_INFO"])
    stock.get(f"/stock/{id}/first")
    time.sleep(duration(id))
    database.select(id)
    body = stock.get(f"/stock/{id}/second")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
