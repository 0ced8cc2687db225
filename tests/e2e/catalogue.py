"""The files of `gigafetch origin`, from the formulas in src/origin/catalogue.h, and the origin itself."""
from command import BINARY
from origin_process import OriginProcess

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def mix64(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def fnv1a64(text):
    digest = 0xCBF29CE484222325
    for byte in text:
        digest = (digest ^ byte) * 0x100000001B3 & MASK
    return digest


def name_of(index, seed=1):
    return f"file{index:010}-{mix64(seed + (index + 1) * GAMMA & MASK) >> 32:08x}"


def names(files, seed=1):
    return [name_of(index, seed) for index in range(files)]


def body_of(name, size=100, seed=1, offset=0):
    """`size` bytes of the body from `offset` on."""
    state = fnv1a64(name.encode()) ^ mix64(seed + GAMMA & MASK)
    first, last = offset // 16, (offset + size + 15) // 16
    digits = "".join(f"{mix64(state + (step + 1) * GAMMA & MASK):016x}" for step in range(first, last))
    return digits[offset - first * 16:][:size].encode()


def files(count, size=100, seed=1):
    return {name: body_of(name, size, seed) for name in names(count, seed)}


class Origin(OriginProcess):
    """`gigafetch origin` on a free port of `host`."""

    def __init__(self, *options, host="127.0.0.1", port=0):
        super().__init__(BINARY, *options, listen=f"{host}:{port}")
