"""Start the enclave process: `python -m fedenclave.enclave --fd N`.

`--measure` prints the measurement of this code as JSON and ends; `--modules` prints what a serving
process has loaded. Hardening comes first, then the libraries, then our own measured code.
"""

from __future__ import annotations

import os
import sys

# Set before numpy loads its BLAS: its own threads would fight with the two workers, and a norm
# must not depend on the number of cores.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

_USAGE = "usage: python -m fedenclave.enclave --fd N | --measure | --modules"


def main(arguments: list[str]) -> int:
    """Run one of the three modes; return the exit status."""
    match arguments:
        case ["--fd", number] if number.isdecimal():
            return _serve(int(number))
        case ["--measure"]:
            return _measure()
        case ["--modules"]:
            return _modules()
        case _:
            print(_USAGE, file=sys.stderr)
            return 2


def _load_libraries() -> None:
    """Import the libraries from their caches, then forbid caches for what is measured.

    The measurement is of source files; a planted cache file must not run in their place.
    """
    sys.pycache_prefix = None
    import cbor2  # noqa: F401
    import numpy  # noqa: F401

    sys.dont_write_bytecode = True
    sys.pycache_prefix = os.devnull


def _serve(descriptor: int) -> int:
    from fedenclave.enclave.hardening import harden

    hardening = harden()
    _load_libraries()
    import signal
    import socket

    from fedenclave.enclave.service import Service

    # The host decides when the enclave ends, by closing the socket: not a Ctrl-C at its terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as connection:
        try:
            Service(connection, hardening).run()
        except (EOFError, ConnectionError):
            return 0
    return 0


def _measure() -> int:
    _load_libraries()
    import json

    from fedenclave.enclave.measured import read_measured_code
    from fedenclave.protocol.digests import to_text

    code = read_measured_code()
    report = {
        "measurement": to_text(code.measurement),
        "files": {file.path: to_text(file.digest) for file in code.files},
        "versions": {version.name: version.version for version in code.versions},
    }
    print(json.dumps(report, indent=2))
    return 0


def _modules() -> int:
    _load_libraries()
    import signal  # noqa: F401

    import fedenclave.enclave.hardening
    import fedenclave.enclave.service  # noqa: F401

    print("\n".join(sorted(sys.modules)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
