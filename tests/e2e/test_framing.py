"""Answers that do not end where they say, come twice or not at all: no file gets a byte that is not its own, and what
cannot be told for certain is told as failed."""
import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from command import QUIET, dead_letters, run
from framing_judge import judge
from misframing_server import (ANNOUNCED, LATE, RESET, SILENT, MisframingServer, Service, announced_empty,
                               announced_off, body_of, chunks, cut, doubled, dropped, followed_by, halves_swapped,
                               lengths)
from raw_server import answer
from scale import LONG, scaled

SINKS = {"files": [], "tar": ["--sink", "tar"], "zstd": ["--sink", "tar", "--zstd", 1]}
# Depth, connections, requests a connection, sink: all there are; such that each two of the values meet; and such that
# each value has its turn.
ALL_WAYS = list(itertools.product([1, 16], [1, 4], [None, 1], SINKS))
PAIRS = [(1, 1, None, "files"), (16, 4, 1, "files"), (1, 4, None, "tar"), (16, 1, 1, "tar"), (1, 1, 1, "zstd"),
         (16, 4, None, "zstd")]
WAYS = scaled(PAIRS, [(*way, list(SINKS)[at % 3])
                      for at, way in enumerate(itertools.product([1, 16], [1, 4], [None, 1]))])
FRAMES = {"lengths": lengths, "chunks": chunks}

# What an answer's end says of it: bytes that are no head follow.
FOLLOWED = {
    "cut": cut(3), "cut, the rest apart": cut(3, 0.0), "cut, the rest late": cut(3, LATE),
    "empty": announced_empty(), "empty, the body apart": announced_empty(0.0),
    "empty, the body late": announced_empty(LATE),
    "stray": followed_by(b"stray"), "stray, apart": followed_by(b"stray\r\n\r\n", 0.0),
    "stray, late": followed_by(b"\0", LATE),
}
DOUBLED = {"doubled": doubled(), "doubled, apart": doubled(0.0), "doubled, late": doubled(LATE)}
# Answers that also a connection by itself may be kept waiting for.
BROKEN = {
    "a byte too many": announced_off(1), "three too many": announced_off(3), "an answer too many": announced_off(300),
    "dropped": dropped(), "halves swapped": halves_swapped(),
}
CHUNKS_OFF = {"a chunk too short": announced_off(-1)}
# The commonest.
PLAIN = {"cut", "cut, the rest late", "empty", "doubled, apart", "a byte too many"}
# As seen by who waits for the rest of an answer, or for all of it.
UNENDED = {"bad-framing", "truncated", "stalled", "reset"}

FAULTS = {**FOLLOWED, **DOUBLED, **BROKEN, **CHUNKS_OFF}
OF_FRAME = {"lengths": [*FOLLOWED, *DOUBLED, *BROKEN],
            "chunks": ["cut", "cut, the rest late", "empty", "stray, apart", "doubled, apart", *BROKEN, *CHUNKS_OFF]}
EACH_FRAME = pytest.mark.parametrize("frame", FRAMES)
EACH_FAULT = pytest.mark.parametrize("frame, kind", [(frame, kind) for frame in FRAMES for kind in OF_FRAME[frame]])
EACH_SURPLUS = pytest.mark.parametrize("frame, kind", [(frame, kind) for frame in FRAMES for kind in OF_FRAME[frame]
                                                       if kind in FOLLOWED or kind in DOUBLED])
# What differs by its frame alone has been seen in each two of the values.
WAYS_OF = {"lengths": WAYS, "chunks": scaled([PAIRS[1], PAIRS[2], PAIRS[4]], WAYS)}
FEW = {f"n{i:03}": body_of(f"n{i:03}") for i in range(60)}


@pytest.fixture(scope="module")
def server():
    with MisframingServer() as server:
        yield server


