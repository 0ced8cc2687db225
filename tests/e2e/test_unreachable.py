"""An origin that never answers is given up after a minute: a file of its own, since that minute has to pass. Once."""
import socket

from command import Running
from nginx import free_port
from raw_server import HANG, RawServer


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

    # Two that accept: one is mute, the other's first page takes longer than a minute, as it may.
    mute, slow = RawServer().on_list(HANG), RawServer({"a": b"A"})
    slow.on_list([62.0, slow.plain_answer(slow.base + "/list")])

    quick = ["--workers", 2, "--connect-timeout", 2]
    with mute, slow, Running("fetch", *quick, "--list-timeout", 63, mute.url, tmp_path / "mute") as unanswered, \
            Running("fetch", *quick, slow.url, tmp_path / "slow") as answered, \
            Running("ls", "--list-timeout", 50, mute.url) as unlisted, \
            Running("fetch", *quick, "--json", refusing, out) as fetching, Running("ls", refusing) as listing, \
            Running("fetch", *quick, "--json", dropping, tmp_path / "dropped") as dropped:
        for run, url, why in ((fetching, refusing, "connection refused"), (listing, refusing, "connection refused"),
                              (dropped, dropping, "timed out")):
            done = run.ended(code=1)
            done.says("cannot connect", "trying again for up to 60 s", f"{url} has not answered for 60 s", why)
            if run is not listing:
                assert done.summary["stored"] == 0 and 60 <= done.summary["seconds"] < 90
        answered.ended(code=0)
        for run, seconds in ((unanswered, 63), (unlisted, 60)):
            run.ended(code=1).says(f"{mute.url} has not answered for {seconds} s", "page 1 (GET /list)",
                                   "accepts connections", "--list-timeout", "check the URL")
    for end in (silent, *held):
        end.close()
