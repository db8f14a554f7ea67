"""The SuperNode's program ends when the SuperNode does, whatever threads it leaves."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

PROGRAM = """
import threading, time
import flwr.supernode.cli as cli
from fedenclave.node import supernode

def ends():
    threading.Thread(target=time.sleep, args=(60,)).start()
    {how}

cli.flower_supernode = ends
supernode.main()
"""


@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ("return", 1, ""),
        ("raise SystemExit(0)", 0, ""),
        ("raise SystemExit('text')", 1, ""),
        (
            "raise ValueError('what a SuperLink says')",
            1,
            "error: the SuperNode failed: ValueError\n",
        ),
    ],
)
def test_a_thread_that_goes_on_does_not_keep_it(how: str, code: int, says: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(how=how)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code
    assert done.stderr == says
