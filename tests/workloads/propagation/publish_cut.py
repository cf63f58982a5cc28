"""publish_cut.py ADDRESS COUNT LARGE NAME: publishes as publish.py does, but on two channels, through a socket that does not block, and
with sends that end at the ends of frames and around them, so that messages begin, and their headers come, in each way that they
can be cut.

Ends well once the broker has closed the connection as it was told.
"""
import random
import select
import socket
import sys

from pika import frame, spec
from publish import ADDRESS, COUNT, NAME, body, key, properties

FRAME_MAX = 131_072
# How far behind the end of a frame a send ends; most often nowhere near.
CUTS = [None, None, None, 0, 0, -1, 1, 2, 3, 5, 7, 8, 11, 12, 14, 20, -9]


class Connection:
    def __init__(self):
        host, port = ADDRESS.split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setblocking(False)
        self.received = b""

    def send(self, data):
        while data:
            select.select([], [self.socket], [])
            data = data[self.socket.send(data):]

    def wait(self, method):
        """Up to a method of that class."""
        while True:
            count, found = frame.decode_frame(self.received)
            if count == 0:
                select.select([self.socket], [], [])
                data = self.socket.recv(1 << 16)
                if not data:
                    sys.exit("closed")
                self.received += data
                continue
            self.received = self.received[count:]
            if isinstance(found, frame.Method) and isinstance(found.method, method):
                return

    def call(self, channel, method, answer):
        self.send(frame.Method(channel, method).marshal())
        self.wait(answer)


def frames(number):
    channel = number % 2 + 1
    content = body(number)
    yield frame.Method(channel, spec.Basic.Publish(exchange="amq.topic", routing_key=key(number))).marshal()
    yield frame.Header(channel, len(content), spec.BasicProperties(**properties(number))).marshal()
    size = FRAME_MAX - 8
    for at in range(0, len(content), size):
        yield frame.Body(channel, content[at:at + size]).marshal()


def main():
    cuts = random.Random(1)
    connection = Connection()
    connection.send(frame.ProtocolHeader().marshal())
    connection.wait(spec.Connection.Start)
    connection.call(0, spec.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"), spec.Connection.Tune)
    connection.send(frame.Method(0, spec.Connection.TuneOk(2, FRAME_MAX, 0)).marshal())
    connection.call(0, spec.Connection.Open(), spec.Connection.OpenOk)
    for channel in [1, 2]:
        connection.call(channel, spec.Channel.Open(), spec.Channel.OpenOk)
    pending, ends = b"", []
    for number in range(COUNT):
        for part in frames(number):
            pending += part
            cut = cuts.choice(CUTS)
            if cut is not None:
                ends.append(len(pending) + cut)
        while ends and ends[0] <= len(pending):
            end = ends.pop(0)
            connection.send(pending[:end])
            pending, ends = pending[end:], [other - end for other in ends if other > end]
    connection.send(pending)
    connection.call(0, spec.Connection.Close(200, "done", 0, 0), spec.Connection.CloseOk)


if __name__ == "__main__":
    main()
