"""`gigafetch origin` as a process: for the tests, and for the benchmarks beside them."""
import subprocess


class OriginProcess:
    """Listens on `listen`, where port 0 is a free one. Ended by its own pid."""

    def __init__(self, gigafetch, *options, listen="127.0.0.1:0", **popen):
        self.process = subprocess.Popen([gigafetch, "origin", "--listen", listen, *map(str, options)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **popen)
        self.pid = self.process.pid
        first_line = self.process.stdout.readline().split()
        if not first_line:
            raise OSError(f"the origin did not start: exit {self.process.wait()}")
        self.url = first_line[-1]
        self.port = int(self.url.rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
