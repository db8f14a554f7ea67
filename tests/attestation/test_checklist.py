"""A check that was left out is a defect, and never a result."""

import pytest

from fedenclave.attestation import formats
from fedenclave.attestation.azure.maa_claims import ALWAYS_BY_TYPE
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust


def made(*names: str) -> Checklist:
    checklist = Checklist()
    for name in names:
        checklist.must(name, holds=True, found="", wanted="", trust=Trust.HARDWARE)
    return checklist


def test_a_check_that_was_not_made_is_a_defect() -> None:
    checklist = made("a", "b")
    checklist.check_made({"a"})
    assert checklist.finish({"a", "b"}) == {Trust.HARDWARE: 2}
    for ask in (checklist.check_made, checklist.finish):
        with pytest.raises(RuntimeError, match="not made: c, d"):
            ask({"a", "d", "c"})


def test_checks_that_are_always_made_are_asked_for() -> None:
    always = {format_.name: format_.always for format_ in formats.FORMATS.values()}
    for name in ("azure-maa", "confidential-space"):
        assert "token header" in always[name]
    for name in ("sgx", "tdx"):
        signer = {"tcb signing chain validity", "tcb signing certificate"}
        assert {"pck chain validity", *signer} <= always[name]
    assert all(ALWAYS_BY_TYPE.values())
