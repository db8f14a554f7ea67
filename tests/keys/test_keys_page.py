"""README.md says of every provider and every key what the code does."""

import re
from pathlib import Path

from fedenclave.client.identity import KEY_FILE
from fedenclave.keys import keyring
from fedenclave.keys.aws_kms import WAITING_DAYS
from fedenclave.keys.keyring_file import Cost
from fedenclave.keys.locations import _OPENERS
from tests.house.tree import ROOT

PAGE = (ROOT / "fedenclave/keys/README.md").read_text(encoding="utf-8")


def test_every_provider_has_a_row_and_no_other() -> None:
    kinds = set(re.findall(r"^\| `([a-z0-9-]+):", PAGE, re.MULTILINE))
    assert kinds == {keyring.KIND, *_OPENERS}


def test_the_numbers_on_the_page_are_the_codes() -> None:
    cost = Cost()
    assert f"{cost.memory_kib >> 10} MiB, {cost.passes} passes" in PAGE
    assert f"gone after **{WAITING_DAYS} days**" in PAGE


def test_every_kind_of_key_file_is_in_the_table() -> None:
    for file in (KEY_FILE, "member.key", "node.key", "service.key", "share.secret"):
        assert f"`{file}`" in PAGE, file


def test_every_command_on_the_page_is_one() -> None:
    from typer.main import get_command

    from fedenclave.cli.main import app

    groups = get_command(app).commands  # type: ignore[attr-defined]
    found = re.findall(r"fedenclave (keys|data|client|federation) ([a-z][a-z-]+)", PAGE)
    assert len(found) > 10
    for group, command in found:
        assert command in groups[group].commands, f"{group} {command}"


def test_every_extra_on_the_page_can_be_installed() -> None:
    from tests.house.tree import pyproject

    extras = pyproject()["project"]["optional-dependencies"]
    rows = re.findall(r"^\| `[a-z0-9-]+:.*?\| `([a-z0-9]+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == ["aws", "azure", "gcp", "pkcs11", "vault"]
    assert set(rows) <= set(extras)
    assert Path(ROOT / "fedenclave/datasets/FORMAT.md").exists()
