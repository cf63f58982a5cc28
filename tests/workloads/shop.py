"""gunicorn shop:application: answers with the length of what was posted, or with ?length=N bytes."""

from urllib.parse import parse_qs


def application(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    received = len(environ["wsgi.input"].read(length))
    query = parse_qs(environ["QUERY_STRING"])
    body = b"g" * int(query["length"][0]) if "length" in query else str(received).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
