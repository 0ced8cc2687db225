"""A fresh file system for each run, gone with all that is in it when the run has been judged.

Nothing is deleted file by file: ext4 looks for inodes that were freed a while ago, and the next run would
pay for that. As root a file system is made and unmounted; otherwise, for tmpfs alone, a new folder must do.
"""
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager

IMAGES = "/var/tmp"  # where there is a disk below


def _mounted(folder, *arguments):
    done = subprocess.run(["mount", *arguments, folder], capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip()


def _unmount(folder):
    subprocess.run(["umount", folder], check=True)


@contextmanager
def fresh_tmpfs(files, size):
    with tempfile.TemporaryDirectory(prefix="gigafetch-bench-", dir="/dev/shm") as folder:
        limits = f"size=100%,nr_inodes={2 * files + 10_000}"
        mounted = os.geteuid() == 0 and _mounted(folder, "-t", "tmpfs", "-o", limits, "tmpfs") is None
        try:
            os.mkdir(f"{folder}/out")
            yield f"{folder}/out"
        finally:
            if mounted:
                _unmount(folder)


@contextmanager
def fresh_ext4(files, size):
    """In a sparse image on the disk. The tables of inodes are written at once, not while the run goes on."""
    if os.geteuid() != 0:
        raise PermissionError("--fs ext4 mounts a file system: it needs root")
    blocks = max(4096, (size + 8191) // 4096 * 4096)
    with tempfile.TemporaryDirectory(prefix="gigafetch-bench-", dir=IMAGES) as base:
        image, folder = f"{base}/image", f"{base}/mounted"
        with open(image, "wb") as file:
            file.truncate((512 << 20) + files * (blocks + 2048) * 5 // 4)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-i", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0",
                        image], check=True, stdout=subprocess.DEVNULL)
        os.mkdir(folder)
        trouble = _mounted(folder, "-o", "loop", image)
        if trouble:
            raise OSError(f"cannot mount {image}: {trouble}")
        try:
            os.mkdir(f"{folder}/out")
            yield f"{folder}/out"
        finally:
            _unmount(folder)


FRESH = {"tmpfs": fresh_tmpfs, "ext4": fresh_ext4}


def free_bytes(folder):
    return shutil.disk_usage(folder).free
