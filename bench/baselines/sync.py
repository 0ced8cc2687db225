"""The plain way: one kept-alive connection, one file after the other.

    sync.py URL FOLDER
"""
import requests

from service import arguments, fetch, pages


def main():
    base, folder = arguments()
    with requests.Session() as session:
        session.trust_env = False  # no look for proxies and .netrc at each request
        for names in pages(session, base):
            for name in names:
                fetch(session, base, folder, name)


if __name__ == "__main__":
    main()
