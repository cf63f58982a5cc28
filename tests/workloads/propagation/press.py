"""press.py ADDRESS ROUNDS: pipelined requests over sockets that do not block, more than the other end takes, in sends of all sizes.

Each round has a connection of its own and ends with the peer's end. Which bytes come in a round is told by its number: `content`.
"""
import random
import select
import socket
import sys

REQUESTS = 300
BUFFERS = [4_608, 20_000, 60_000, 200_000]
SIZES = [100, 1_000, 5_000, 20_000, 100_000, 400_000]
BODIES = [0, 10, 300, 3_000, 9_000]


def content(number):
    chosen = random.Random(number)
    parts = []
    for index in range(REQUESTS):
        size = chosen.choice(BODIES)
        head = f"POST /{number}/{index} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
        parts.append(head.encode() + bytes([65 + index % 26]) * size)
    return b"".join(parts)


def press(address, number):
    chosen = random.Random(-number)
    with socket.create_connection(address) as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, chosen.choice(BUFFERS))
        rest = memoryview(content(number))
        while rest:
            try:
                rest = rest[connection.send(rest[:chosen.choice(SIZES)]):]
            except BlockingIOError:
                select.select([], [connection], [], 30)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(30)
        while connection.recv(65_536):
            pass


if __name__ == "__main__":
    host, port = sys.argv[1].split(":")
    for number in range(1, int(sys.argv[2]) + 1):
        press((host, int(port)), number)
