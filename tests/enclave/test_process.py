"""The real process: what its pages, its limits and its network give away."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fedenclave
from fedenclave.enclave.secret_memory import KeySlots, SecretMemory
from fedenclave.simulation.federation import SimulatedFederation

ROOT = str(Path(fedenclave.__file__).parents[1])

HOLDER = """
import json, os, sys
import numpy as np
from fedenclave.enclave.secret_memory import SecretMemory
memory = SecretMemory()
area = memory.allocate(10_000)
area[:16] = np.frombuffer(b"0123456789abcdef", np.uint8)
plain = np.frombuffer(bytearray(b"ABCDEFGHIJKLMNOP"), np.uint8)
links = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
         if os.path.exists(f"/proc/self/fd/{n}") or os.path.islink(f"/proc/self/fd/{n}")]
print(json.dumps({"held": memory.held, "secret": area.ctypes.data, "plain": plain.ctypes.data,
                  "links": links}), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def federation() -> Iterator[SimulatedFederation]:
    with SimulatedFederation.create({"w": np.zeros(10, np.float32)}, clients=2) as federation:
        yield federation


def test_another_process_cannot_read_a_secret_page_and_finds_no_descriptor_of_it() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env={"PYTHONPATH": ROOT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        if not said["held"]:
            pytest.skip("memfd_secret is refused here")
        assert not [link for link in said["links"] if "secretmem" in link]
        try:
            memory = os.open(f"/proc/{process.pid}/mem", os.O_RDONLY)
        except PermissionError:
            pytest.skip("the memory of another process may not be opened here at all")
        try:
            assert os.pread(memory, 16, said["plain"]) == b"ABCDEFGHIJKLMNOP"
            with pytest.raises(OSError, match="Input/output error"):
                os.pread(memory, 16, said["secret"])
        finally:
            os.close(memory)
    finally:
        process.communicate()


def test_secret_memory_that_is_refused_becomes_ordinary_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = SecretMemory()
    assert memory.held
    monkeypatch.setattr(memory, "_map", lambda size: None)
    area = memory.allocate(100)
    assert (len(area), int(area.sum()), memory.held) == (100, 0, False)


# The limit binds nobody who may lock memory, so root gives that up first.
LIMITED = """
import os, resource
from fedenclave.enclave.secret_memory import SecretMemory
resource.setrlimit(resource.RLIMIT_MEMLOCK, (8192, 8192))
if os.geteuid() == 0:
    os.setuid(65534)
def descriptors():
    found = 0
    for number in range(200):
        try:
            os.fstat(number)
        except OSError:
            continue
        found += 1
    return found
memory = SecretMemory()
before = descriptors()
area = memory.allocate(1 << 20)
area[:] = 1
print(int(area.sum()) == 1 << 20, memory.held, descriptors() - before)
"""


def test_secret_memory_above_the_limit_degrades_without_leaking_a_descriptor() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        env={"PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "False", "0"]


def test_keys_are_kept_apart_and_wiped() -> None:
    slots = KeySlots(SecretMemory(), 3)
    for number in range(3):
        slots.put(number, bytes([number + 1]) * 32)
    views = [slots.get(number) for number in range(3)]
    assert [bytes(view) for view in views] == [bytes([n]) * 32 for n in (1, 2, 3)]
    slots.wipe()
    assert [bytes(view) for view in views] == [bytes(32)] * 3


def test_what_the_process_says_that_it_gave_up_is_gone(federation: SimulatedFederation) -> None:
    _, _, started = federation.aggregator.info()
    pid = federation.aggregator.enclave_pid
    held = set(started.protections)
    assert "no-core-files" in held
    assert len(held) + len(started.warnings) == 5
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
        status = Path(f"/proc/{pid}/status").read_text()
        links = [path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir()]
    except PermissionError:
        pytest.skip("only root may look at a process that forbids tracing")
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    if "no-new-privileges" in held:
        assert "NoNewPrivs:\t1" in status
    if "secret-memory" in held:
        assert not [link for link in links if "secretmem" in str(link)]
    if "no-network" in held:
        own, theirs = (os.readlink(f"/proc/{p}/ns/net") for p in ("self", pid))  # noqa: PTH115
        assert own != theirs
        names = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
        assert [name.split(":")[0].strip() for name in names] == ["lo"]


def test_a_connection_from_within_goes_nowhere() -> None:
    """The same hardening, then a try to reach a port of this machine that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"""
import socket
from fedenclave.enclave.hardening import harden
target = ("127.0.0.1", {server.getsockname()[1]})
socket.create_connection(target).close()
held = harden().protections
try:
    socket.create_connection(target)
except OSError:
    print("no-network" in held)
else:
    print("no-network" not in held)
"""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": ROOT},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.strip() == "True"


def test_the_process_takes_nothing_from_its_starters_environment(
    federation: SimulatedFederation,
) -> None:
    try:
        environment = Path(f"/proc/{federation.aggregator.enclave_pid}/environ").read_bytes()
    except PermissionError:
        pytest.skip("only root may look at a process that forbids tracing")
    names = {entry.partition(b"=")[0] for entry in environment.split(b"\0") if entry}
    assert names <= {b"PATH", b"LANG", b"PYTHONPATH"}
