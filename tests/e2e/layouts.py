"""The paths that src/store/layout.h promises, worked out from its words and not from its code."""
import os
import re
import subprocess

NAME_MAX, PATH_MAX = 255, 4095


def _escape(text):
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _component(text):
    if text in (".", ".."):
        return _escape(text)
    text = re.sub("%(?=[0-9A-Fa-f]{2})", "%25", text)
    return re.sub("[\x00-\x1f\x7f/]", lambda found: _escape(found[0]), text)


def _first(text):
    return "%2E" + text[1:] if text == ".gigafetch" else _component(text)


def tree_components(name):
    """Cut at each slash that has something but slashes on its left, and anything on its right."""
    components = [""]
    for at, c in enumerate(name):
        if c == "/" and components[-1].strip("/") and at + 1 < len(name):
            components.append("")
        else:
            components[-1] += c
    return components


def refusal(layout, name):
    """The failure class of a name that no path can hold; None for any other."""
    if not name or "\0" in name:
        return "bad-name"
    if len(name.encode()) > 4096:
        return "name-too-long"
    if layout == "fanout":
        return "name-too-long" if len(_component(name).encode()) > PATH_MAX - 100 else None
    path = path_of(layout, name)
    too_long = any(len(part.encode()) > NAME_MAX for part in path.split("/")) or len(path.encode()) > PATH_MAX
    return "name-too-long" if too_long else None


def path_of(layout, name):
    """Of layout tree or flat."""
    if layout == "flat":
        return _first(name)
    first, *rest = tree_components(name)
    return "/".join([_first(first), *map(_component, rest)])


def fanout_tail(name):
    """What follows the two folders of hash, with the cuts of a long name taken out."""
    tail = _component(name)
    return tail[:-1] + "%7E" if tail.endswith("~") else tail


def joined_tail(path):
    """fanout_tail of the name at `path`; asserts the path's shape."""
    assert re.match("[0-9a-f]{2}/[0-9a-f]{2}/", path), path
    *folders, file = path[6:].split("/")
    assert all(folder.endswith("~") for folder in folders) and not file.endswith("~"), path
    assert all(len(part.encode()) <= NAME_MAX for part in [*folders, file]), path
    return "".join(folder[:-1] for folder in folders) + file


def below(folder, *tests):
    """Paths below `folder`, however long: find(1) walks by descriptor."""
    found = subprocess.run(["find", ".", "-mindepth", "1", *tests, "-print0"], cwd=folder, check=True,
                           stdout=subprocess.PIPE).stdout
    return [os.fsdecode(path[2:]) for path in found.split(b"\0")[:-1]]


def _open_beneath(folder_fd, path):
    """Of a path that may be too long for one system call."""
    *folders, file = path.split("/")
    fd = os.dup(folder_fd)
    for part in folders:
        inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        fd = inner
    try:
        return os.open(file, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
    finally:
        os.close(fd)


def stored_files(out):
    """Path to bytes of all that lies in the output folder but the state folder: files and folders only."""
    mine = ["-not", "-path", "./.gigafetch/*"]
    assert below(out, "-not", "-type", "f", "-not", "-type", "d", *mine) == []
    contents = {}
    out_fd = os.open(out, os.O_PATH)
    for path in below(out, "-type", "f", *mine):
        with open(_open_beneath(out_fd, path), "rb") as file:
            contents[path] = file.read()
    os.close(out_fd)
    return contents
