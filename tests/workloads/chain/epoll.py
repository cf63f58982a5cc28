"""epoll.py PORT STOCK: one thread around epoll and nothing else. `/order/ID` is asked of stock, `/kept/ID` answered from memory."""
import select
import socket
import sys

from work import answer, id_of

HOST, STOCK = sys.argv[2].split(":")
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
epoll = select.epoll()
epoll.register(server, select.EPOLLIN)
# Who asks, by descriptor; whom a connection to stock is used for, by descriptor; those that nobody uses.
clients, askers, free = {}, {}, []


def ask(client, id):
    if free:
        connection = free.pop()
    else:
        connection = socket.create_connection((HOST, int(STOCK)))
        epoll.register(connection, select.EPOLLIN)
    askers[connection.fileno()] = (connection, client)
    connection.sendall(f"GET /stock/{id} HTTP/1.1\r\nHost: {HOST}:{STOCK}\r\n\r\n".encode())


def read(client):
    head = client.recv(65536)
    if not head:
        epoll.unregister(client)
        del clients[client.fileno()]
        return client.close()
    path = head.split()[1].decode()
    if path.startswith("/kept/"):
        return client.sendall(answer(id_of(path).encode()))
    ask(client, id_of(path))


def hand_on(descriptor):
    connection, client = askers.pop(descriptor)
    response = connection.recv(65536)
    free.append(connection)
    client.sendall(answer(response.partition(b"\r\n\r\n")[2]))


while True:
    for descriptor, _ in epoll.poll():
        if descriptor == server.fileno():
            client, _ = server.accept()
            clients[client.fileno()] = client
            epoll.register(client, select.EPOLLIN)
        elif descriptor in clients:
            read(clients[descriptor])
        else:
            hand_on(descriptor)
