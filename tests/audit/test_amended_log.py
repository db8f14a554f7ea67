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
# And the one that takes the place of that.
LAST = Manifest.from_bytes(
    AFTER.source.replace(*(to_text(each.digest).encode() for each in (MANIFEST, AFTER)))
)
NEW, NEWEST = {"manifest": AFTER.digest}, {"manifest": LAST.digest}


def amended(**changes: Any) -> LogBuilder:
    """Return a log of one round, and the amendment after it."""
    log = LogBuilder()
    log.start()
    log.announce()
    log.abort()
    log.amend(**{**NEW, **changes})
    return log


def read(log: LogBuilder, *, until: Manifest = AFTER) -> VerifiedLog:
    every = [MANIFEST, AFTER, LAST]
    former = every[: every.index(until)]
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


def test_a_log_goes_on_under_one_manifest_after_the_other() -> None:
    log = amended()
    log.amend(before=AFTER.digest, **NEWEST)
    log.announce(**NEWEST)
    log.abort(**NEWEST)
    found = read(log, until=LAST)
    assert (found.manifest, len(found.rounds)) == (LAST.digest, 2)


def test_a_log_may_begin_under_a_later_manifest() -> None:
    log = LogBuilder()
    log.start(**NEW)
    log.amend(before=AFTER.digest, **NEWEST)
    assert [digest for digest, _ in read(log, until=LAST).approved_by] == [
        AFTER.digest,
        LAST.digest,
    ]


def test_no_manifest_is_passed_over_and_none_comes_back() -> None:
    over, back = amended(**NEWEST), amended()
    back.amend(before=AFTER.digest, **NEWEST)
    read(back, until=LAST)
    back.amend(before=LAST.digest, **NEW)
    for log in (over, back):
        with pytest.raises(LogInvalid, match="another manifest than the one that continues"):
            read(log, until=LAST)
