"""stock.py PORT [DATABASE]: answers with the id, after a statement where there is a database; a thread a connection."""
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from work import Database, duration, id_of

database = Database(sys.argv[2]) if len(sys.argv) > 2 else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one write.
    wbufsize = -1

    def do_GET(self):
        id = id_of(self.path)
        time.sleep(duration(id))
        if database:
            database.select(" ".join(self.path.split("/")[2:]))
        body = id.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
