"""Read the files of this very package, for the development measurement.

SPEC.md, section 9.2.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import platform
from pathlib import Path

import fedenclave
from fedenclave.protocol.measurement import DEPENDENCIES, MeasuredCode, measured_code

_MEASURED_FOLDERS = ("enclave", "protocol")
_LOADABLE = tuple(importlib.machinery.all_suffixes())
"""Not only `.py`: Python would load `codec.abi3.so` before `codec.py` that lies beside it."""


def read_measured_code() -> MeasuredCode:
    """Return digests of every file of ours the enclave can load, and its libraries' versions."""
    package = Path(fedenclave.__file__).parent
    paths = list(package.glob("__init__.*"))
    for folder in _MEASURED_FOLDERS:
        paths.extend((package / folder).rglob("*"))
    # A link could lead to code that is loaded and not listed.
    if any(path.is_symlink() for path in paths):
        raise OSError("a link among the measured files")
    # Caches are left out: `__main__` has forbidden them for what is measured.
    paths = [p for p in paths if p.name.endswith(_LOADABLE) and p.parent.name != "__pycache__"]
    files = {path.relative_to(package).as_posix(): path.read_bytes() for path in paths}
    versions = {name: importlib.metadata.version(name) for name in DEPENDENCIES}
    return measured_code(files, {**versions, "python": platform.python_version()})
