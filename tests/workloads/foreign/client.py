"""client.py PROTOCOL ADDRESS COUNT CONNECTIONS [GO]: requests in a protocol that spanwire does not read.

Each of CONNECTIONS connections makes COUNT requests one after the other, of varying sizes, and checks each answer. With GO
it makes some before, after which `warm` is said, and goes on until there is a file of that name: COUNT requests follow.
"""
import asyncio
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

WARM = 20

# What content may look like, and never is.
BAIT = [
    b"GET / HTTP/1.1\r\nHost: bait\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"\0\0\x03\x01\x05\0\0\0\x05\x82\x84\x86\0\0\x01\x01\x05\0\0\0\x07\x88",
    b"Q\0\0\0\x0dSELECT 1\0S\0\0\0\x04",
    b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I",
    b"\x01\0\x01\0\0\0\x0a\0\x3c\0\x28\0\0\0\x01q\0\xce",
]


def content(n):
    """Of the nth request: from one byte to a hundred thousand."""
    rest = random.Random(n).randbytes(100_000 if n % 100 == 99 else n * 37 % 2000)
    half = len(rest) // 2
    return b"%d " % n + rest[:half] + BAIT[n % len(BAIT)] + rest[half:]


def text(n):
    """The same, for what takes no other bytes."""
    return content(n).hex()


class Stream:
    """A TCP connection, from which lines and lengths are read."""

    def __init__(self, address):
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.key = b"/here/%d" % threading.get_ident()

    def ask(self, data, expected):
        self.socket.sendall(data)
        answer = self.file.read(len(expected))
        assert answer == expected, (data[:80], answer[:80])


class Redis(Stream):
    def request(self, n):
        key, value = self.key, content(n)
        command = lambda *words: b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(it), it) for it in words)
        self.ask(command(b"SET", key, value), b"+OK\r\n")
        self.ask(command(b"GET", key), b"$%d\r\n%s\r\n" % (len(value), value))
        self.ask(b"PING\r\n", b"+PONG\r\n")


class Memcached(Stream):
    def request(self, n):
        key, value = self.key, content(n)
        self.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value), b"STORED\r\n")
        self.ask(b"get " + key + b"\r\n", b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(value), value))


class MemcachedBinary(Stream):
    """https://docs.memcached.org/protocols/binary/"""

    def request(self, n):
        key, value = self.key, content(n)
        self.call(1, n, struct.pack(">II", 0, 0), key, value, b"")
        self.call(0, n, b"", key, b"", struct.pack(">I", 0) + value)

    def call(self, opcode, n, extras, key, value, expected):
        length = len(extras) + len(key) + len(value)
        head = struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, length, n, 0)
        self.socket.sendall(head + extras + key + value)
        magic, _, _, _, _, status, length, number, _ = struct.unpack(">BBHBBHIIQ", self.file.read(24))
        assert (magic, status, number) == (0x81, 0, n) and self.file.read(length) == expected


class Echo(Stream):
    """Random bytes."""

    def request(self, n):
        data = random.Random(n).randbytes(1 + n * 37 % 2000)
        self.ask(data, data)


class Tls:
    def __init__(self, address):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(socket.create_connection(address))
        self.file = self.socket.makefile("rb")

    def request(self, n):
        # The server turns lines round.
        line = text(n)[:10_000]
        self.socket.sendall(line.encode() + b"\n")
        assert self.file.readline() == line[::-1].encode() + b"\n"


