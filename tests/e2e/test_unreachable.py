"""An origin that never answers is given up after a minute: a file of its own, since that minute has to pass."""
import socket

from command import Running
from nginx import free_port


def test_an_origin_that_never_answers_is_given_up_after_a_minute(out, tmp_path):
    port = free_port()
    refusing = f"http://127.0.0.1:{port}"
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    held = [socket.socket() for _ in range(8)]
    for filler in held:
        filler.setblocking(False)
        filler.connect_ex(silent.getsockname())
    dropping = "http://127.0.0.1:%d" % silent.getsockname()[1]

    quick = ["--workers", 2, "--connect-timeout", 2]
    with Running("fetch", *quick, "--json", refusing, out) as fetching, Running("ls", refusing) as listing, \
            Running("fetch", *quick, "--json", dropping, tmp_path / "dropped") as dropped:
        for run, url, why in ((fetching, refusing, "connection refused"), (listing, refusing, "connection refused"),
                              (dropped, dropping, "timed out")):
            done = run.ended(code=1)
            done.says("cannot connect", "trying again for up to 60 s", f"{url} has not answered for 60 s", why)
            if run is not listing:
                assert done.summary["stored"] == 0 and 60 <= done.summary["seconds"] < 90
    for end in (silent, *held):
        end.close()
