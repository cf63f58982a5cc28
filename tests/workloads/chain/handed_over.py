"""handed_over.py PORT STOCK: one thread reads all requests, and others ask stock and answer."""
import queue
import select
import socket
import sys
import threading
import time

from work import Stock, answer, duration, id_of

WORKERS = 16

requests = queue.Queue()
stock = Stock(sys.argv[2])


def work():
    while True:
        connection, head = requests.get()
        id = id_of(head.split()[1].decode())
        time.sleep(duration(id))
        connection.sendall(answer(stock.get(f"/stock/{id}")))


def read(listener):
    heads = {}
    while True:
        for ready in select.select([listener, *heads], [], [])[0]:
            if ready is listener:
                connection, _ = listener.accept()
                heads[connection] = b""
            elif data := ready.recv(65536):
                heads[ready] += data
                if heads[ready].endswith(b"\r\n\r\n"):
                    requests.put((ready, heads[ready]))
                    heads[ready] = b""
            else:
                del heads[ready]
                ready.close()


for _ in range(WORKERS):
    threading.Thread(target=work, daemon=True).start()
read(socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128))
