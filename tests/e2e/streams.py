"""Standard output and standard error as a run may find them: full, closed, without a reader, or stuck."""
import fcntl
import os
import pty
import termios


def is_blocking(fd):
    return not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK


class StuckPipe:
    """Full, with a reader that does not read until it is told to."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.reader, fcntl.F_SETFL, os.O_NONBLOCK)
        fcntl.fcntl(self.writer, fcntl.F_SETFL, os.O_NONBLOCK)
        try:
            while True:
                os.write(self.writer, b"." * 4096)
        except BlockingIOError:
            fcntl.fcntl(self.writer, fcntl.F_SETFL, 0)  # as a shell's is

    def read(self):
        """What has come behind that which filled it."""
        return _read(self.reader).lstrip(".")

    def close(self):
        os.close(self.reader)
        os.close(self.writer)


class StuckTerminal:
    """One on which Ctrl-S was typed."""

    def __init__(self):
        self.reader, self.writer = pty.openpty()
        fcntl.fcntl(self.reader, fcntl.F_SETFL, os.O_NONBLOCK)
        termios.tcflow(self.writer, termios.TCOOFF)

    def read(self):
        termios.tcflow(self.writer, termios.TCOON)
        return _read(self.reader)

    def close(self):
        os.close(self.reader)
        os.close(self.writer)


def _read(fd):
    got = b""
    try:
        while piece := os.read(fd, 1 << 16):
            got += piece
    except OSError:
        pass
    return got.decode("utf-8", "replace")
