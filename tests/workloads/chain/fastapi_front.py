"""uvicorn fastapi_front:app: FastAPI with httpx and asyncpg; sequential calls and calls side by side.

STOCK is stock's address, DATABASE where the database is.
"""
import asyncio
import contextlib
import os

import asyncpg
import httpx
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from work import duration


@contextlib.asynccontextmanager
async def resources(app):
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=50)
    async with httpx.AsyncClient(base_url=f"http://{os.environ['STOCK']}", limits=limits, timeout=30) as app.state.client:
        # No connection before the first request: by then the server's processes are watched.
        async with asyncpg.create_pool(os.environ["DATABASE"], min_size=0, max_size=20) as app.state.pool:
            yield


app = FastAPI(lifespan=resources)


async def stock(path):
    response = await app.state.client.get(f"/stock/{path}")
    response.raise_for_status()
    return response.text


async def select(text):
    assert await app.state.pool.fetchval(f"SELECT '{text}'::text") == text


@app.get("/order/{id}", response_class=PlainTextResponse)
async def order(id: str):
    await stock(f"{id}/first")
    await asyncio.sleep(duration(id))
    await asyncio.gather(stock(f"{id}/left"), stock(f"{id}/right"), select(id))
    await select(f"{id} last")
    return id


@app.get("/look/{id}", response_class=PlainTextResponse)
async def look(id: str):
    await select(id)
    return await stock(f"{id}/only")
