"""The library that makes system calls fail (shim.cc), shown at work on small programs."""
import os
import pathlib
import subprocess

import pytest

SHIM = os.environ["GIGAFETCH_SHIM"]
BOOT_ID = "/proc/sys/kernel/random/boot_id"

# What the small programs share: open files below the working folder, and a call's outcome in a word.
PROLOGUE = """
import ctypes, errno, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
folder = os.open('.', os.O_RDONLY | os.O_DIRECTORY)
def new(name):  # by a call that the library leaves alone
    return libc.creat(name.encode(), 0o644)
def outcome(call, *args, **more):
    try:
        return call(*args, **more)
    except OSError as error:
        return errno.errorcode[error.errno]
def in_c(function, *args):
    result = function(*args)
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]
"""


@pytest.fixture
def run(tmp_path):
    """Runs a small program in a folder of its own under the library; gives the lines it prints."""
    def run_program(program, **environment):
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-S", "-c", PROLOGUE + program], cwd=tmp_path, text=True,
            capture_output=True, timeout=60, env={"LD_PRELOAD": SHIM, **environment})
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()
    return run_program


def trace_of(path):
    return [line.split("\t") for line in pathlib.Path(path).read_text().splitlines()]


WRITES = "fd = new('f')\nfor i in range(6): print(outcome(os.write, fd, b'abcd'))"


def test_without_orders_nothing_changes(run):
    assert run(WRITES) == ["4"] * 6


def test_the_nth_call_fails_and_no_other(run, tmp_path):
    assert run(WRITES, GIGAFETCH_FAULTS="calls=write;error=ENOSPC;nth=3") == ["4", "4", "ENOSPC", "4", "4", "4"]
    assert (tmp_path / "f").stat().st_size == 5 * 4


def test_count_is_how_many_fail_and_0_is_all_that_follow(run):
    assert run(WRITES, GIGAFETCH_FAULTS="calls=write;error=EIO;nth=2;count=3") == ["4", "EIO", "EIO", "EIO", "4", "4"]
    assert run(WRITES, GIGAFETCH_FAULTS="calls=write;error=EIO;nth=5;count=0") == ["4"] * 4 + ["EIO", "EIO"]


def test_every_so_many_fail_from_the_nth_on(run):
    faults = "calls=write;error=EIO;nth=2;every=2;"
    assert run(WRITES, GIGAFETCH_FAULTS=faults + "count=0") == ["4", "EIO"] * 3
    assert run(WRITES, GIGAFETCH_FAULTS=faults + "count=2") == ["4", "EIO"] * 2 + ["4", "4"]


@pytest.mark.parametrize("call, program", [
    ("open", "outcome(os.open, 'target', os.O_RDONLY)"),
    ("openat", "outcome(os.open, 'target', os.O_RDONLY, dir_fd=folder)"),
    ("openat2", "in_c(libc.syscall, 437, folder, b'target', struct.pack('QQQ', os.O_RDONLY, 0, 8), 24)"),
    ("write", "outcome(os.write, fd, b'x')"),
    ("pwrite", "outcome(os.pwrite, fd, b'x', 0)"),
    ("writev", "outcome(os.writev, fd, [b'x'])"),
    ("fsync", "outcome(os.fsync, fd)"),
    ("fdatasync", "outcome(os.fdatasync, fd)"),
    ("syncfs", "in_c(libc.syncfs, fd)"),
    ("ftruncate", "outcome(os.ftruncate, fd, 9)"),
    ("close", "outcome(os.close, fd)"),
    ("mkdir", "outcome(os.mkdir, 'target.d')"),
    ("mkdirat", "outcome(os.mkdir, 'target.d', dir_fd=folder)"),
    ("renameat", "outcome(os.rename, 'target', 'other', src_dir_fd=folder, dst_dir_fd=folder)"),
    ("unlinkat", "outcome(os.unlink, 'target', dir_fd=folder)"),
])
def test_every_call_can_fail_and_is_then_not_made(call, program, run):
    program = f"fd = new('target'); print({program}); print(*os.listdir(), os.fstat(folder).st_nlink); print({program})"
    first, left, second = run(program, GIGAFETCH_FAULTS=f"calls={call};error=EDQUOT;path=/target")
    assert (first, left) == ("EDQUOT", "target 2")
    # But a close that fails has closed.
    assert second == "EBADF" if call == "close" else second != "EDQUOT" and not second.startswith("E")


def test_calls_that_are_not_listed_neither_fail_nor_count(run):
    program = "fd = new('f')\nfor i in range(3): print(outcome(os.fsync, fd), outcome(os.write, fd, b'x'))"
    assert run(program, GIGAFETCH_FAULTS="calls=fdatasync,write;error=EIO;nth=2") == ["None 1", "None EIO", "None 1"]


def test_several_calls_share_one_count(run):
    program = "fd = new('f')\nfor i in range(3): print(outcome(os.fsync, fd), outcome(os.write, fd, b'x'))"
    assert run(program, GIGAFETCH_FAULTS="calls=fsync,write;error=EIO;nth=3") == ["None 1", "EIO 1", "None 1"]


def test_only_calls_on_the_path_count(run):
    program = "a, b = new('a'), new('b')\nfor i in range(3): print(outcome(os.write, a, b'x'), outcome(os.write, b, b'x'))"
    assert run(program, GIGAFETCH_FAULTS="calls=write;error=EIO;nth=2;path=/b") == ["1 1", "1 EIO", "1 1"]


