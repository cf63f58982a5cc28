"""query.py ADDRESS CASES: bytes of PostgreSQL's protocol as they are told, in just these sends.

CASES is a file of JSON: a list of {way, sends, answers}. Each case has a connection of its own, which begins as a client's does,
and is over when the server was ready `answers` times more. A way is how each of the sends is made: as in send.py.
"""
import json
import socket
import sys
import threading
import time

address, cases = sys.argv[1], json.load(open(sys.argv[2]))
host, port = address.split(":")
READY = b"Z\0\0\0\5I"
STARTUP = b"\0\3\0\0user\0clerk\0database\0shop\0\0"
THREADS = 4


def send_all(connection, data, flags=0):
    view = memoryview(data)
    while view:
        view = view[connection.send(view, flags):]


def ready(connection, count):
    found = b""
    while found.count(READY) < count:
        part = connection.recv(65536)
        assert part, f"{found} of {count}"
        found += part
    assert found.count(READY) == count, found


def case(way, sends, answers):
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall((len(STARTUP) + 4).to_bytes(4, "big") + STARTUP)
        ready(connection, 1)
        sends = [data.encode("latin-1") for data in sends]
        if way == "writev":
            sent = connection.sendmsg(sends)
            send_all(connection, b"".join(sends)[sent:])
        else:
            for number, data in enumerate(sends):
                last = number == len(sends) - 1
                send_all(connection, data, socket.MSG_MORE if way == "more" and not last else 0)
                if way == "slow":
                    time.sleep(0.002)
        ready(connection, answers)
        connection.sendall(b"X\0\0\0\4")
        assert connection.recv(1) == b""


failed = []


def some(part):
    try:
        for one in cases[part::THREADS]:
            try:
                case(**one)
            except Exception as error:
                raise RuntimeError(f"{str(one)[:400]}: {error}") from error
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
