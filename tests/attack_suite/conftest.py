"""The installed enclave's setting, measured once, and `fedenclave attack` run in this process."""

from __future__ import annotations

from functools import partial

import pytest

from fedenclave.attack_suite.runner import setting
from fedenclave.attack_suite.world import Setting
from tests.cli.conftest import Command, fedenclave  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def installed() -> Setting:
    return setting()


@pytest.fixture
def attack_command(fedenclave: Command) -> Command:  # noqa: F811 - the fixture
    """Return a function that runs `fedenclave attack` with the given words."""
    return partial(fedenclave, "attack")
