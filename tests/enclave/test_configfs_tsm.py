"""Reports by configfs-tsm: bound to what was asked, or none; and nothing is left behind."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.attesters.attester import AttestationUnavailable
from fedenclave.enclave.attesters.configfs_tsm import TsmAttester
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.evidence import EvidenceParts
from fedenclave.protocol.signing import public_key
from tests.enclave.fake_kernel import CCEL, REPORTS, ConfigfsTsm, Entry, FakeKernel, failure

KEY = Ed25519PrivateKey.generate()
DATA = bytes(range(64))
OTHERS = b"\xee" * 64


def parts(tsm: ConfigfsTsm, name: str, files: dict[Path, bytes] | None = None) -> dict[str, bytes]:
    """Return the parts of one piece of evidence; no report may be left."""
    attester = TsmAttester(FakeKernel(tsm=tsm, files=files), REPORTS, name)
    try:
        evidence = attester.evidence(DATA, KEY)
    finally:
        assert not tsm.entries
    assert (evidence.format, evidence.signing_key) == (name, public_key(KEY))
    return EvidenceParts.from_bytes(evidence.document).by_name()


def test_each_kind_of_guest_gives_its_own_parts() -> None:
    report = b"report over " + DATA
    log = b"a log" + b"\xff" * 100
    assert parts(ConfigfsTsm("sev_guest"), "sev-snp") == {"report": report}
    assert parts(ConfigfsTsm("sev_guest", certificates=b"table"), "sev-snp") == {
        "report": report,
        "certificate-table": b"table",
    }
    assert parts(ConfigfsTsm("tdx_guest"), "tdx") == {"quote": report}
    # The area's fill stays: only whoever reads the log knows where it ends.
    assert parts(ConfigfsTsm("tdx_guest"), "tdx", {CCEL: log}) == {
        "quote": report,
        "event-log": log,
    }
    assert parts(ConfigfsTsm("arm_cca_guest"), "cca", {CCEL: log}) == {"token": report}


@pytest.mark.parametrize("floor", [0, 1, 3])
def test_a_guest_below_an_svsm_asks_at_its_own_level(floor: int) -> None:
    levels = []

    def disturb(entry: Entry, name: str) -> None:
        if name == "outblob":
            levels.append((entry.level, entry.written))

    assert parts(ConfigfsTsm("sev_guest", floor=floor, disturb=disturb), "sev-snp")
    assert levels == [(floor, 2 if floor else 1)]


def once(doing: Callable[[Entry], None], at: str) -> Callable[[Entry, str], None]:
    """Return a disturbance that happens the first time that the file `at` is touched."""
    done: list[str] = []

    def disturb(entry: Entry, name: str) -> None:
        if name == at and not done:
            done.append(name)
            doing(entry)

    return disturb


def overwrite(entry: Entry) -> None:
    entry.inblob, entry.written = OTHERS, entry.written + 1


def break_off(entry: Entry) -> None:
    raise failure(errno.EAGAIN)


def fill_up(entry: Entry) -> None:
    # As many writes as the counter has values: the kernel takes no more, and does not say so.
    entry.inblob, entry.written = OTHERS, (entry.read - 1) % 2**64


@pytest.mark.parametrize("at", ["inblob", "outblob", "auxblob", "generation"])
@pytest.mark.parametrize("doing", [overwrite, break_off, fill_up])
def test_a_disturbed_report_is_thrown_away_and_asked_for_again(
    doing: Callable[[Entry], None], at: str
) -> None:
    tsm = ConfigfsTsm("sev_guest", certificates=b"t", disturb=once(doing, at))
    assert parts(tsm, "sev-snp")["report"] == b"report over " + DATA
    assert len(tsm.made) == (1 if (doing, at) == (overwrite, "generation") else 2)


@pytest.mark.parametrize("at", ["inblob", "outblob", "auxblob"])
def test_a_report_that_is_always_disturbed_is_no_evidence(at: str) -> None:
    def disturb(entry: Entry, name: str) -> None:
        if name == at:
            overwrite(entry)

    tsm = ConfigfsTsm("sev_guest", certificates=b"t", disturb=disturb)
    with pytest.raises(AttestationUnavailable, match=Refusal.ATTESTATION) as unavailable:
        parts(tsm, "sev-snp")
    assert "somebody else wrote" in unavailable.value.why
    assert len(tsm.made) == 3


@pytest.mark.parametrize(
    ("provider", "why"),
    [
        (None, "No such device or address"),
        ("tdx_guest", "'tdx_guest', which does not make sev-snp"),
        ("cove_guest\x1b", r"'cove_guest\\x1b', which does not make"),
    ],
)
def test_another_machine_than_was_named_gives_no_evidence(provider: str | None, why: str) -> None:
    with pytest.raises(AttestationUnavailable) as unavailable:
        parts(ConfigfsTsm(provider), "sev-snp")
    assert why.replace("\\\\", "\\") in unavailable.value.why
    assert unavailable.value.hint


@pytest.mark.parametrize("name", ["provider", "generation", "privlevel_floor", "outblob"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENXIO, errno.EINTR])
def test_every_error_of_the_kernels_is_the_one_error(name: str, number: int) -> None:
    def fail(entry: Entry) -> None:
        raise failure(number)

    with pytest.raises(AttestationUnavailable, match=Refusal.ATTESTATION):
        parts(ConfigfsTsm("sev_guest", disturb=once(fail, name)), "sev-snp")


def test_what_no_number_and_what_no_report_may_be_is_the_one_error() -> None:
    class Odd(ConfigfsTsm):
        def get(self, path: Path) -> bytes:
            return b"many\n" if path.name == "generation" else super().get(path)

    with pytest.raises(AttestationUnavailable) as unavailable:
        parts(Odd("sev_guest"), "sev-snp")
    assert "generation is no number" in unavailable.value.why
    with pytest.raises(AttestationUnavailable) as unavailable:
        parts(ConfigfsTsm("sev_guest", report=lambda _: bytes(600_000)), "sev-snp")
    assert "File too large" in unavailable.value.why


def test_a_report_and_a_table_that_are_too_long_together_are_the_one_error() -> None:
    # Each may have 512 KiB; a client decodes 1 MiB with everything around them.
    half = bytes(1 << 19)
    tsm = ConfigfsTsm("sev_guest", report=lambda _: half, certificates=half)
    with pytest.raises(AttestationUnavailable) as unavailable:
        parts(tsm, "sev-snp")
    assert unavailable.value.why.endswith("want at most 1048576")
    shorter = ConfigfsTsm("sev_guest", report=lambda _: half, certificates=half[:-300])
    assert parts(shorter, "sev-snp")["report"] == half


def test_reports_have_names_that_nobody_has_twice() -> None:
    tsm = ConfigfsTsm("sev_guest")
    for _ in range(50):
        parts(tsm, "sev-snp")
    assert len(set(tsm.made)) == 50
