"""What the services of a chain share: how long a request takes, and pools whose connections go from thread to thread."""
import http.client
import queue
import threading
import zlib

import psycopg2.pool

CONNECTIONS = 20


def duration(id):
    """Seconds, up to 20 ms, that the work for `id` takes: some are overtaken by others."""
    return zlib.crc32(id.encode()) % 21 / 1000


def id_of(path):
    """`ID` of `/order/ID` and of `/stock/ID/first`."""
    return path.split("/")[2]


def answer(body):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Stock:
    def __init__(self, address):
        self.address = address
        self.free = queue.LifoQueue()

    def get(self, path):
        try:
            connection = self.free.get_nowait()
        except queue.Empty:
            connection = http.client.HTTPConnection(self.address, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        self.free.put(connection)
        assert response.status == 200 and body.decode() == id_of(path), (path, response.status, body)
        return body


class Database:
    def __init__(self, url):
        self.url = url
        self.pool = None
        self.lock = threading.Lock()
        # A pool that is exhausted raises an exception where it should wait.
        self.turns = threading.Semaphore(CONNECTIONS)

    def select(self, text):
        with self.turns:
            # Not before the first request: by then the server's processes are watched.
            with self.lock:
                if self.pool is None:
                    # It closes what comes back, down to the first of the numbers.
                    self.pool = psycopg2.pool.ThreadedConnectionPool(CONNECTIONS, CONNECTIONS, self.url)
            connection = self.pool.getconn()
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT %s::text", (text,))
                assert cursor.fetchall() == [(text,)]
            self.pool.putconn(connection)
