"""orders.py serve PORT | orders.py call ADDRESS COUNT CONCURRENCY [KIND...]: gRPC by grpcio; see go/orders."""
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

PACE = int(os.environ.get("PACE", "0ms").removesuffix("ms")) / 1000
KINDS = ["One", "List", "Send", "Chat", "Fail", "None", "One", "Slow"]


SIZES = [0, 1, 100, 4_096, 16_379, 16_384, 65_536, 200_000, 1 << 20]
COUNTING = bytes(range(251)) * (11 * 1024 * 1024 // 251)


class Orders(grpc.GenericRpcHandler):
    def service(self, details):
        kind = details.method.rsplit("/", 1)[1]
        if kind in KINDS and kind != "None":
            return grpc.stream_stream_rpc_method_handler(lambda requests, context: answer(kind, requests, context))
        return None


def answer(kind, requests, context):
    messages = []
    for message in requests:
        messages.append(message)
        if kind == "Chat":
            yield message
    if kind in ("One", "Send"):
        yield messages[0]
    elif kind == "List":
        yield from [messages[0]] * 3
    elif kind == "Fail":
        codes = {code.value[0]: code for code in grpc.StatusCode}
        context.abort(codes[int(messages[0])], "as asked: 100 %")
    elif kind == "Slow":
        while context.is_active():
            time.sleep(0.01)
        time.sleep(0.3)


def bulk(number):
    size = 10 << 20 if number // 8 % 500 == 3 else SIZES[number // 8 % len(SIZES)]
    return COUNTING[number % 251:number % 251 + size]


def call(channel, number):
    time.sleep(PACE)
    at = time.time_ns()
    kinds = sys.argv[5:] or KINDS
    kind = kinds[number % len(kinds)]
    path = f"/shop.Orders/{kind}"
    message = str(number // 8 % 16 + 1) if kind == "Fail" else "large " * 15_000 if kinds is KINDS and number % 8 == 6 else "order"
    message = bulk(number) if kind == "Bulk" else message.encode()
    sent = {"Send": 4, "Chat": 5}.get(kind, 1)
    answers = channel.stream_stream(path)(iter([message] * sent), timeout=0.06 if kind == "Slow" else 60)
    received, code = 0, 0
    try:
        for _ in answers:
            received += 1
    except grpc.RpcError as error:
        code = error.code().value[0]
    return json.dumps({"at": at, "path": path, "code": code, "sent": sent, "received": received})


def main():
    if sys.argv[1] == "serve":
        server = grpc.server(ThreadPoolExecutor(64), handlers=[Orders()])
        server.add_insecure_port(f"127.0.0.1:{sys.argv[2]}")
        server.start()
        server.wait_for_termination()
    count, concurrency = int(sys.argv[3]), int(sys.argv[4])
    with grpc.insecure_channel(sys.argv[2]) as channel, ThreadPoolExecutor(concurrency) as pool:
        for line in pool.map(lambda number: call(channel, number), range(count)):
            print(line)
        print(call(channel, 0))


main()
