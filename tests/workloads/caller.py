"""caller.py URL COUNT: GET URL/0 to URL/COUNT-1 and one POST of 3 bytes to URL/post, with one requests.Session."""

import sys

import requests

url, count = sys.argv[1], int(sys.argv[2])
with requests.Session() as session:
    session.trust_env = False
    for index in range(count):
        session.get(f"{url}/{index}", timeout=30).raise_for_status()
    session.post(f"{url}/post", data=b"abc", timeout=30).raise_for_status()
print("done", flush=True)