class Trial:
    """A fetch from a service; what came of it is right, or told as failed. Only who is kept waiting is impatient."""

    def __init__(self, service, folder, depth, connections, sink, impatient=False):
        folder.mkdir(parents=True, exist_ok=True)
        self.service, self.out = service, folder / "out"
        self.options = ["--workers", 1, "--connections", connections, "--pipeline", depth,
                        "--stall-timeout", 0.5 if impatient else 30, "--retries", 3]
        self.done = run("fetch", *QUIET, *self.options, "--layout", "flat", *SINKS[sink], service.url, self.out,
                        code=None)
        assert self.done.code in (0, 3), f"{self.done}"
        assert self.done.summary["listed"] == len(service.files)
        self.failed = judge(self.out, service.files, folder, service.excuses())
        assert (self.done.code == 3) == bool(self.failed), f"{self.done}"

    def verified(self):
        """What `verify --content` finds: name to class."""
        done = run("verify", *QUIET, "--content", *self.options, self.service.url, self.out, code=None)
        findings = dead_letters(self.out, "verify.jsonl")
        assert done.code == (3 if findings else 0), f"{done}"
        return {name: letter["class"] for name, letter in findings.items()}

    def warnings(self, words):
        return sum(words in line for line in self.done.err.splitlines())


def in_each_way(tmp_path, trial, ways=WAYS):
    """trial(folder, depth, connections, requests, sink), several at once: most of their time is waiting."""
    def outcome(way):
        try:
            trial(tmp_path / "-".join(map(str, way)), *way)
        except AssertionError as error:
            return f"depth {way[0]}, {way[1]} connections, {way[2]} requests on each, {way[3]}: {error}"
    with ThreadPoolExecutor(6) as pool:
        bad = list(filter(None, pool.map(outcome, ways)))
    assert not bad, f"{len(bad)} of {len(ways)} ways\n" + "\n".join(bad)[:8000]


def two_of(files, seed):
    return random.Random(seed).sample(list(files), 2)


@EACH_FAULT
def test_names_whose_answers_can_never_be_told_apart_fail(frame, kind, server, tmp_path):
    fault = FAULTS[kind]

    def trial(folder, depth, connections, requests, sink):
        faulty = two_of(FEW, f"{kind} {folder.name}")
        service = server.add(Service(FEW, dict.fromkeys(faulty, fault), FRAMES[frame], requests=requests))
        tried = Trial(service, folder, depth, connections, sink, kind in BROKEN)
        failed = tried.failed
        excused = service.excuses()
        assert failed.keys() | excused >= set(faulty) >= failed.keys() - excused, f"{failed} of {faulty}: {tried.done}"
        assert set(failed.values()) <= (UNENDED if kind in BROKEN else {"bad-framing"}), f"{failed}: {tried.done}"
        words = "not asked for" if kind in DOUBLED else "does not end where"
        assert tried.warnings(words) == 1 or kind in BROKEN or kind in CHUNKS_OFF, f"{tried.done}"
        if sink == "files":
            service.faults.clear()
        assert tried.verified().keys() | service.excuses() >= failed.keys()

    in_each_way(tmp_path, trial, ALL_WAYS if LONG and kind in PLAIN and frame == "lengths" else WAYS_OF[frame])


@EACH_FAULT
def test_faults_that_pass_cost_no_file(frame, kind, server, tmp_path):
    def trial(folder, depth, connections, requests, sink):
        faults = dict.fromkeys(two_of(FEW, f"{kind} {folder.name}"), FAULTS[kind])
        service = server.add(Service(FEW, faults, FRAMES[frame], times=1, requests=requests))
        tried = Trial(service, folder, depth, connections, sink, kind in BROKEN)
        assert tried.failed == {}, f"{tried.failed}: {tried.done}"
        # At most all that was on its way or not proven yet is asked for again, each time.
        assert sum(service.counts.values()) <= 3 * len(FEW), service.counts
        if sink == "files":
            assert tried.verified() == {}

    in_each_way(tmp_path, trial, WAYS_OF[frame])


@EACH_SURPLUS
def test_what_goes_wrong_only_among_others_is_stored(frame, kind, server, tmp_path):
    """As where the server mixes up what is pipelined, or kept alive."""
    def trial(folder, depth, connections, requests, sink):
        faults = dict.fromkeys(two_of(FEW, f"{kind} {folder.name}"), FAULTS[kind])
        tried = Trial(server.add(Service(FEW, faults, FRAMES[frame], spared=True, requests=requests)),
                      folder, depth, connections, sink)
        assert tried.failed == {}, f"{tried.failed}: {tried.done}"

    in_each_way(tmp_path, trial, WAYS_OF[frame])


