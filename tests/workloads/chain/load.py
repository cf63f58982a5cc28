"""load.py LEVELS URL...: for each of LEVELS, such as `10:100`, 10 at a time, 100 requests to each URL, in turn.

Who asks keeps its connection for a few of them. Each is for an id of its own, `ID-order-10-7` for number 7 of
`http://HOST/order` at level 10. The answer has to be that id, which is printed then.
"""
import http.client
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

# Requests that a connection is kept for.
KEPT = 5


def call(requests):
    connection, done = None, []
    for url, id in requests:
        if connection is None or len(done) % KEPT == 0:
            if connection:
                connection.close()
            connection = http.client.HTTPConnection(url.netloc, timeout=60)
        connection.request("GET", f"{url.path}/{id}")
        response = connection.getresponse()
        body = response.read().decode()
        assert response.status == 200 and body == id, (id, response.status, body)
        done.append(id)
    return done


def main():
    urls = [urlsplit(url) for url in sys.argv[2:]]
    for text in sys.argv[1].split(","):
        level, count = map(int, text.split(":"))
        requests = [
            (url, f"ID{url.path.replace('/', '-')}-{level}-{number}") for number in range(count) for url in urls
        ]
        with ThreadPoolExecutor(level) as pool:
            for done in pool.map(lambda first: call(requests[first::level]), range(level)):
                if done:
                    print(*done, sep="\n", flush=True)


main()
