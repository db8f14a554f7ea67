from pathlib import Path

import pytest

from fedenclave.keys.keyring import Keyring, create_keyring
from fedenclave.keys.keyring_file import Cost
from tests.keys.softhsm import SoftToken, soft_token

PASSPHRASE = b"correct horse"
CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
"""So that a test does not wait: what guards a real keyring is `Cost()`."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring"


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "events"


@pytest.fixture
def keyring(path: Path) -> Keyring:
    made = create_keyring(path, PASSPHRASE, clock=lambda: 1000.0, cost=CHEAP)
    made.create("node")
    return made


@pytest.fixture(scope="session")
def token() -> SoftToken:
    return soft_token("node")
