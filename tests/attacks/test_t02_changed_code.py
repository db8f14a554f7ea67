"""T2: the operator runs changed enclave code."""

import shutil
from pathlib import Path

import pytest

import fedenclave
from fedenclave.attack_suite.world import FIRST
from fedenclave.host.aggregator import Aggregator
from fedenclave.protocol.errors import EnclaveRefused, Refusal, RequestRefused
from tests.attacks.conftest import NewWorld

PACKAGE = Path(fedenclave.__file__).parent


def copied_package(folder: Path) -> Path:
    """Copy what the enclave runs; return the folder that holds the package."""
    for part in ("enclave", "protocol"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE / part, folder / "fedenclave" / part, ignore=ignore)
    shutil.copy(PACKAGE / "__init__.py", folder / "fedenclave")
    return folder


def test_operator_running_one_changed_line_is_refused_by_every_client(
    new_world: NewWorld, tmp_path: Path
) -> None:
    code = copied_package(tmp_path / "copy")
    admission = code / "fedenclave" / "enclave" / "admission.py"
    source = admission.read_text()
    line = "    if num_examples < 1:\n"
    assert source.count(line) == 1
    admission.write_text(source.replace(line, "    if num_examples < 0:\n"))
    world = new_world(code=code)
    world.open()
    for name, session in world.sessions.items():
        before = session.state
        with pytest.raises(EnclaveRefused, match=r"measurement is .* did not approve"):
            world.accept(name)
        assert session.state == before


def test_operator_adding_a_file_that_would_be_loaded_first_is_refused(
    new_world: NewWorld, tmp_path: Path
) -> None:
    code = copied_package(tmp_path / "copy")
    (code / "fedenclave" / "protocol" / "unused.so").write_bytes(b"not really")
    world = new_world(code=code)
    world.open()
    with pytest.raises(EnclaveRefused, match="measurement"):
        world.accept("a")


def test_the_same_code_in_another_folder_is_accepted(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world(code=copied_package(tmp_path / "copy"))
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    assert world.release("abc")[0].clients == 3


def test_enclave_refuses_a_manifest_that_too_few_members_approve(new_world: NewWorld) -> None:
    world = new_world()
    twice = [world.approvals[0], world.approvals[1], world.approvals[1]]
    with pytest.raises(RequestRefused) as refused:
        Aggregator(
            world.folder / "other",
            manifest=world.manifest.source,
            approvals=twice,
            model=FIRST,
            tee="insecure",
        )
    assert refused.value.refusal is Refusal.NOT_APPROVED
