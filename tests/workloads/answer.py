"""Answers GET with its path, on connections that stay open, a thread each, or a process each.

answer.py tcp ADDRESS PORT | answer.py fork ADDRESS PORT | answer.py dual PORT | answer.py unix PATH
"""

import socket
import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ForkingMixIn, ThreadingMixIn, TCPServer, UnixStreamServer


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def server(mode, *place):
    bases = (ForkingMixIn if mode == "fork" else ThreadingMixIn, UnixStreamServer if mode == "unix" else TCPServer)
    settings = {"daemon_threads": True, "allow_reuse_address": True, "request_queue_size": 128}
    if mode == "unix":
        return type("Server", bases, settings)(place[0], Answer)
    address, port = ("::", place[0]) if mode == "dual" else place
    settings["address_family"] = socket.AF_INET6 if ":" in address else socket.AF_INET
    return type("Server", bases, settings)((address, int(port)), Answer)


serving = server(*sys.argv[1:])
print("listening", flush=True)
serving.serve_forever()