@pytest.mark.parametrize("spared", [False, True])
@pytest.mark.parametrize("kind", DOUBLED)
def test_every_answer_twice_stores_nothing_under_another_name(kind, spared, server, tmp_path):
    files = {name: body_of(name) for name in (f"n{i:03}" for i in range(40 if kind == "doubled, late" else 400))}

    def trial(folder, depth, connections, requests, sink):
        service = server.add(Service(files, dict.fromkeys(files, FAULTS[kind]), spared=spared, requests=requests))
        tried = Trial(service, folder, depth, connections, sink)
        assert set(tried.failed.values()) <= {"bad-framing"}, f"{tried.done}"
        assert not (spared and tried.failed), f"{tried.failed}: {tried.done}"
        assert tried.warnings("not asked for") == 1, f"{tried.done}"

    in_each_way(tmp_path, trial, [(1, 4, None, "files"), (16, 4, None, "files"), (1, 4, 1, "files"),
                                  (16, 4, None, "zstd")])


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("kind", ["a byte too many", "an answer too many"])
def test_a_length_that_takes_from_the_next_answer(frame, kind, server, tmp_path):
    """Two of two hundred, and where the connection by itself is kept open also for who asks for its end."""
    files = {name: body_of(name) for name in (f"n{i:03}" for i in range(200))}

    def trial(folder, depth, connections, requests, sink):
        faulty = dict.fromkeys(two_of(files, f"{kind} {folder.name}"), FAULTS[kind])
        service = server.add(Service(files, faulty, FRAMES[frame], heeded=False, requests=requests))
        tried = Trial(service, folder, depth, connections, sink, True)
        assert tried.failed.keys() == faulty.keys() and set(tried.failed.values()) <= UNENDED, f"{tried.failed}"

    in_each_way(tmp_path, trial, [(16, 4, None, "files"), (16, 1, 8, "tar"), (64, 4, None, "zstd")])


@EACH_FRAME
@pytest.mark.parametrize("apart", [None, 0.0])
def test_an_empty_line_between_answers_casts_no_doubt(frame, apart, server, tmp_path):
    def trial(folder, depth, connections, requests, sink):
        faults = dict.fromkeys(FEW, followed_by(b"\r\n", apart))
        service = server.add(Service(FEW, faults, FRAMES[frame], requests=requests))
        tried = Trial(service, folder, depth, connections, sink)
        assert tried.failed == {} and tried.done.err == "", f"{tried.done}"
        assert not any(alone for _, _, alone in service.asked)
        if depth == 1:  # deeper, what is behind the last answer of a connection is asked for again
            assert set(service.counts.values()) == {1}
        if sink == "files":
            assert tried.verified() == {}

    in_each_way(tmp_path, trial)


@pytest.mark.parametrize("kind", ["cut", "doubled, apart"])
def test_what_is_doubted_is_asked_for_on_a_connection_of_its_own(kind, server, tmp_path):
    def trial(folder, depth, connections, requests, sink):
        faulty = two_of(FEW, f"{kind} {folder.name}")
        fault = FAULTS[kind]
        service = server.add(Service(FEW, dict.fromkeys(faulty, fault), times=1, heeded=False))
        Trial(service, folder, depth, connections, sink)
        alone = {connection: name for connection, name, last in service.asked if last}
        assert set(alone.values()) >= set(faulty)
        for connection, name in alone.items():
            assert [n for c, n, _ in service.asked if c == connection] == [name]

    in_each_way(tmp_path, trial, [(1, 1, None, "files"), (16, 4, None, "files"), (16, 4, None, "zstd")])


@pytest.mark.parametrize("before", ["doubled, apart", "dropped"])
@pytest.mark.parametrize("behind", ["stray", "cut", "halves swapped"])
def test_bytes_that_are_no_head_show_that_all_before_them_may_be_anothers(before, behind, server, tmp_path):
    """An answer too many, or too few, has moved them; what nobody can read then hides it."""
    def trial(folder, depth, connections, requests, sink):
        faults = {"n003": FAULTS[before], "n009": FAULTS[behind]}
        service = server.add(Service(FEW, faults, times=1))
        tried = Trial(service, folder, depth, connections, sink, before in BROKEN)
        assert tried.failed == {}, f"{tried.failed}: {tried.done}"

    ways = [(depth, connections, None, sink) for depth in (1, 4, 16) for connections in (1, 2) for sink in ("files", "tar")]
    in_each_way(tmp_path, trial, scaled([ways[at] for at in (0, 3, 5, 6, 8, 11)], ways))


