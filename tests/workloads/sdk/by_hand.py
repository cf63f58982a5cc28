"""by_hand.py PORT STOCK: what cart.py does, with an SDK that the program itself sets up: nothing shows it at the start."""
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

PORT, STOCK = sys.argv[1:]
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
RequestsInstrumentor().instrument()
tracer = trace.get_tracer("by_hand")
local = threading.local()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        id = self.path.split("/")[2]
        parent = propagate.extract(self.headers)
        attributes = {"url.path": self.path}
        with tracer.start_as_current_span("GET", parent, SpanKind.SERVER, attributes):
            if not hasattr(local, "session"):
                local.session = requests.Session()
            local.session.get(f"http://{STOCK}/stock/{id}", timeout=30).raise_for_status()
        body = id.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler).serve_forever()
