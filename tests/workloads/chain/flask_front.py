"""gunicorn flask_front:application: what front.py does, as Flask with requests and a pool of psycopg2 has it.

STOCK is stock's address, DATABASE where the database is.
"""
import os
import time

import requests
from flask import Flask

from work import Database, duration

application = Flask(__name__)
database = Database(os.environ["DATABASE"])
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))


def stock(path):
    response = session.get(f"http://{os.environ['STOCK']}/stock/{path}", timeout=30)
    response.raise_for_status()
    return response.text


@application.get("/order/<id>")
def order(id):
    stock(f"{id}/first")
    time.sleep(duration(id))
    database.select(id)
    stock(f"{id}/second")
    database.select(f"{id} last")
    return id


@application.get("/look/<id>")
def look(id):
    database.select(id)
    return stock(f"{id}/only")
