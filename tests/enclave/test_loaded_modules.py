"""What the enclave process loads is a list in the tree, and a fresh interpreter agrees with it.

`LOADED.txt` names our modules one by one and other packages by their first name; the standard
library is left out, because it differs between releases of Python, and is asked for by name here.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import fedenclave

LIST = Path(fedenclave.__file__).parent / "enclave" / "LOADED.txt"
FORBIDDEN = {"flwr", "torch", "grpc", "google", "ray", "typer", "rich"}
# Programs, networks and code from data. numpy imports pickle itself; ours does not.
UNWANTED = {
    "asyncio",
    "ftplib",
    "http.client",
    "http.server",
    "multiprocessing.pool",
    "shelve",
    "smtplib",
    "socketserver",
    "ssl",
    "subprocess",
    "urllib.request",
    "xmlrpc",
}
# Loaded by .pth files of the tools that made the environment, before anything of ours.
OF_THE_ENVIRONMENT = {"_distutils_hack", "_virtualenv"}


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """What a serving process has loaded."""
    root = str(Path(fedenclave.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-P", "-s", "-m", "fedenclave.enclave", "--modules"],
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_list_in_the_tree_is_what_is_loaded(loaded: set[str]) -> None:
    ours = {name for name in loaded if name.partition(".")[0] == "fedenclave"}
    others = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    found = ours | (others - {"__main__", *OF_THE_ENVIRONMENT})
    lines = LIST.read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    assert listed == sorted(listed)
    assert set(listed) == found, f"differs: {sorted(set(listed) ^ found)}"


def test_nothing_that_is_forbidden_is_loaded(loaded: set[str]) -> None:
    assert not {name.partition(".")[0] for name in loaded} & FORBIDDEN
    assert not loaded & UNWANTED
    assert not {n for n in loaded if n.startswith("fedenclave.")} & {
        "fedenclave.attestation",
        "fedenclave.audit",
        "fedenclave.client",
        "fedenclave.host",
        "fedenclave.protocol.sealing",
    }