@pytest.mark.parametrize("kind", [*DOUBLED, "dropped", "cut", "empty, the body late"])
def test_a_refusal_is_nobody_elses_either(kind, server, tmp_path):
    """A 404 is for good: who gets another's is lost."""
    missing = {f"n{i:03}" for i in range(5, 60, 11)}

    def trial(folder, depth, connections, requests, sink):
        service = server.add(Service(FEW, dict.fromkeys(sorted(missing)[:3], FAULTS[kind]), missing=missing, times=1,
                                     requests=requests))
        tried = Trial(service, folder, depth, connections, sink, kind in BROKEN)
        assert tried.failed.keys() - service.excuses() == missing - service.excuses(), f"{tried.failed}: {tried.done}"
        assert all(tried.failed[name] == "http-status" for name in missing - service.excuses()), f"{tried.failed}"

    in_each_way(tmp_path, trial)


@pytest.mark.parametrize("ending", [ANNOUNCED, SILENT, RESET])
@pytest.mark.parametrize("requests", [1, 7])
def test_a_connection_that_ends_in_any_way_casts_no_lasting_doubt(ending, requests, server, tmp_path):
    files = {name: body_of(name) for name in (f"n{i:03}" for i in range(300))}

    def trial(folder, depth, connections, requests, sink):
        service = server.add(Service(files, requests=requests, ending=ending))
        tried = Trial(service, folder, depth, connections, sink)
        assert tried.failed == {}, f"{tried.failed}: {tried.done}"
        for words in ("not asked for", "does not end where"):
            assert tried.warnings(words) == 0, f"{tried.done}"
        # What is asked for again stays within what was on its way on connections that showed where they end.
        most = len(files) if depth == 1 and ending is not RESET else 3 * len(files)
        assert sum(service.counts.values()) <= most, f"{sum(service.counts.values())} requests"

    in_each_way(tmp_path, trial, [(depth, connections, requests, sink)
                                  for depth in (1, 16) for connections in (1, 4) for sink in ("files", "zstd")])


@pytest.fixture(scope="module")
def right_copy(server, tmp_path_factory):
    """Gives a copy of FEW, made in that way of answers that were right. Each is made once."""
    copies = {}

    def made(frame, *way):
        if (frame, *way) not in copies:
            depth, connections, requests, sink = way
            service = server.add(Service(FEW, frame=FRAMES[frame], requests=requests))
            copies[frame, *way] = Trial(service, tmp_path_factory.mktemp("right"), depth, connections, sink)
            assert copies[frame, *way].failed == {}
        return copies[frame, *way]
    return made


@EACH_SURPLUS
def test_verify_says_that_an_answer_can_be_doubted(frame, kind, right_copy, tmp_path):
    """The copy is right; but what the origin answers now proves nothing."""
    def trial(folder, *way):
        faulty = two_of(FEW, f"{kind} {folder.name}")
        tried = right_copy(frame, *way)
        service = tried.service
        service.excused = set()
        service.faults = dict.fromkeys(faulty, FAULTS[kind])
        found = tried.verified()
        excused = service.excuses()
        assert found.keys() | excused >= set(faulty) >= found.keys() - excused, found

    in_each_way(tmp_path, trial, WAYS_OF[frame])


@pytest.mark.parametrize("kind", ["cut", "empty", "cut, the rest late", "empty, the body late"])
def test_verify_knows_a_copy_that_was_cut_by_what_the_origin_still_sends(kind, server, tmp_path):
    """As an older version, which took the cut files for whole, has left them: here the origin alone was wrong."""
    def trial(folder, depth, connections, requests, sink):
        faulty = two_of(FEW, f"{kind} {folder.name}")
        k = 3 if "cut" in kind else None
        cut_short = {name: (body[:-k] if k else b"") if name in faulty else body for name, body in FEW.items()}
        service = server.add(Service(cut_short, requests=requests))
        tried = Trial(service, folder, depth, connections, sink)
        service.files, service.faults = FEW, dict.fromkeys(faulty, FAULTS[kind])
        found, excused = set(tried.verified()), service.excuses()
        assert found - excused <= set(faulty) <= found | excused

    in_each_way(tmp_path, trial, WAYS)


