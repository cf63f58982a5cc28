"""send.py ADDRESS CASES: bytes as they are told, in just these sends.

CASES is a file of JSON: a list of {way, sends, answers}. Each case has a connection of its own, and is over when `answers`
answers have come, of which each has the same bytes. A way is how each of the sends is made:

    send      a call of send, one after the other
    slow      the same, with a moment in between
    more      the same, with MSG_MORE on all but the last
    cork      the same, under TCP_CORK
    writev    all of them in one call of sendmsg
    sendfile  the last from a file
    zerocopy  each with MSG_ZEROCOPY
"""
import json
import os
import socket
import sys
import tempfile
import threading
import time

address, cases = sys.argv[1], json.load(open(sys.argv[2]))
host, port = address.split(":")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
THREADS = 8
SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000


def send_all(connection, data, flags=0):
    view = memoryview(data)
    while view:
        view = view[connection.send(view, flags):]


def by_sendfile(connection, data):
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        sent = 0
        while sent < len(data):
            sent += os.sendfile(connection.fileno(), file.fileno(), sent, len(data) - sent)


def run(way, sends, connection):
    if way == "writev":
        sent = connection.sendmsg(sends)
        send_all(connection, b"".join(sends)[sent:])
        return
    if way == "cork":
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    if way == "zerocopy":
        connection.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    for number, data in enumerate(sends):
        last = number == len(sends) - 1
        if way == "sendfile" and last:
            by_sendfile(connection, data)
        else:
            flags = {"more": 0 if last else socket.MSG_MORE, "zerocopy": MSG_ZEROCOPY}
            send_all(connection, data, flags.get(way, 0))
        if way == "slow":
            time.sleep(0.002)
    if way == "cork":
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)


def case(way, sends, answers):
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        run(way, [data.encode("latin-1") for data in sends], connection)
        expected, found = ANSWER * answers, b""
        while len(found) < len(expected):
            part = connection.recv(65536)
            assert part, f"{found} of {expected}"
            found += part
        assert found == expected, found
        # Whatever the other end is sent too much would come back as an answer.
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


failed = []


def some(part):
    try:
        for one in cases[part::THREADS]:
            try:
                case(**one)
            except Exception as error:
                raise RuntimeError(str(one)[:400]) from error
    except Exception as error:
        failed.append(error)


threads = [threading.Thread(target=some, args=(part,)) for part in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failed:
    raise failed[0]
print(f"done {len(cases)}")
