"""cart.py PORT PRICE: /order/ID, by Flask, which asks PRICE for /price/ID by requests."""
import sys
import threading

import requests
from flask import Flask

PORT, PRICE = sys.argv[1:]
application = Flask(__name__)
local = threading.local()


@application.get("/order/<id>")
def order(id):
    if not hasattr(local, "session"):
        local.session = requests.Session()
    response = local.session.get(f"http://{PRICE}/price/{id}", timeout=30)
    response.raise_for_status()
    return response.text


application.run("127.0.0.1", int(PORT), threaded=True)
