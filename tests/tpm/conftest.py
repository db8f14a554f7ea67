"""Software TPMs that end with their test."""

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.tpm.swtpm import Maker, SoftwareTpm, missing

NewTpm = Callable[[], SoftwareTpm]


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """A maker of TPMs."""
    if reason := missing():
        pytest.skip(reason)
    return Maker(tmp_path_factory.mktemp("maker"))


@pytest.fixture(scope="session")
def made(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a TPM as it comes from its maker."""
    return maker.make(tmp_path_factory.mktemp("made") / "state")


@pytest.fixture
def new_tpm(made: Path, tmp_path: Path) -> Iterator[NewTpm]:
    """Switch on TPMs fresh from the maker. All are one and the same, at its first boot."""
    tpms: list[SoftwareTpm] = []
    numbers = count()

    def make() -> SoftwareTpm:
        state = tmp_path / f"tpm-{next(numbers)}" / "state"
        shutil.copytree(made, state)
        tpms.append(SoftwareTpm(state))
        tpms[-1].switch_on()
        return tpms[-1]

    yield make
    for tpm in tpms:
        tpm.close()


@pytest.fixture
def tpm(new_tpm: NewTpm) -> SoftwareTpm:
    """One TPM, switched on."""
    return new_tpm()


@pytest.fixture
def other_tpm(maker: Maker, tmp_path: Path) -> Iterator[SoftwareTpm]:
    """Another TPM of the same maker, switched on."""
    tpm = SoftwareTpm(maker.make(tmp_path / "other-state"))
    tpm.switch_on()
    yield tpm
    tpm.close()


@pytest.fixture
def blank_tpm(tmp_path: Path) -> Iterator[SoftwareTpm]:
    """A TPM that no maker has touched: no endorsement certificate. Switched on."""
    if reason := missing():
        pytest.skip(reason)
    (tmp_path / "blank-state").mkdir()
    tpm = SoftwareTpm(tmp_path / "blank-state")
    tpm.switch_on()
    yield tpm
    tpm.close()
