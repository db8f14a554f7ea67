"""Copy what the enclave runs, to change it as an operator might."""

from __future__ import annotations

import shutil
from pathlib import Path

import fedenclave

_RUN_BY_THE_ENCLAVE = ("enclave", "protocol")


def copy_of_the_enclave(to: Path, code: Path | None = None) -> Path:
    """Copy the package as far as the enclave runs it, and return the folder that holds it.

    Args:
        to: the new folder.
        code: a folder with the package to copy; None for the installed one.
    """
    package = code / "fedenclave" if code is not None else Path(fedenclave.__file__).parent
    for part in _RUN_BY_THE_ENCLAVE:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package / part, to / "fedenclave" / part, ignore=ignore)
    shutil.copy(package / "__init__.py", to / "fedenclave")
    return to


def change(folder: Path, file: str, old: str, new: str) -> None:
    """Replace `old`, which must be there once, in a file of the copied package.

    Args:
        folder: from `copy_of_the_enclave`.
        file: its path below the package.
        old: what stands there.
        new: what shall.

    Raises:
        ValueError: `old` is not there, or more than once.
    """
    path = folder / "fedenclave" / file
    source = path.read_text(encoding="utf-8")
    if (count := source.count(old)) != 1:
        raise ValueError(f"{file} has the text to change {count} times, want once")
    path.write_text(source.replace(old, new), encoding="utf-8")
