"""The service as every baseline sees it: page addresses, file addresses, and a file stored."""
import sys
from urllib.parse import quote


def arguments():
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} URL FOLDER")
    return sys.argv[1], sys.argv[2]


def page_url(base, marker):
    return f"{base}/list?next-marker={quote(marker, safe='')}" if marker else f"{base}/list"


def file_url(base, name):
    return f"{base}/get/{quote(name)}"


def store(folder, name, body):
    with open(f"{folder}/{name}", "xb", buffering=0) as file:
        file.write(body)


def pages(session, base):
    """Lists with requests: one page of names after the other."""
    marker = None
    while True:
        answer = session.get(page_url(base, marker))
        answer.raise_for_status()
        page = answer.json()
        yield page["FileNames"]
        marker = page.get("NextMarker")
        if not marker:
            return


def fetch(session, base, folder, name):
    answer = session.get(file_url(base, name))
    answer.raise_for_status()
    store(folder, name, answer.content)
