"""pass_on.py PORT TARGET: a thread for each connection; what is asked of it, it asks of TARGET, with no header of who asked, but one
that X-With says: NAME=VALUE."""
import http.client
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, TARGET = sys.argv[1:]
http.client._MAXHEADERS = 2000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        connection = http.client.HTTPConnection(TARGET, timeout=30)
        given = self.headers.get("X-With")
        connection.request("GET", self.path, headers=dict([given.split("=", 1)] if given else []))
        body = connection.getresponse().read()
        connection.close()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler).serve_forever()
