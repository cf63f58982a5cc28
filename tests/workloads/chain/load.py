"""load.py COUNT LEVELS URL...: COUNT requests to each URL at each of LEVELS, which says how many at a time: `1,10,50`.

Each is for an id of its own, `ID-order-10-7` for number 7 of `http://HOST/order` at level 10. The answer has to be that
id, which is printed then.
"""
import http.client
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit


def call(url, ids):
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    for id in ids:
        connection.request("GET", f"{url.path}/{id}")
        response = connection.getresponse()
        body = response.read().decode()
        assert response.status == 200 and body == id, (id, response.status, body)
    connection.close()
    return ids


def main():
    count, levels = int(sys.argv[1]), [int(level) for level in sys.argv[2].split(",")]
    for url in map(urlsplit, sys.argv[3:]):
        for level in levels:
            ids = [f"ID{url.path.replace('/', '-')}-{level}-{number}" for number in range(count)]
            with ThreadPoolExecutor(level) as pool:
                for done in pool.map(lambda first: call(url, ids[first::level]), range(level)):
                    print(*done, sep="\n", flush=True)


main()
