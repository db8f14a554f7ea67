"""Read the files of this very package, for the development measurement.

SPEC.md, section 9.2.
"""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import fedenclave
from fedenclave.protocol.measurement import DEPENDENCIES, MeasuredCode, measured_code

_MEASURED_FOLDERS = ("enclave", "protocol")


def read_measured_code() -> MeasuredCode:
    """Return digests of every source file the enclave can load, and its libraries' versions."""
    package = Path(fedenclave.__file__).parent
    paths = [package / "__init__.py"]
    for folder in _MEASURED_FOLDERS:
        paths.extend((package / folder).rglob("*.py"))
    files = {path.relative_to(package).as_posix(): path.read_bytes() for path in paths}
    versions = {name: importlib.metadata.version(name) for name in DEPENDENCIES}
    return measured_code(files, {**versions, "python": platform.python_version()})
