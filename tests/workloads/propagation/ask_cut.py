"""ask_cut.py ADDRESS PLAN CONCURRENCY: the requests of a plan, as ask.py makes them, over HTTP/2, through sockets that do not block, and
with sends that end at the ends of frames and around them, so that header blocks come in each way that they can be cut.

A connection has a few requests of the plan. Some blocks are in several frames, and some of their fields in no table.
"""
import json
import random
import select
import socket
import sys

import h2.config
import h2.connection
import h2.events
import hpack

address, plan, concurrency = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3])
COUNTING = bytes(range(251)) * (11 * 1024 * 1024 // 251)
# Requests on one connection.
EACH = 40
# How far behind the end of a frame a send ends; most often nowhere near.
CUTS = [None] * 6 + [0, 0, -1, -9, 1, 3, 5, 8, 9, 10, 12, 20, 40]
choices = random.Random(1)


class Connection:
    def __init__(self):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()
        self.answers = {}
        self.due = set()

    def flush(self):
        """Sends all that there is, cut."""
        data = self.http.data_to_send()
        at = 24 if data.startswith(b"PRI ") else 0
        ends = set()
        while at < len(data):
            at += 9 + int.from_bytes(data[at:at + 3], "big")
            cut = choices.choice(CUTS)
            if cut is not None:
                ends.add(at + cut)
        begin = 0
        for end in sorted(end for end in ends if end < len(data)) + [len(data)]:
            part = data[begin:end]
            while part:
                select.select([], [self.socket], [])
                part = part[self.socket.send(part):]
            begin = end

    def wait(self):
        """For something from the server."""
        self.flush()
        select.select([self.socket], [], [])
        data = self.socket.recv(1 << 16)
        if not data:
            sys.exit("closed")
        for event in self.http.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                assert dict(event.headers)[":status"] == "200", event
            elif isinstance(event, h2.events.DataReceived):
                self.answers[event.stream_id] = self.answers.get(event.stream_id, b"") + event.data
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.due.remove(event.stream_id)
                assert self.answers[event.stream_id] == b"ok", self.answers[event.stream_id]
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                sys.exit(repr(event))

    def ask(self, request):
        stream = self.http.get_next_available_stream_id()
        method = "GET" if request["size"] is None else "POST"
        index = request["index"]
        fields = [(":method", method), (":scheme", "http"), (":authority", address), (":path", request["path"]), ("x-index", str(index))]
        if request["size"] is not None and not request["chunked"]:
            fields.append(("content-length", str(request["size"])))
        if index % 5 == 0:
            fields.append(hpack.NeverIndexedHeaderTuple("x-secret", "s" * (index % 300)))
        longest = self.http.max_outbound_frame_size
        if index % 16 == 15:
            fields += [(f"x-{number}-{index}", "l" * 300) for number in range(5)]
            self.http.max_outbound_frame_size = 400
        self.http.send_headers(stream, fields, end_stream=request["size"] is None)
        self.http.max_outbound_frame_size = longest
        self.due.add(stream)
        if request["size"] is None:
            return
        start = index % 251
        body = COUNTING[start:start + request["size"]]
        while True:
            room = min(self.http.local_flow_control_window(stream), self.http.max_outbound_frame_size, len(body))
            if room or not body:
                self.http.send_data(stream, body[:room], end_stream=room == len(body))
                body = body[room:]
                if not body:
                    return
            else:
                self.wait()


for first in range(0, len(plan), EACH):
    connection = Connection()
    for request in plan[first:first + EACH]:
        connection.ask(request)
        # Many go at once.
        if choices.randrange(3) == 0:
            connection.flush()
        while len(connection.due) >= concurrency:
            connection.wait()
    while connection.due:
        connection.wait()
    connection.socket.close()
