"""A log that goes on under another manifest: what an amendment in it must be, to be believed."""

from __future__ import annotations

import io
from typing import Any

import pytest

from fedenclave.audit.log import VerifiedLog, verify_log
from fedenclave.audit.log_rounds import LogInvalid
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import public_key
from tests.audit.log_builder import APPROVING, COHORT, KEY, ZERO, LogBuilder
from tests.audit.lying_receipt import MANIFEST

LINE = b"development = true"
FEWER = APPROVING[:2]


def continuing(before: Manifest, *changes: tuple[bytes, bytes]) -> Manifest:
    """Return a manifest that takes the place of `before`."""
    text = before.source.replace(
        LINE, LINE + b'\ncontinues = "' + to_text(before.digest).encode() + b'"'
    )
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Manifest.from_bytes(text)


AFTER = continuing(MANIFEST, (b"threshold = 3", b"threshold = 2"))
OTHER = continuing(MANIFEST, (b"threshold = 3", b"threshold = 1"))
NEW = {"manifest": AFTER.digest}


def amended(**changes: Any) -> LogBuilder:
    """Return a log of one round, and the amendment after it."""
    log = LogBuilder()
    log.start()
    log.announce()
    log.abort()
    log.amend(**{**NEW, **changes})
    return log


def read(log: LogBuilder, *, until: Manifest = AFTER) -> VerifiedLog:
    former = [] if until is MANIFEST else [MANIFEST]
    return verify_log(io.BytesIO(log.file()), public_key(KEY), until, former=former)


def test_a_log_goes_on_under_the_next_manifest_and_says_who_approved_which() -> None:
    log = amended(approved_by=FEWER)
    log.announce(**NEW)
    log.abort(**NEW)
    found = read(log)
    assert (found.manifest, len(found.rounds)) == (AFTER.digest, 2)
    assert found.approved_by == ((MANIFEST.digest, APPROVING), (AFTER.digest, FEWER))


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        ("it takes the place of another manifest", {"before": ZERO}),
        ("it is under another manifest than the one that continues", {"manifest": OTHER.digest}),
        ("it is under another manifest than the one that continues", {"manifest": MANIFEST.digest}),
        ("it is approved by 2 members, want 3", {"let_by": FEWER}),
        ("it is approved by 1 members, want 2", {"approved_by": FEWER[:1]}),
        ("its approvals are not the members'", {"let_by": (*APPROVING, "zeta")}),
        ("its approvals are not the members'", {"approved_by": FEWER[::-1]}),
        ("it is behind round 2", {"round": 2}),
        ("it is behind round 0", {"round": 0}),
        ("it builds on", {"base_model": ZERO}),
        ("checkpoint", {"checkpoint": LogBuilder().checkpoint()}),
    ],
)
def test_an_amendment_that_no_honest_enclave_makes_is_refused(
    error: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(LogInvalid, match=error):
        read(amended(**changes))


def test_a_manifest_changes_between_two_rounds_only() -> None:
    log = LogBuilder()
    log.start()
    log.announce()
    log.amend(**NEW)
    with pytest.raises(LogInvalid, match="a round is open"):
        read(log)


def test_what_was_replaced_governs_nothing_behind_the_amendment() -> None:
    log = amended()
    log.announce(COHORT)
    with pytest.raises(LogInvalid, match="it is under another manifest"):
        read(log)


def test_who_trusts_the_first_manifest_alone_is_told_of_the_next() -> None:
    with pytest.raises(LogInvalid, match="another manifest than the one that continues"):
        read(amended(), until=MANIFEST)
