"""What a process knows stays out of core files, and out of its user's other processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
# As a process that is at work, whose state is asked from within: PR_GET_DUMPABLE is 3.
_ASK = """
import ctypes, resource
def state():
    print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
    print("core", resource.getrlimit(resource.RLIMIT_CORE)[0])
"""
_COMMAND = (
    _ASK
    + """
import sys
from fedenclave.cli import {name}, main
{name}.{function} = None  # the commands below do not get that far
@{name}.app.command()
def ask():
    state()
sys.argv = ["fedenclave", "{name}", "ask"]
main.app()
"""
)
_PROCESS = (
    _ASK
    + """
import sys
from fedenclave.node import {name}
{name}.{next} = lambda *a, **k: (state(), sys.exit(0))
sys.argv = ["x", {words}]
{name}.main()
"""
)
_APP_PROCESS = (
    '"--runtime-api-address", "127.0.0.1:9", "--client-folder", ".", "--task-type", "x", '
    '"--parent-pid", sys.argv[1]'
)
PROCESSES = {
    "app_process": _PROCESS.format(name="app_process", next="end_with_parent", words=_APP_PROCESS),
    "app_alone": _PROCESS.format(
        name="app_alone",
        next="end_with_parent",
        words='"--pipe", "0", "--parent-pid", sys.argv[1]',
    ),
    "data": _COMMAND.format(name="data", function="seal"),
    "keys": _COMMAND.format(name="keys", function="init"),
}


@linux
@pytest.mark.parametrize("which", PROCESSES)
def test_a_process_with_secrets_keeps_its_memory_to_itself(which: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES[which], str(os.getpid())],
        capture_output=True,
        text=True,
        input="token\n",
        check=True,
    )
    assert done.stdout.splitlines() == ["dumpable 0", "core 0"]


@linux
def test_one_that_is_killed_leaves_no_core_file(tmp_path: Path) -> None:
    code = (
        "import os, resource, sys\n"
        "_, most = resource.getrlimit(resource.RLIMIT_CORE)\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (most, most))\n"
        "from fedenclave.node.process_limits import keep_memory_to_itself\n"
        "if sys.argv[1] == 'keep': keep_memory_to_itself()\n"
        "os.abort()\n"
    )

    def dumped(how: str) -> bool:
        process = subprocess.Popen([sys.executable, "-c", code, how], cwd=tmp_path)
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process.wait() == -signal.SIGABRT
        return ended is not None and ended.si_code == os.CLD_DUMPED

    assert not dumped("keep")
    if not dumped("do not"):
        pytest.skip("this machine writes no core files at all")
