"""SPEC.md and the code say the same of sections and numbered checks.

Records, closed lists, keys and limits are in test_spec_records.py, the worked examples in
test_spec_examples.py.
"""

import re
from pathlib import Path

import pytest

from fedenclave.protocol.errors import Reason
from tests.protocol.specification import PACKAGE, SPEC, rows, section

SECTIONS = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", SPEC, re.MULTILINE))

CITATION = re.compile(
    r"SPEC\.md(?:'s)?,\s+sections?\s+(\d+(?:\.\d+)?)(?:(?:,\s+|\s+and\s+)(\d+(?:\.\d+)?))*"
)


# -- sections


def citations(source: str) -> set[str]:
    """Return every section that `source` cites."""
    # Comments break lines with "# " and docstrings with spaces.
    flat = re.sub(r"\n[#\s]*", " ", source)
    found = set()
    for match in CITATION.finditer(flat):
        found |= set(re.findall(r"\d+(?:\.\d+)?", match.group()))
    return found


def test_the_citation_pattern_sees_every_form_in_use() -> None:
    assert citations("SPEC.md, section 5.4.") == {"5.4"}
    assert citations("are SPEC.md's,\nsection 11.1.\n") == {"11.1"}
    assert citations("# SPEC.md, sections 11.1\n    # and 12.") == {"11.1", "12"}
    assert citations("what SPEC.md, section 13, says") == {"13"}


@pytest.mark.parametrize(
    "path",
    [
        path
        for ending in ("*.py", "*.proto")
        for path in sorted(PACKAGE.rglob(ending))
        if "SPEC.md" in path.read_text(encoding="utf-8")
    ],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_every_section_that_the_code_cites_is_there(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert citations(source) <= SECTIONS
    named = len(re.findall(r"SPEC\.md", source))
    # Two places name the file without a section: the package's docstring and the .proto's head.
    assert len(CITATION.findall(re.sub(r"\n[#\s]*", " ", source))) >= named - 1


def test_sections_are_numbered_without_gaps() -> None:
    heads = re.findall(r"^#{2,3} (\d+)(?:\.(\d+))?\.? ", SPEC, re.MULTILINE)
    assert [int(a) for a, b in heads if not b] == list(range(1, 18))
    for number in range(1, 18):
        subs = [int(b) for a, b in heads if b and int(a) == number]
        assert subs == list(range(1, len(subs) + 1))


def test_section_references_within_the_document_exist() -> None:
    # The examples of section 17 have numbers in brackets that are no sections.
    text = re.sub(r"`[^`]*`", "", SPEC.replace(section("17"), ""))
    assert set(re.findall(r"\((\d+(?:\.\d+)?)[),;]", text)) - {"32"} <= SECTIONS


# -- numbered checks


def numbered(source: str) -> list[int]:
    """Return the numbers of the checks in the comments of `source`, in order."""
    return [
        int(number)
        for comment in re.findall(r"^\s*# (\d+\. .*)$", source, re.MULTILINE)
        for number in re.findall(r"(?:^|(?<= ))(\d+)\. ", comment)
    ]


def test_the_admission_checks_in_the_code_are_the_specifications() -> None:
    table = rows(section("11.1"))
    wanted = list(range(1, 23))
    assert [int(row[0]) for row in table] == wanted
    source = (PACKAGE / "enclave" / "admission.py").read_text(encoding="utf-8")
    assert numbered(source) == wanted
    assert numbered((PACKAGE / "enclave" / "round.py").read_text(encoding="utf-8")) == [1]
    reasons = {row[2].strip("`") for row in table}
    assert reasons | {Reason.CHANGED_AFTER_ADMISSION} == set(Reason)


def test_the_admission_checks_give_the_reasons_that_the_specification_lists() -> None:
    # Up to 14 the code says check and reason in one place; the later ones share functions.
    source = (PACKAGE / "enclave" / "admission.py").read_text(encoding="utf-8")
    parts = re.split(r"^\s*# (\d+)\. ", source, flags=re.MULTILINE)
    found = {
        int(number): Reason[match.group(1)].value
        for number, part in zip(parts[1::2], parts[2::2], strict=True)
        if int(number) <= 16 and (match := re.search(r"Reason\.(\w+)", part))
    }
    table = {int(row[0]): row[2].strip("`") for row in rows(section("11.1"))}
    assert found == {number: reason for number, reason in table.items() if number <= 16}


def test_the_clients_checks_are_the_specifications() -> None:
    source = (PACKAGE / "client" / "session.py").read_text(encoding="utf-8")
    assert numbered(source) == [1, 2, 3, 4, 5, 6, 7]
    titles = [
        "Nonce",
        "Evidence",
        "Announcement",
        "Checkpoint",
        "Chain",
        "Model",
        "Training configuration",
    ]
    for number, title in enumerate(titles, start=1):
        assert f"### 13.{number} {title}\n" in SPEC


def test_the_receipts_checks_are_the_specifications() -> None:
    listed = [int(n) for n in re.findall(r"^(\d+)\. ", section("14.1"), re.MULTILINE)]
    assert listed == list(range(1, 10))
    source = (PACKAGE / "audit" / "receipt.py").read_text(encoding="utf-8")
    named = set(numbered(source))
    assert named == set(listed)
    shared = (PACKAGE / "audit" / "shared_parts.py").read_text(encoding="utf-8")
    assert numbered(shared) == [6, 7]
