"""The table over `../shared/evidence`: real evidence, the verdict and the reason that are due.

What lies there came from real hardware and from other verifiers' own tests. It stays out of this
tree, so these tests skip where the folder is absent, and say so. The synthetic vendors of this
folder make every check fail and hold in any clone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fedenclave.attestation.result import EvidenceRefused, Status
from tests.attestation.cases import EVIDENCE, Case
from tests.attestation.evidence_cases import CASES

pytestmark = pytest.mark.skipif(
    not EVIDENCE.is_dir(), reason="../shared/evidence is absent: real evidence is not in the tree"
)
IDS = [f"{case.format.name}: {case.name}" for case in CASES]
NO_VERDICT = {"", "collateral or claims"}
UNESTABLISHED = "verdict not established"


def rows_with_a_verdict() -> Iterator[str]:
    """Yield every file for which a SOURCES.md of the folder expects something."""
    for sources in sorted(EVIDENCE.glob("*/SOURCES.md")):
        for line in sources.read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            is_row = len(cells) == 7 and "@" in cells[1] and cells[0] != "file"
            if is_row and cells[5] not in NO_VERDICT and not cells[5].startswith(UNESTABLISHED):
                yield f"{sources.parent.name}/{cells[0]}"


def test_every_file_with_an_expected_verdict_is_in_the_table() -> None:
    used = {row for case in CASES for row in case.rows}
    missing = [row for row in rows_with_a_verdict() if row not in used]
    assert not missing
    # Rows that name no file would be used by nobody.
    assert not [row for row in used if not (EVIDENCE / row).is_file()]


def test_every_token_of_the_azure_recordings_is_in_the_table() -> None:
    # This folder's SOURCES.md gives its verdicts in prose, for all tokens together.
    used = {row for case in CASES for row in case.rows}
    tokens = {f"azure-maa/{path.name}" for path in (EVIDENCE / "azure-maa").glob("*.jwt")}
    assert tokens <= used


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_real_evidence_gets_the_verdict_that_is_due(case: Case) -> None:
    if not case.refused:
        result = case.appraise(EVIDENCE)
        wanted = Status.WARNING if case.exceptions_used else Status.AFFIRMING
        assert result.status is wanted
        assert all(check.holds for check in result.checks)
        return
    with pytest.raises(EvidenceRefused) as refusal:
        case.appraise(EVIDENCE)
    failing = [check for check in refusal.value.checks if not check.holds]
    assert failing[0].name == case.refused, refusal.value
    assert case.found in failing[0].found


MUTABLE = [case for case in CASES if case.mutate]
POSITIONS = 160
"""Changed bytes per part and case in the ordinary run; `make slow` changes every byte."""


def mutations(data: bytes, every: bool) -> Iterator[bytes]:
    """Yield copies of `data` with one byte changed, spread over its whole length."""
    step = 1 if every else max(1, len(data) // POSITIONS)
    for position in range(0, len(data), step):
        # Another bit each time, so that flags in every place of a byte are hit.
        changed = bytearray(data)
        changed[position] ^= 1 << (position // step % 8)
        yield bytes(changed)


def assert_no_mutation_is_affirmed(case: Case, every: bool) -> None:
    parts = case.parts(EVIDENCE)
    for name in case.mutate:
        for number, changed in enumerate(mutations(parts[name], every)):
            # Anything but the documented refusal fails the test, an unexpected error too.
            with pytest.raises(EvidenceRefused):
                case.appraise(EVIDENCE, {**parts, name: changed})
                pytest.fail(f"{case.name}: mutation {number} of part {name} was affirmed")


@pytest.mark.parametrize("case", MUTABLE, ids=[f"{c.format.name}: {c.name}" for c in MUTABLE])
def test_no_changed_byte_is_affirmed(case: Case) -> None:
    assert_no_mutation_is_affirmed(case, every=False)


@pytest.mark.slow
@pytest.mark.parametrize("case", MUTABLE, ids=[f"{c.format.name}: {c.name}" for c in MUTABLE])
def test_no_changed_byte_at_all_is_affirmed(case: Case) -> None:
    assert_no_mutation_is_affirmed(case, every=True)


def test_every_format_that_is_affirmed_is_also_mutated() -> None:
    affirmed = {case.format.name for case in CASES if not case.refused}
    assert affirmed == {case.format.name for case in MUTABLE}


def test_names_of_cases_are_not_used_twice() -> None:
    assert len(set(IDS)) == len(IDS)
    assert all(re.search(r"\w", case.name) for case in CASES)
