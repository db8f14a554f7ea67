"""What a file in a dataset may be called: a path below some folder, and never out of it."""

from __future__ import annotations

MAX_NAME = 4096


def name_problem(name: str) -> str:
    """Return what is wrong with a member's name; nothing where it can be used.

    Names come out of a sealed index, too, which whoever had the key could have written: a reader
    that makes files of them must not be led out of its folder.
    """
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if len(encoded) > MAX_NAME:
        return f"it has {len(encoded)} bytes, want at most {MAX_NAME}"
    if "\0" in name:
        return "it has a zero byte"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "it has an empty part, a dot or two dots between slashes"
    return ""
