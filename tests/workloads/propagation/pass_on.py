"""pass_on.py PORT TARGET [WAY]: a thread for each connection; what is asked of it, it asks of TARGET, with no header of who asked,
but one that X-With says: NAME=VALUE.

WAY is http1; or http2; or amqp, where it publishes to a queue of its own, gets that back, and answers with its headers as JSON.
"""
import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, TARGET, WAY = [*sys.argv[1:], "http1"][:3]
http.client._MAXHEADERS = 2000


def by_http1(path, given, body):
    connection = http.client.HTTPConnection(TARGET, timeout=30)
    connection.request("GET" if body is None else "POST", path, body, headers=given)
    body = connection.getresponse().read()
    connection.close()
    return body


def by_http2(path, given, _):
    import httpx
    with httpx.Client(http1=False, http2=True, trust_env=False) as session:
        return session.get(f"http://{TARGET}{path}", headers=given).content


def by_amqp(path, given, _):
    import pika
    host, port = TARGET.split(":")
    connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port)))
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    # With a table, and without.
    headers = {"path": path} | given if len(path) % 2 or given else None
    channel.basic_publish("", queue, path.encode(), pika.BasicProperties(content_type="t", headers=headers))
    _, got, body = channel.basic_get(queue, auto_ack=True)
    connection.close()
    assert body == path.encode() and got.content_type == "t", (got, body)
    left = dict(got.headers or {})
    assert left.pop("path", None) == (headers or {}).get("path"), left
    return json.dumps(left).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.pass_on(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self):
        self.pass_on(None)

    def pass_on(self, body):
        given = self.headers.get("X-With")
        ask = {"http1": by_http1, "http2": by_http2, "amqp": by_amqp}[WAY]
        body = ask(self.path, dict([given.split("=", 1)] if given else []), body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler).serve_forever()
