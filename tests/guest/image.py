"""Make the guest's initial file system: this Python, the enclave's libraries, the enclave.

In it is what the enclave loads, found by running it here, and nothing else: no shell, no other
program. Paths in the guest:

    /init                    init.py
    /code/fedenclave/        the package's `__init__.py`, `enclave/` and `protocol/`
    /libraries/              the files in use of numpy, cryptography, cbor2 and cffi
    /usr/bin/python3, /usr/lib/python3.*/    the interpreter and the modules in use
    /lib/                    shared libraries of the system
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from fedenclave.protocol.measurement import DEPENDENCIES
from tests.guest.archive import FOLDER, link, pack, program

HERE = Path(__file__).parent
INIT = HERE / "init.py"
STDLIB, SITE = (Path(sysconfig.get_path(name)) for name in ("stdlib", "platlib"))
LIBRARIES, SYSTEM_LIBRARIES = "libraries", "lib"
_INTERPRETER = "usr/bin/python3"
_PYTHON = f"usr/{sys.platlibdir}/python{sys.version_info.major}.{sys.version_info.minor}"
_LINKED = re.compile(r"(?:(\S+) => )?(/\S+) \(0x")
_CODE = ("enclave", "protocol")


def build(code: Path) -> bytes:
    """Return the image of the enclave in `code`, a folder that holds the package `fedenclave`."""
    entries = dict.fromkeys(("dev", "proc", "sys"), FOLDER)
    entries["init"] = program(INIT.read_bytes())
    # A dynamic linker looks into one or the other, as the distribution likes it.
    entries["lib64"] = link(SYSTEM_LIBRARIES)
    modules = loaded(code)
    interpreter = Path(sys.executable).resolve()
    files = {_INTERPRETER: interpreter, **linked([interpreter, *modules])}
    for path in [*modules, *map(metadata, DEPENDENCIES)]:
        if path.is_relative_to(SITE):
            files[f"{LIBRARIES}/{path.relative_to(SITE)}"] = path
        else:
            files[f"{_PYTHON}/{path.relative_to(STDLIB)}"] = path
    for path in measured_files(code):
        files[f"code/{path.relative_to(code)}"] = path
    return pack(entries | {name: program(path.read_bytes()) for name, path in files.items()})


def measured_files(code: Path) -> list[Path]:
    """Return the enclave's files: all that its measurement is over, and what lies beside them."""
    package = code / "fedenclave"
    found = [package / "__init__.py"]
    for folder in _CODE:
        found += [p for p in (package / folder).rglob("*") if p.is_file() and p.suffix != ".pyc"]
    return found


def loaded(code: Path) -> list[Path]:
    """Return the files of all modules in use, without the enclave's own."""
    done = subprocess.run(
        [sys.executable, "-P", "-s", str(HERE / "loaded.py"), str(INIT)],
        env={"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(code)},
        cwd="/",
        stdout=subprocess.PIPE,
        check=True,
    )
    paths = {Path(file) for file in json.loads(done.stdout)}
    return sorted(p for p in paths if not p.is_relative_to(code) and p.parent != HERE)


def linked(objects: Iterable[Path]) -> dict[str, Path]:
    """Return the shared libraries that programs and modules ask for, by their paths in the guest.

    Those that come with a Python package keep their places: it finds them from where it lies.
    """
    shared = [str(path) for path in objects if path.suffix != ".py"]
    listing = subprocess.run(["ldd", *shared], capture_output=True, text=True, check=True).stdout
    files = {}
    for name, found in _LINKED.findall(listing):
        # One library, asked for by two modules, is named through the folder of each.
        path = Path(os.path.normpath(found))
        if path.is_relative_to(SITE):
            files[f"{LIBRARIES}/{path.relative_to(SITE)}"] = path
        else:
            files[f"{SYSTEM_LIBRARIES}/{name or path.name}"] = path
    return files


def metadata(package: str) -> Path:
    """Return the file that says a package's version, which is measured."""
    found = distribution(package)
    (file,) = (f for f in found.files or () if f.name == "METADATA")
    return Path(str(found.locate_file(file)))