def test_a_body_that_is_an_answer_itself_is_nobody_elses(server, tmp_path):
    """Announced as empty, it stands where the next answer should."""
    inner = answer(b"of another")
    files = {**FEW, "n030": inner, "n031": inner + b"!"}

    def trial(folder, depth, connections, requests, sink):
        service = server.add(Service(files, {"n030": announced_empty(), "n031": cut(len(inner) + 1, 0.0)},
                                     requests=requests))
        tried = Trial(service, folder, depth, connections, sink)
        assert tried.failed == {"n030": "bad-framing", "n031": "bad-framing"}, f"{tried.failed}: {tried.done}"

    in_each_way(tmp_path, trial)


@pytest.mark.parametrize("kind", ["cut", "doubled, apart", "dropped"])
def test_large_files_are_taken_back_too(kind, server, tmp_path):
    """Larger than what is gathered in memory: written as they come."""
    files = {name: body_of(name, size=rng_size) for name, rng_size in
             ((f"n{i:03}", 100_000 if i % 3 == 0 else 100) for i in range(30))}

    def trial(folder, depth, connections, requests, sink):
        faulty = ["n009", "n012", "n020"]
        service = server.add(Service(files, dict.fromkeys(faulty, FAULTS[kind]),
                                     requests=requests))
        tried = Trial(service, folder, depth, connections, sink, kind in BROKEN)
        excused = service.excuses()
        assert tried.failed.keys() | excused >= set(faulty) >= tried.failed.keys() - excused, f"{tried.failed}"

    in_each_way(tmp_path, trial)


def test_an_origin_slower_than_the_shortest_wait_is_waited_for(server, tmp_path):
    """One answer comes twice; what shows it stands behind the last one, as late as this origin is with everything."""
    def trial(folder, depth, connections, requests, sink):
        files = dict(list(FEW.items())[:12])
        service = server.add(Service(files, {"n005": doubled(0.0)}, times=1, lag=0.25))
        tried = Trial(service, folder, depth, connections, sink)
        assert tried.failed == {}, f"{tried.failed}: {tried.done}"

    in_each_way(tmp_path, trial, [(1, 1, None, "files"), (1, 1, None, "tar")])


@EACH_FRAME
@pytest.mark.parametrize("kind", FAULTS)
def test_a_listing_is_whole_or_its_end_is_told(frame, kind, server, tmp_path):
    service = server.add(Service(FEW, frame=FRAMES[frame], page_fault=FAULTS[kind], page_size=7))
    out = tmp_path / "out"
    done = run("fetch", *QUIET, "--workers", 1, "--layout", "flat", "--stall-timeout", 0.5, "--list-timeout", 0.5,
               "--retries", 2, service.url, out, code=None)
    assert done.code in (0, 1), f"{done}"
    if done.code == 0:
        assert done.summary["listed"] == len(FEW), f"{done}"
        assert judge(out, FEW, tmp_path) == {}
    else:
        done.says("page ")


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("depth", [1, 4, 16])
def test_an_answer_that_is_refused_before_its_end_proves_none_before_it(server, tmp_path, depth, sink):
    """One answer too many shifts those behind it, and the connection is given up within a body that is too large."""
    files = {**FEW, "n030": body_of("n030", size=200_000)}
    service = server.add(Service(files, {"n025": doubled(0.0)}, times=1))
    out = tmp_path / "out"
    done = run("fetch", *QUIET, "--workers", 1, "--connections", 1, "--pipeline", depth, "--layout", "flat",
               "--max-file-size", 100_000, *SINKS[sink], service.url, out, code=3)
    failed = judge(out, files, tmp_path, service.excuses())
    assert failed == {"n030": "too-large"}, f"{failed}: {done}"
