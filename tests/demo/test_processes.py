"""Nothing of a process group outlives it, and a failing child says why."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedenclave.demo import family
from fedenclave.demo.environment import MARKER, child_environment
from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.processes import Child, ProcessGroup

pytestmark = pytest.mark.skipif(not family.is_supported(), reason="needs /proc")

SLEEP = "import time; print('ready', flush=True); time.sleep(600)"

# A child that starts a grandchild in a session of its own and forgets it, as SuperLinks do.
DETACHING = """
import subprocess, sys, time
started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                           start_new_session=True)
print("grandchild", started.pid, flush=True)
{then}
"""

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""

HOLDER = """
import signal, sys, time
from pathlib import Path
from fedenclave.demo.processes import ProcessGroup
import re
# Whoever runs the tests may ignore these (nohup, a background job), and a child would inherit that.
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
with ProcessGroup(Path(sys.argv[1]), grace_s=2) as group:
    child = group.start("detaching", [sys.executable, "-c", sys.argv[2]])
    group.wait_until_ready(child, re.compile("grandchild"), timeout_s=20)
    print(child.process.pid, flush=True)
    time.sleep(600)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_running(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def start_detaching(group: ProcessGroup, then: str) -> tuple[Child, int]:
    child = group.start("detaching", python(DETACHING.format(then=then)))
    child.may_end = True
    group.wait_until_ready(child, re.compile(r"grandchild \d+"), timeout_s=20)
    return child, int(child.log.read_text().split()[1])


def test_child_ends_with_the_group(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        child = group.start("sleeper", python(SLEEP))
        group.wait_until_ready(child, re.compile("ready"), timeout_s=20)
        assert is_running(child.process.pid)
    assert not is_running(child.process.pid)


def test_detached_grandchild_ends_with_the_group(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path, grace_s=2) as group:
        _, grandchild = start_detaching(group, "time.sleep(600)")
        assert is_running(grandchild)
    assert not is_running(grandchild)


def test_detached_grandchild_whose_parent_is_gone_ends_with_the_group(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path, grace_s=2) as group:
        child, grandchild = start_detaching(group, "")
        assert wait_for(lambda: child.exit_code == 0)
        assert is_running(grandchild)
    assert not is_running(grandchild)


def test_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path, grace_s=0.2) as group:
        child = group.start("stubborn", python(STUBBORN))
        group.wait_until_ready(child, re.compile("ready"), timeout_s=20)
    assert child.exit_code == -signal.SIGKILL


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_exception_in_the_block_ends_the_children(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), ProcessGroup(tmp_path, grace_s=2) as group:
        _, grandchild = start_detaching(group, "time.sleep(600)")
        raise error
    assert not is_running(grandchild)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_holder_ends_the_family(tmp_path: Path, number: signal.Signals) -> None:
    detaching = DETACHING.format(then="time.sleep(600)")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    holder = subprocess.Popen(
        [*python(HOLDER), str(tmp_path), detaching],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    assert holder.stdout is not None
    with holder, holder.stdout:
        child = int(holder.stdout.readline())
        grandchild = int((tmp_path / "logs" / "detaching.log").read_text().split()[1])
        assert is_running(child)
        assert is_running(grandchild)
        holder.send_signal(number)
        holder.wait(timeout=20)
    assert not is_running(child)
    assert not is_running(grandchild)


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with ProcessGroup(tmp_path):
        pass
    assert [signal.getsignal(number) for number in numbers] == before


def test_process_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    bystander = subprocess.Popen(python(SLEEP), stdout=subprocess.DEVNULL)
    try:
        with ProcessGroup(tmp_path) as group:
            group.start("sleeper", python(SLEEP))
        assert is_running(bystander.pid)
    finally:
        bystander.kill()
        bystander.wait()


def test_child_that_dies_at_start_shows_its_last_lines(tmp_path: Path) -> None:
    code = "import sys; print('\\x1b[91mno such key\\x1b[0m'); sys.exit(3)"
    with (
        pytest.raises(DeploymentError, match=r"node ended early \(exit code 3\)") as refusal,
        ProcessGroup(tmp_path) as group,
    ):
        child = group.start("node", python(code))
        group.wait_until_ready(child, lambda: False, timeout_s=20, hint="make a key")
    assert "node | no such key" in refusal.value.message
    assert refusal.value.hint == "make a key"


def test_child_that_is_killed_is_noticed_while_another_is_followed(tmp_path: Path) -> None:
    with (
        pytest.raises(DeploymentError, match=r"node ended early \(SIGKILL\)"),
        ProcessGroup(tmp_path) as group,
    ):
        node = group.start("node", python(SLEEP))
        command = group.start("command", python(SLEEP))
        node.process.kill()
        group.follow(command, lambda line: None, timeout_s=20)


def test_child_that_is_never_ready_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(DeploymentError, match="node was not ready after 0 s"),
        ProcessGroup(tmp_path) as group,
    ):
        child = group.start("node", python(SLEEP))
        group.wait_until_ready(child, re.compile("never"), timeout_s=0.3)


def test_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(DeploymentError, match="program no-such-program is not there"),
        ProcessGroup(tmp_path) as group,
    ):
        group.start("node", ["no-such-program"])


def test_every_line_is_handed_on_once_and_without_colours(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "for part in ['\\x1b[92mo', 'ne\\x1b[0m\\ntwo\\n', '\\nlast']:\n"
        "    sys.stdout.write(part); sys.stdout.flush(); time.sleep(0.15)\n"
    )
    lines: list[str] = []
    with ProcessGroup(tmp_path) as group:
        child = group.start("writer", python(code))
        assert group.follow(child, lines.append, timeout_s=20) == 0
    assert lines == ["one", "two", "", "last"]


def test_child_gets_only_the_environment_that_is_listed(tmp_path: Path) -> None:
    caller = {"PATH": "/bin", "HOME": "/home/a", "HTTPS_PROXY": "http://proxy", "FLWR_HOME": "/x"}
    environment = child_environment(flower_home=tmp_path, marker="m", caller=caller)
    assert environment["FLWR_HOME"] == str(tmp_path)
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment[MARKER] == "m"
    assert environment["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/bin"]
    assert "HTTPS_PROXY" not in environment
