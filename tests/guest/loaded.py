"""Print, as JSON, the files of every module that the guest's programs load, /init and the enclave.

Runs in a fresh interpreter, on the host, with the path of `init.py` as its argument.
"""

import contextlib
import io
import json
import runpy
import sys

ENCLAVE = "fedenclave.enclave"


class Discarded(io.StringIO):
    """A standard output that nobody reads; evidence is written as bytes."""

    buffer = io.BytesIO()


def main(init: str) -> None:
    """Load what they load, by running both."""
    runpy.run_path(init)
    for arguments in (["--modules"], ["--collect", "insecure", "00" * 64]):
        sys.argv = [ENCLAVE, *arguments]
        with contextlib.redirect_stdout(Discarded()), contextlib.suppress(SystemExit):
            runpy.run_module(ENCLAVE, run_name="__main__")
    files = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    print(json.dumps(sorted(file for file in files if file is not None)))


if __name__ == "__main__":
    main(sys.argv[1])
