"""What a copy may look like after answers that could be doubted: right, or missing and told as failed; never wrong."""
import io
import tarfile
from pathlib import Path

from command import dead_letters
from layouts import stored_files
from shards import check_tidy, shards, tool, unpacked


def extracted(program, shard, folder):
    """Path to body of what `program` leaves of the shard in a folder of its own."""
    folder.mkdir()
    tool(program, "-xf", shard, "-C", folder)
    return stored_files(folder)


def told_by_python(shard):
    with tarfile.open(fileobj=io.BytesIO(unpacked(shard))) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isreg()}


def shown(out, scratch):
    """By reader: (path, body) of all that lies in the output folder, or that a reader gets out of its shards."""
    if not shards(out):
        return {"disk": list(stored_files(out).items())}
    check_tidy(out)
    found = {"tar": [], "bsdtar": [], "python": []}
    for number, shard in enumerate(shards(out)):
        for program in ("tar", "bsdtar"):
            found[program] += extracted(program, shard, Path(scratch) / f"{program}{number}").items()
        found["python"] += told_by_python(shard).items()
    return found


def judge(out, files, scratch, excused=()):
    """Failed names with their classes (layout flat). Those excused, and no others, may have wrong bytes."""
    failed = {name: letter["class"] for name, letter in dead_letters(out).items()}
    for reader, members in shown(out, scratch).items():
        names = [name for name, _ in members]
        wrong = [name for name, body in members if files.get(name) != body and name not in excused]
        both = failed.keys() & set(names)
        lost = files.keys() - failed.keys() - set(names)
        twice = len(names) - len(set(names))
        assert not (wrong or both or lost or twice), \
            f"by {reader}: {len(wrong)} wrong {wrong[:3]}, {len(both)} failed and there {sorted(both)[:3]}," \
            f" {len(lost)} lost {sorted(lost)[:3]}, {twice} twice"
    return failed
