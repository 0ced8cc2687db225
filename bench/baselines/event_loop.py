"""One event loop with many requests at a time, listing while it fetches.

    event_loop.py URL FOLDER
"""
import asyncio

import aiohttp
import uvloop
from yarl import URL

from service import arguments, file_url, page_url, store

AT_A_TIME = 64


def open_session():
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def list_page(session, base, marker):
    """The names of a page and the next marker."""
    async with session.get(URL(page_url(base, marker), encoded=True)) as answer:
        answer.raise_for_status()
        page = await answer.json(content_type=None)
    return page["FileNames"], page.get("NextMarker")


async def fetch_all(session, base, folder, names):
    """Takes names from an iterator that others take from, too."""
    for name in names:
        async with session.get(URL(file_url(base, name), encoded=True)) as answer:
            answer.raise_for_status()
            store(folder, name, await answer.read())


async def fetch_names(session, base, folder, names):
    left = iter(names)
    await asyncio.gather(*(fetch_all(session, base, folder, left) for _ in range(min(AT_A_TIME, len(names)))))


async def run():
    base, folder = arguments()
    async with open_session() as session:
        names, marker = await list_page(session, base, None)
        while names is not None:
            next_page = asyncio.ensure_future(list_page(session, base, marker)) if marker else None
            await fetch_names(session, base, folder, names)
            names, marker = await next_page if next_page else (None, None)


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(run())
