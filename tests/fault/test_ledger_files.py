"""Row 5 as the operator meets it: damage is named with its place, --repair cuts there, the rest is fetched again.

Every cut and every flipped bit of a ledger of 1,000 batches is the business of the unit test of recovery."""
import shutil

import pytest

from catalogue import Origin
from command import fetch, run
from oracle import check_whole, files_of, requests_seen

FILES = 3000
ARGS = ["--workers", 2, "--batch", 100, "--layout", "fanout"]


@pytest.fixture
def job(tmp_path):
    """A finished job and its origin; the ledger as bytes."""
    with Origin("--files", FILES, "--page-size", 300, "--count") as origin:
        out = tmp_path / "out"
        fetch(origin.url, out, *ARGS)
        yield origin, out, out / ".gigafetch" / "ledger"


def test_a_torn_end_is_cut_and_fetched_again(job):
    origin, out, ledger = job
    whole = ledger.read_bytes()
    for length in range(len(whole) - 1, len(whole) - 60, -7):
        ledger.write_bytes(whole[:length])
        assert fetch(origin.url, out, *ARGS).summary["stored"] == FILES
        ledger.write_bytes(whole)
    check_whole(out, files_of(FILES))


def test_a_flipped_bit_below_a_sync_is_refused_with_its_place_and_repaired_when_asked(job):
    origin, out, ledger = job
    whole = bytearray(ledger.read_bytes())
    place = len(whole) // 2
    whole[place] ^= 4
    ledger.write_bytes(whole)
    refused = fetch(origin.url, out, *ARGS, code=1).says("ledger is damaged at byte", "--repair")
    at = int(refused.err.split("at byte ")[1].split(";")[0])
    assert place - 200 < at <= place
    asked = requests_seen(origin)["requests"]
    repaired = fetch(origin.url, out, *ARGS, "--repair").says(f"damaged at byte {at}", "fetched again")
    again = requests_seen(origin)["requests"] - asked
    assert 0 < again < FILES and repaired.summary["stored"] == FILES
    check_whole(out, files_of(FILES))
    assert fetch(origin.url, out, *ARGS).summary["requests"] == 0


@pytest.mark.parametrize("place", [0, 9, 17, 30])
def test_a_damaged_beginning_is_refused_and_restart_begins_anew(job, place):
    origin, out, ledger = job
    whole = bytearray(ledger.read_bytes())
    whole[place] ^= 1
    ledger.write_bytes(whole)
    for options in ([], ["--repair"]):
        fetch(origin.url, out, *ARGS, *options, code=1).says("ledger", "--restart")
    assert fetch(origin.url, out, *ARGS, "--restart").summary["stored"] == FILES
    check_whole(out, files_of(FILES))


def test_a_ledger_that_is_no_ledger_is_refused(job):
    origin, out, ledger = job
    for content in (b"", b"GFLEDGER", b"not a ledger at all, but long enough to be one"):
        ledger.write_bytes(content)
        fetch(origin.url, out, *ARGS, code=1).says("ledger", "--restart")


def test_verify_reads_a_damaged_ledger_as_such(job):
    origin, out, ledger = job
    ledger.write_bytes(ledger.read_bytes()[:20])
    run("verify", origin.url, out, code=1).says("ledger is damaged")
