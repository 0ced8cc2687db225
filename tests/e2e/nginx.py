"""nginx as the origin: its own configuration, free ports, unprivileged paths."""
import json
import os
import random
import socket
import subprocess
from urllib.parse import quote

from processes import wait_until


def free_port():
    """One that stays free while nobody listens there: not of those that the kernel gives to connections."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        end = int(file.read().split()[0])
    while True:
        port = random.randrange(end // 2, end) if end >= 4096 else 0
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
                return probe.getsockname()[1]
            except OSError:
                pass


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Nginx:
    """Serves pages of `names` as /list, and /get/ by `get_locations`, on one port for each entry of `servers`
    (further directives of a server block)."""

    def __init__(self, folder, names, get_locations, servers=("",), page_size=1000):
        self.folder = folder
        self.get_locations = get_locations
        self.servers = servers
        (folder / "pages").mkdir(parents=True)
        self.page_files = {}
        cuts = range(0, max(len(names), 1), page_size)
        for cut in cuts:
            listing = {"FileNames": names[cut:cut + page_size]}
            if cut + page_size < len(names):
                listing["NextMarker"] = self.marker(cut + page_size)
            (folder / "pages" / f"{cut}.json").write_text(json.dumps(listing, ensure_ascii=False))
            self.page_files[f"next-marker={quote(self.marker(cut), safe='')}" if cut else ""] = f"{cut}.json"

    @staticmethod
    def marker(cut):
        return f"from {cut}/+=é"

    def config(self, ports):
        pages = "\n".join(f'    "{args}" {file};' for args, file in self.page_files.items())
        servers = "\n".join(f"""
  server {{
    listen 127.0.0.1:{port};
    location = /list {{ default_type application/json; alias {self.folder}/pages/$page; }}
    {self.get_locations}
    {more}
  }}""" for port, more in zip(ports, self.servers))
        user = "user root;" if os.geteuid() == 0 else ""
        paths = "\n".join(f"  {kind}_temp_path {self.folder}/{kind};"
                          for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return f"""daemon off; {user} worker_processes 2; pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; default_type application/octet-stream; sendfile on; tcp_nopush on;
  map_hash_max_size 4096; map_hash_bucket_size 256;
{paths}
  map $args $page {{
    default none;
{pages}
  }}
{servers}
}}
"""

    def __enter__(self):
        for _ in range(10):  # somebody else may take a free port first
            ports = [free_port() for _ in self.servers]
            config = self.folder / "nginx.conf"
            config.write_text(self.config(ports))
            self.process = subprocess.Popen(["nginx", "-c", config, "-e", self.folder / "error.log"],
                                            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(lambda: self.process.poll() is not None or all(map(accepts, ports)), "nginx listening")
            if self.process.poll() is None:
                self.urls = [f"http://127.0.0.1:{port}" for port in ports]
                self.url = self.urls[0]
                return self
        raise AssertionError((self.folder / "error.log").read_text())

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
