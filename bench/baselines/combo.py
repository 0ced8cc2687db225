"""Processes times event loops: one process lists and hands pages out, each of the others has a loop.

    combo.py URL FOLDER
"""
import asyncio
import multiprocessing

import requests
import uvloop

from event_loop import fetch_names, open_session
from service import arguments, pages

PROCESSES = 2


async def work(base, folder, tasks):
    loop = asyncio.get_running_loop()
    async with open_session() as session:
        while (names := await loop.run_in_executor(None, tasks.get)) is not None:
            await fetch_names(session, base, folder, names)


def worker(base, folder, tasks):
    uvloop.install()
    asyncio.run(work(base, folder, tasks))


def main():
    base, folder = arguments()
    tasks = multiprocessing.Queue(maxsize=2 * PROCESSES)
    workers = [multiprocessing.Process(target=worker, args=(base, folder, tasks)) for _ in range(PROCESSES)]
    for process in workers:
        process.start()
    with requests.Session() as session:
        for names in pages(session, base):
            tasks.put(names)
    for _ in workers:
        tasks.put(None)
    for process in workers:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
