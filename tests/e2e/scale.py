"""How much of a test that draws from many cases is run: some of them, or in script/fault-suite all."""
import os

LONG = bool(os.environ.get("GIGAFETCH_FAULT_LONG"))  # the whole suite, not its short form


def scaled(short, whole):
    return whole if LONG else short