class Program:
    """A client that is a program: lines in, lines out."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, line, expected):
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer == expected + b"\n", (line[:80], answer[:80])


class Ssh(Program):
    def __init__(self, address):
        folder = os.environ["SSH_FOLDER"]
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        options = [word for option in options for word in ("-o", option)]
        super().__init__("ssh", "-F", "none", *options, "-i", f"{folder}/key", "-p", str(address[1]), address[0], "cat")

    def request(self, n):
        self.ask(text(n).encode(), text(n).encode())


class Mysql(Program):
    def __init__(self, address):
        words = ["-h", address[0], "-P", str(address[1]), "-u", "root", "--batch", "--unbuffered", "--skip-column-names"]
        super().__init__("mariadb", "--no-defaults", "--skip-ssl", *words)

    def request(self, n):
        self.ask(b"SELECT '%d', NULL, 1.5, '%s';" % (n, text(n).encode()), b"%d\tNULL\t1.5\t%s" % (n, text(n).encode()))


class Mongo:
    def __init__(self, address):
        import pymongo

        self.table = pymongo.MongoClient(*address, maxPoolSize=1).shop.orders

    def request(self, n):
        key = f"{threading.get_ident()}/{n}"
        self.table.insert_one({"_id": key, "n": n, "half": n / 2, "content": content(n)})
        assert self.table.find_one({"_id": key})["content"] == content(n)


class Kafka:
    def __init__(self, address):
        import kafka

        server = {"bootstrap_servers": "%s:%d" % address}
        self.topic = f"orders-{os.getpid()}-{threading.get_ident()}"
        self.producer = kafka.KafkaProducer(**server)
        self.producer.send(self.topic, b"first").get(30)
        self.consumer = kafka.KafkaConsumer(self.topic, **server, auto_offset_reset="earliest")
        assert next(self.consumer).value == b"first"

    def request(self, n):
        self.producer.send(self.topic, content(n), key=b"%d" % n).get(30)
        assert next(self.consumer).value == content(n)


class Nats:
    def __init__(self, address):
        import nats

        self.loop = asyncio.new_event_loop()
        self.subject = f"/orders.{threading.get_ident()}"
        self.nats = self.run(nats.connect("nats://%s:%d" % address))
        self.subscription = self.run(self.nats.subscribe(self.subject))

    def run(self, future):
        return self.loop.run_until_complete(future)

    def request(self, n):
        self.run(self.nats.publish(self.subject, content(n), headers={"n": str(n)} if n % 2 else None))
        assert self.run(self.subscription.next_msg(30)).data == content(n)


class Thrift:
    def __init__(self, address, transport, protocol):
        from thrift.protocol import TBinaryProtocol, TCompactProtocol
        from thrift.transport import TSocket, TTransport

        protocols = {"binary": TBinaryProtocol.TBinaryProtocol, "compact": TCompactProtocol.TCompactProtocol}
        transports = {"framed": TTransport.TFramedTransport, "buffered": TTransport.TBufferedTransport}
        socket = transports[transport](TSocket.TSocket(*address))
        socket.open()
        self.protocol = protocols[protocol](socket)

    def request(self, n):
        from thrift.Thrift import TMessageType, TType

        it = self.protocol
        it.writeMessageBegin("Echo", TMessageType.CALL, n)
        it.writeStructBegin("Echo_args")
        it.writeFieldBegin("content", TType.STRING, 1)
        it.writeBinary(content(n))
        it.writeFieldEnd()
        it.writeFieldBegin("n", TType.I64, 2)
        it.writeI64(n)
        it.writeFieldEnd()
        it.writeFieldStop()
        it.writeStructEnd()
        it.writeMessageEnd()
        it.trans.flush()
        assert it.readMessageBegin() == ("Echo", TMessageType.REPLY, n)
        it.readStructBegin()
        it.readFieldBegin()
        assert it.readBinary() == content(n)
        it.readFieldEnd()
        it.readFieldBegin()
        it.readStructEnd()
        it.readMessageEnd()


PROTOCOLS = {
    "redis": Redis,
    "memcached": Memcached,
    "memcached-binary": MemcachedBinary,
    "noise": Echo,
    "tls": Tls,
    "ssh": Ssh,
    "mysql": Mysql,
    "mongodb": Mongo,
    "kafka": Kafka,
    "nats": Nats,
}


def connect(protocol, address):
    if protocol.startswith("thrift-"):
        return Thrift(address, *protocol.split("-")[1:])
    return PROTOCOLS[protocol](address)


def work(protocol, address, count, go, warm):
    connection, n = connect(protocol, address), 0
    while go and not os.path.exists(go):
        connection.request(n)
        n += 1
        if n == WARM:
            warm.wait()
        if n > WARM:
            time.sleep(0.005)
    for n in range(n, n + count):
        connection.request(n)


def main():
    protocol, address, count, connections, *go = sys.argv[1:]
    host, port = address.split(":")
    go = go[0] if go else None
    warm = threading.Barrier(int(connections), lambda: print("warm", flush=True))
    failed = []

    def run():
        try:
            work(protocol, (host, int(port)), int(count), go, warm)
        except BaseException as error:
            failed.append(error)
            warm.abort()
            raise

    threads = [threading.Thread(target=run) for _ in range(int(connections))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Connections end with the process, in whatever state their libraries are.
    sys.stdout.flush()
    os._exit(1 if failed else 0)


main()
