"""What several files of this folder need: a made-up TPM of the file's own."""

from __future__ import annotations

import pytest

from tests.attestation.fake_tpm import FakeTpm


@pytest.fixture(scope="module")
def tpm() -> FakeTpm:
    return FakeTpm()