def test_the_count_is_the_whole_trees(run):
    program = """
fd = new('f')
for child in range(3):
    if os.fork() == 0:
        for i in range(2):
            print(child, outcome(os.write, fd, b'x'), flush=True)
        os._exit(0)
    os.wait()
print(outcome(os.write, fd, b'x'))
"""
    assert run(program, GIGAFETCH_FAULTS="calls=write;error=ENOSPC;nth=4;count=2") == [
        "0 1", "0 1", "1 1", "1 ENOSPC", "2 ENOSPC", "2 1", "1"]


def test_a_short_write_writes_half_and_at_least_a_byte(run, tmp_path):
    program = """
fd = new('f')
print(os.write(fd, b'0123456789'), os.pwrite(fd, b'abcde', 5), os.write(fd, b'x'))
print(os.writev(fd, [b'', b'ab', b'c', b'defg']), outcome(os.fsync, fd))
"""
    faults = "calls=write,pwrite,writev,fsync;error=short;count=0"
    assert run(program, GIGAFETCH_FAULTS=faults) == ["5 2 1", "3 None"]
    assert (tmp_path / "f").read_bytes() == b"01234xabc"


def test_streams_and_the_systems_folders_are_left_alone(run, tmp_path):
    program = """
a, b = socket.socketpair()
r, w = os.pipe()
null = os.open('/dev/null', os.O_RDWR)
print(outcome(os.write, a.fileno(), b'x'), outcome(os.write, w, b'x'), outcome(os.write, null, b'x'), flush=True)
print(os.read(os.open('/proc/self/comm', os.O_RDONLY), 7), os.open('/etc/passwd', os.O_RDONLY) > 0, flush=True)
os.dup2(new('f'), 1)
print('to a file', flush=True)
"""
    faults = "calls=open,openat,write,close;error=EIO;count=0;nth=2"  # the first is the working folder
    assert run(program, GIGAFETCH_FAULTS=faults) == ["1 1 1", "b'python3' True"]
    assert (tmp_path / "f").read_text() == "to a file\n"


@pytest.mark.parametrize("faults", ["calls=write", "error=EIO", "calls=write;error=ENOSUCH", "calls=write;error=EIO;nth=0"])
def test_orders_that_make_no_sense_end_the_program(faults, tmp_path):
    done = subprocess.run(["/bin/true"], env={"LD_PRELOAD": SHIM, "GIGAFETCH_FAULTS": faults}, capture_output=True)
    assert done.returncode == 127 and b"GIGAFETCH_FAULTS" in done.stderr


def test_the_trace_tells_the_order_the_paths_and_the_results(run, tmp_path):
    program = """
print(os.getpid())
fd = os.open('a', os.O_RDWR | os.O_CREAT, dir_fd=folder)
os.write(fd, b'xyz')
outcome(os.write, fd, b'xyz')
os.fdatasync(fd)
libc.syncfs(folder)
os.rename('a', 'b', src_dir_fd=folder, dst_dir_fd=folder)
os.ftruncate(fd, 1)
os.close(fd)
in_c(libc.syscall, 437, folder, b'b', struct.pack('QQQ', os.O_RDONLY, 0, 8), 24)
outcome(os.unlink, 'c', dir_fd=folder)
"""
    trace = tmp_path / "trace"
    pid, = run(program, GIGAFETCH_TRACE=str(trace), GIGAFETCH_FAULTS="calls=write;error=EIO;nth=2")
    lines = trace_of(trace)
    here = str(tmp_path)
    assert lines[0][:2] == ["open", here + "/."]
    assert {line[3] for line in lines} == {pid}
    fd = lines[1][2]
    assert [line[:3] + line[4:] for line in lines[1:]] == [
        ["openat", here + "/a", fd],
        ["write", here + "/a", "3"],
        ["write", here + "/a", "EIO", "injected"],
        ["fdatasync", here + "/a", "0"],
        ["syncfs", here, "0"],
        ["renameat", f"{here}/a -> {here}/b", "0"],
        ["ftruncate", here + "/b", "0"],
        ["close", here + "/b", "0"],
        ["openat2", here + "/b", fd],
        ["unlinkat", here + "/c", "ENOENT"],
    ]


def test_the_trace_is_of_the_whole_tree_even_when_every_descriptor_is_closed(run, tmp_path):
    program = """
if os.fork() == 0:
    os.closerange(3, 100)
    os.mkdir('d')
    os._exit(0)
os.wait()
os.mkdir('e')
"""
    run(program, GIGAFETCH_TRACE=str(tmp_path / "trace"))
    made = [line for line in trace_of(tmp_path / "trace") if line[0] == "mkdir"]
    assert [line[1] for line in made] == [str(tmp_path / "d"), str(tmp_path / "e")]
    assert made[0][3] != made[1][3]


@pytest.mark.parametrize("more", ["", ", dir_fd=folder"])
def test_another_boot_id_is_read(more, run):
    program = f"print(os.read(os.open('{BOOT_ID}', os.O_RDONLY{more}), 100))"
    mine = "01234567-89ab-cdef-0123-456789abcdef"
    assert run(program, GIGAFETCH_BOOT_ID=mine) == [f"b'{mine}\\n'"]
    assert run(program) == [str(pathlib.Path(BOOT_ID).read_bytes())]
