"""ask.py LIBRARY ADDRESS PLAN CONCURRENCY: the requests of a plan, through a Python library.

PLAN is a file of JSON: a list of {index, path, size, chunked}. `size` is null where the request has no body. A body is
`size` bytes that count up modulo 251, from `index` modulo 251 on. Ends with a failure where one answer is not "ok".

LIBRARY "waiting" is http.client without a time limit, so that reads wait in the kernel, one request at a time on one
connection, while signals come all the time.
"""
import asyncio
import functools
import http.client
import io
import json
import signal
import sys
import threading

library, address, plan, concurrency = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3])), int(sys.argv[4])
PERIOD = 251
COUNTING = bytes(range(PERIOD)) * (11 * 1024 * 1024 // PERIOD)
PIECE = 10_000


def body(request):
    if request["size"] is None:
        return None
    start = request["index"] % PERIOD
    return COUNTING[start:start + request["size"]]


def pieces(content):
    for start in range(0, len(content), PIECE):
        yield content[start:start + PIECE]


async def pieces_later(content):
    for piece in pieces(content):
        yield piece


def method(request):
    return "GET" if request["size"] is None else "POST"


def check(status, content, request):
    assert status == 200 and content == b"ok", (request, status, content)


def by_http_client(mine, **settings):
    connection = http.client.HTTPConnection(address, **settings)
    for request in mine:
        content = body(request)
        headers = {"X-Index": str(request["index"])}
        if request["chunked"]:
            content = pieces(content)
        elif request["index"] % 3 == 0 and content is not None:
            # A file is read and sent in parts.
            headers["Content-Length"] = str(len(content))
            content = io.BytesIO(content)
        connection.request(method(request), request["path"], content, headers)
        answer = connection.getresponse()
        check(answer.status, answer.read(), request)
    connection.close()


def by_session(session, mine, keyword):
    for request in mine:
        content = body(request)
        content = pieces(content) if request["chunked"] else content
        answer = session.request(method(request), f"http://{address}{request['path']}", timeout=30,
                                 headers={"X-Index": str(request["index"])}, **{keyword: content})
        check(answer.status_code, answer.content, request)


def by_requests(mine):
    import requests
    with requests.Session() as session:
        session.trust_env = False
        by_session(session, mine, "data")


def by_httpx(mine):
    import httpx
    with httpx.Client(trust_env=False) as session:
        by_session(session, mine, "content")


async def by_aiohttp():
    import aiohttp
    async with aiohttp.ClientSession() as session:
        async def some(mine):
            for request in mine:
                content = body(request)
                content = pieces_later(content) if request["chunked"] else content
                async with session.request(method(request), f"http://{address}{request['path']}", data=content,
                                           headers={"X-Index": str(request["index"])}) as answer:
                    check(answer.status, await answer.read(), request)
        await asyncio.gather(*[some(plan[part::concurrency]) for part in range(concurrency)])


def in_threads(ask):
    failed = []

    def some(part):
        try:
            ask(plan[part::concurrency])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=some, args=(part,)) for part in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


if library == "aiohttp":
    asyncio.run(by_aiohttp())
elif library == "waiting":
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    by_http_client(plan)
    signal.setitimer(signal.ITIMER_REAL, 0)
else:
    limited = functools.partial(by_http_client, timeout=30)
    in_threads({"http.client": limited, "requests": by_requests, "httpx": by_httpx}[library])
print(f"done {len(plan)}")
