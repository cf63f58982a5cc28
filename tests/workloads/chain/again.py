"""again.py PORT TARGET: go/again by aiohttp; who is asked a second time is given up by cancelling its task."""
import asyncio
import sys

import aiohttp
from aiohttp import web

PATIENCE = 0.02
TARGET = sys.argv[2]


async def get(app, path):
    async with app["session"].get(f"http://{TARGET}{path}") as response:
        await response.read()
        return response.status


async def hedged(app, path):
    tasks = [asyncio.create_task(get(app, path))]
    done, _ = await asyncio.wait(tasks, timeout=PATIENCE)
    if not done:
        tasks.append(asyncio.create_task(get(app, path)))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    return done.pop().result()


async def order(request):
    app, id = request.app, request.match_info["id"]
    answers = [await get(app, path + id) for path in ("/moved/", "/busy/", "/busy/")]
    answers.append(await hedged(app, f"/hedged/{id}"))
    return web.Response(text="[" + " ".join(map(str, answers)) + "]")


async def session(app):
    async with aiohttp.ClientSession() as app["session"]:
        yield


app = web.Application()
app.cleanup_ctx.append(session)
app.add_routes([web.get("/order/{id}", order)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
