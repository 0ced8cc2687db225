"""A pool of threads, each with a connection of its own.

    threads.py URL FOLDER
"""
import threading
from concurrent.futures import ThreadPoolExecutor

import requests

from service import arguments, fetch, pages

THREADS = 16
SHARE = 100  # names in a task: handing over a task costs more than it seems


def main():
    base, folder = arguments()
    own = threading.local()

    def open_session():
        own.session = requests.Session()
        own.session.trust_env = False

    def fetch_some(names):
        for name in names:
            fetch(own.session, base, folder, name)

    with requests.Session() as listing, ThreadPoolExecutor(THREADS, initializer=open_session) as pool:
        for names in pages(listing, base):
            shares = [names[at:at + SHARE] for at in range(0, len(names), SHARE)]
            for _ in pool.map(fetch_some, shares):
                pass


if __name__ == "__main__":
    main()
