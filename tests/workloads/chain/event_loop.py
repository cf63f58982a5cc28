"""event_loop.py PORT STOCK: one thread, in which all requests wait, ask stock and are answered."""
import asyncio
import sys

from work import answer, duration, id_of

HOST, STOCK = sys.argv[2].split(":")
free = []


async def get(path):
    reader, writer = free.pop() if free else await asyncio.open_connection(HOST, int(STOCK))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{STOCK}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await reader.readexactly(int(head.split(b"content-length:")[1].split()[0]))
    free.append((reader, writer))
    return body


async def serve(reader, writer):
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        id = id_of(head.split()[1].decode())
        await asyncio.sleep(duration(id))
        writer.write(answer(await get(f"/stock/{id}")))
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=128)
    await server.serve_forever()


asyncio.run(main())
