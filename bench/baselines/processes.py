"""A pool of processes, each with a connection of its own.

    processes.py URL FOLDER
"""
from concurrent.futures import ProcessPoolExecutor

import requests

from service import arguments, fetch, pages

PROCESSES = 4
SHARE = 100  # names in a task

session = None  # of this process


def open_session():
    global session
    session = requests.Session()
    session.trust_env = False


def fetch_some(base, folder, names):
    for name in names:
        fetch(session, base, folder, name)


def main():
    base, folder = arguments()
    with requests.Session() as listing, ProcessPoolExecutor(PROCESSES, initializer=open_session) as pool:
        tasks = [pool.submit(fetch_some, base, folder, names[at:at + SHARE])
                 for names in pages(listing, base) for at in range(0, len(names), SHARE)]
        for task in tasks:
            task.result()


if __name__ == "__main__":
    main()
