"""server.py PROTOCOL PORT: Thrift's method Echo, or all bytes back that come."""
import sys
from socketserver import BaseRequestHandler, ThreadingTCPServer

from thrift.protocol import TBinaryProtocol, TCompactProtocol
from thrift.server import TServer
from thrift.Thrift import TMessageType, TType
from thrift.transport import TSocket, TTransport

TRANSPORTS = {"framed": TTransport.TFramedTransportFactory, "buffered": TTransport.TBufferedTransportFactory}
PROTOCOLS = {
    "binary": TBinaryProtocol.TBinaryProtocolFactory,
    "compact": TCompactProtocol.TCompactProtocolFactory,
}


class Echo:
    """What a compiler of Thrift would make of `binary Echo(1: binary content, 2: i64 n)`."""

    def on_message_begin(self, _):
        pass

    def process(self, asked, answer):
        name, _, number = asked.readMessageBegin()
        asked.readStructBegin()
        asked.readFieldBegin()
        content = asked.readBinary()
        asked.readFieldEnd()
        asked.readFieldBegin()
        asked.readI64()
        asked.readFieldEnd()
        asked.readFieldBegin()
        asked.readStructEnd()
        asked.readMessageEnd()
        answer.writeMessageBegin(name, TMessageType.REPLY, number)
        answer.writeStructBegin("Echo_result")
        answer.writeFieldBegin("success", TType.STRING, 0)
        answer.writeBinary(content)
        answer.writeFieldEnd()
        answer.writeFieldStop()
        answer.writeStructEnd()
        answer.writeMessageEnd()
        answer.trans.flush()


class Noise(BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


def main():
    protocol, port = sys.argv[1], int(sys.argv[2])
    if protocol == "noise":
        ThreadingTCPServer(("127.0.0.1", port), Noise).serve_forever()
    _, transport, protocol = protocol.split("-")
    socket = TSocket.TServerSocket("127.0.0.1", port)
    factories = TRANSPORTS[transport](), PROTOCOLS[protocol]()
    TServer.TThreadedServer(Echo(), socket, *factories, daemon=True).serve()


main()
