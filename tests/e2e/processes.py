"""What /proc and the kernel say about processes, and waiting for it to become true."""
import os
import socket
import struct
import time


def wait_until(condition, what, seconds=60):
    """Polls `condition` until it gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.01)


def _stat(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    name_end = text.rindex(b")")
    fields = text[name_end + 2:].split()
    return {"comm": text[text.index(b"(") + 1:name_end].decode(), "state": fields[0].decode(),
            "parent": int(fields[1])}


def is_alive(pid):
    stat = _stat(pid)
    return stat is not None and stat["state"] not in "ZX"


def comm(pid):
    stat = _stat(pid)
    return stat["comm"] if stat else ""


def is_stopped(pid):
    stat = _stat(pid)
    return stat is None or stat["state"] in "TtZX"


def all_pids():
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def children(pid):
    return [p for p in all_pids() if (stat := _stat(p)) and stat["parent"] == pid and stat["state"] != "Z"]


def at_work(supervisor, workers):
    """The children of a run, by name, once the coordinator and every worker are there and named."""
    expected = sorted(["gigafetch:coord"] + [f"gigafetch:w{i:02}" for i in range(workers)])
    def named():
        found = {comm(pid): pid for pid in children(supervisor)}
        return found if sorted(found) == expected else None
    return wait_until(named, f"a coordinator and {workers} workers")


def with_environment(entry, pids):
    """Those live processes of `pids` that were started with `entry` ("NAME=value") in their environment."""
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if entry.encode() in file.read().split(b"\0") and is_alive(pid):
                    found.append(pid)
        except OSError:
            pass
    return found


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def status_kib(pid, key):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key + ":"))


def socket_inodes(pid):
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(int(target[8:-1]))
    return inodes


def unix_peers():
    """Inode to inode of every connected pair of Unix sockets (sock_diag(7))."""
    af_netlink, sock_diag, by_family, dump, done, failed = 16, 4, 20, 0x301, 3, 2
    show_peer, peer_attribute, every_state = 4, 2, 0xFFFFFFFF
    request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, every_state, 0, show_peer, 0, 0)
    header = struct.pack("=IHHII", 16 + len(request), by_family, dump, 1, 0)
    peers = {}
    with socket.socket(af_netlink, socket.SOCK_RAW, sock_diag) as netlink:
        netlink.send(header + request)
        while True:
            answer = netlink.recv(1 << 16)
            while answer:
                length, kind = struct.unpack_from("=IH", answer)
                if kind == done:
                    return peers
                assert kind != failed, "the kernel has no unix_diag"
                inode = struct.unpack_from("=I", answer, 16 + 4)[0]
                at = 16 + 16
                while at < length:
                    size, attribute = struct.unpack_from("=HH", answer, at)
                    if attribute == peer_attribute:
                        peers[inode] = struct.unpack_from("=I", answer, at + 4)[0]
                    at += (size + 3) & ~3
                answer = answer[(length + 3) & ~3:]
