"""SPEC.md and the code say the same: sections, checks, records, keys, and the worked examples."""

import re
import struct
import tomllib
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedenclave.attestation.insecure import INSECURE_WARNING
from fedenclave.client.state import MAX_NONCES, MAX_PENDING
from fedenclave.enclave import fixed_point
from fedenclave.enclave.states import TRANSITIONS
from fedenclave.host.statuses import status_of
from fedenclave.protocol import log_file, merkle, signed_note
from fedenclave.protocol import manifest as manifest_limits
from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.aggregation import OPTIMISERS, RULES
from fedenclave.protocol.codec import MAX_DEPTH, MAX_VALUES, decode, encode
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Reason, Refusal, RequestRefused
from fedenclave.protocol.evidence import report_data
from fedenclave.protocol.frames import MAX_FRAME, Operation
from fedenclave.protocol.manifest import Client, Member, Rules
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.peers import Purpose
from fedenclave.protocol.records import Record
from fedenclave.protocol.sealing import seal_update
from fedenclave.protocol.signing import (
    PublicKey,
    Signed,
    Statement,
    public_key,
    sign,
    signing_input,
    statement_digest,
)
from fedenclave.protocol.statements import (
    Approval,
    Checkpoint,
    FederationStatement,
    Outcome,
    Suite,
    UpdateHeader,
)
from fedenclave.protocol.tensors import CHUNK_SIZE, DType, Schema, TensorSpec
from tests.protocol.strategies import RECORDS

PACKAGE = Path(__file__).resolve().parents[2] / "fedenclave"
SPEC = (PACKAGE / "protocol" / "SPEC.md").read_text(encoding="utf-8")
SECTIONS = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", SPEC, re.MULTILINE))

CITATION = re.compile(
    r"SPEC\.md(?:'s)?,\s+sections?\s+(\d+(?:\.\d+)?)(?:(?:,\s+|\s+and\s+)(\d+(?:\.\d+)?))*"
)
ENUMS: dict[type[StrEnum], str] = {
    Suite: "8.1",
    DType: "5.1",
    Outcome: "6",
    Reason: "1.4",
    Purpose: "11.4",
}


def section(number: str) -> str:
    """Return the text of a section, its subsections included."""
    start = re.search(rf"^#+ {re.escape(number)}\.? .*$", SPEC, re.MULTILINE)
    assert start is not None, f"SPEC.md has no section {number}"
    level = 3 if "." in number else 2
    end = re.compile(rf"^#{{2,{level}}} ", re.MULTILINE).search(SPEC, start.end())
    return SPEC[start.end() : end.start() if end else len(SPEC)]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table row in `text`, header and rule left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = [i for i, line in enumerate(lines) if re.fullmatch(r"[|-]+", line)]
    skipped = {i for rule in rules for i in (rule - 1, rule)}
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for i, line in enumerate(lines)
        if i not in skipped
    ]


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


def test_the_logs_checks_are_the_specifications() -> None:
    listed = [int(n) for n in re.findall(r"^(\d+)\. ", section("7.2"), re.MULTILINE)]
    assert listed == list(range(1, 11))
    log, rounds = (
        numbered((PACKAGE / "audit" / name).read_text(encoding="utf-8"))
        for name in ("log.py", "log_rounds.py")
    )
    assert set(log) == {1, 2, 10}
    assert set(log) | set(rounds) == set(listed)
    assert len(rounds) == len(set(rounds))


def test_the_reasons_for_a_fork_are_the_specifications() -> None:
    listed = [int(n) for n in re.findall(r"^(\d+)\. ", section("7.4"), re.MULTILINE)]
    source = (PACKAGE / "audit" / "fork.py").read_text(encoding="utf-8")
    assert numbered(source) == listed == list(range(1, 9))


# -- records and closed lists


def described() -> dict[str, tuple[str, str, dict[str, str]]]:
    """Return what SPEC.md says of each record: its type, its size, its fields' types."""
    found = {}
    heads = list(re.finditer(r"^\*\*`(\w+)`\*\*(.*)$", SPEC, re.MULTILINE))
    for head, after in zip(heads, [*heads[1:], None], strict=True):
        block = SPEC[head.end() : after.start() if after else len(SPEC)]
        block = re.split(r"^#+ ", block, flags=re.MULTILINE)[0]
        table = re.search(r"^\| field .*\n\|[-|]+\n((?:\|.*\n)*)", block, re.MULTILINE)
        listed = [line.split(" | ") for line in table.group(1).splitlines()] if table else []
        kind = re.search(r", type `([\w-]+)`", head.group(2))
        size = re.search(r"at most (\d+ [KM]iB)|(a part)", head.group(2))
        assert size is not None, head.group()
        found[head.group(1)] = (
            kind.group(1) if kind else "",
            size.group(1) or size.group(2),
            {cells[0].strip("| `"): cells[1].strip() for cells in listed},
        )
    return found


def type_name(hint: Any) -> str:
    if hint is Digest:
        return "digest"
    if get_origin(hint) is tuple:
        return f"array of {type_name(get_args(hint)[0])}"
    return {int: "uint", str: "text"}.get(hint, hint.__name__)


def size_name(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


DESCRIBED = described()


def test_every_record_is_described_once_and_no_other() -> None:
    names = re.findall(r"^\*\*`(\w+)`\*\*", SPEC, re.MULTILINE)
    assert len(names) == len(set(names))
    assert set(names) == {cls.__name__ for cls in RECORDS} | {"FederationStatement"}


@pytest.mark.parametrize("cls", [*RECORDS, FederationStatement], ids=lambda cls: cls.__name__)
def test_a_records_fields_types_and_limit_are_the_specifications(cls: type[Record]) -> None:
    kind, size, described_fields = DESCRIBED[cls.__name__]
    hints = get_type_hints(cls)
    inherited: set[str] = set()
    if issubclass(cls, FederationStatement) and cls is not FederationStatement:
        inherited = {field.name for field in fields(FederationStatement)}
    own = {f.name: type_name(hints[f.name]) for f in fields(cls) if f.name not in inherited}
    assert described_fields == own
    assert size in ("a part", size_name(cls.MAX_SIZE))
    if issubclass(cls, Statement):
        assert kind == cls.TYPE
        assert not kind or f"`{kind}`" in section("3")


def test_a_part_is_never_read_alone() -> None:
    parts = {name for name, (_, size, _) in DESCRIBED.items() if size == "a part"}
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    for name in parts:
        assert not any(re.search(rf"\b{name}\.from_bytes", source) for source in sources)


@pytest.mark.parametrize("closed", ENUMS, ids=lambda cls: cls.__name__)
def test_every_value_of_a_closed_list_is_named(closed: type[StrEnum]) -> None:
    named = set(re.findall(r"`([\w-]+)`", section(ENUMS[closed])))
    assert {member.value for member in closed} <= named


def test_the_refusals_are_the_specifications() -> None:
    assert [row[0].strip("`") for row in rows(section("12.4"))] == [r.value for r in Refusal]


def test_the_states_and_operations_are_the_specifications() -> None:
    table = [[cell.strip("`") for cell in row] for row in rows(section("12.2"))]
    assert {(a, b): c for a, b, c in table} == TRANSITIONS
    operations = re.findall(r"^\| `(\w+)` \| \w+ \| ", section("12.3"), re.MULTILINE)
    assert set(Operation) == {name for name in operations if name in tuple(Operation)}
    assert len(table) == len(TRANSITIONS)


def test_refusals_travel_over_grpc_as_the_specification_says() -> None:
    said = {
        row[0].split(": ")[1].strip("`"): row[1] for row in rows(section("15.2")) if ": " in row[0]
    }
    for refusal in Refusal:
        status = status_of(RequestRefused(refusal))
        assert status is not None
        assert status[0].name == said.get(refusal.value, said["any other"])


def manifest_keys() -> set[str]:
    """Return the keys of a written manifest, dotted."""
    keys = [PublicKey(bytes([i]) * 32) for i in range(4)]
    digest = Digest(bytes(32))
    source = write_manifest(
        ManifestDraft(
            name="f",
            threshold=1,
            development=False,
            members=[Member(name=n, key=k) for n, k in zip("ab", keys[:2], strict=True)],
            clients=[Client(name=n, member=n, key=k) for n, k in zip("ab", keys[2:], strict=True)],
            freshness_seconds=60,
            insecure_measurements=[digest],
            suite=Suite.HYBRID,
            schema=digest,
            initial_model=digest,
            rules=Rules(
                weighting="examples",
                weighted_by="num-examples",
                weight_cap=1,
                max_abs=1.0,
                max_norm=1.0,
                over_norm="clip",
                min_cohort=2,
            ),
        )
    )
    return _dotted(tomllib.loads(source.decode()), "")


def _dotted(table: dict[str, Any], before: str) -> set[str]:
    found = set()
    for key, value in table.items():
        if isinstance(value, dict):
            found |= _dotted(value, f"{before}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found |= {f"{before}{key}"} | _dotted(value[0], f"{before}{key}.")
        else:
            found.add(f"{before}{key}")
    return found


def test_the_manifests_keys_are_the_specifications() -> None:
    whole = section("10").split("### 10.1")[0]
    # A rule's parameters are the next test's.
    keys = {"aggregation.parameters" if "parameters" in key else key for key in manifest_keys()}
    keys.add("aggregation.parameters")
    assert {row[0].strip("`") for row in rows(whole)} == keys


def test_the_parameters_of_rules_and_optimisers_are_the_specifications() -> None:
    said = {
        (name, key)
        for row in rows(section("10.1"))
        for name in re.findall(r"`([^`]+)`", row[0])
        for key in re.findall(r"`([^`]+)`", row[1])
    }
    names = {kind: kind.RULE for kind in RULES} | {kind: kind.OPTIMISER for kind in OPTIMISERS}
    made = {
        (name, each.name)
        for kind, name in names.items()
        for each in fields(kind)
        if each.name != "parameters"
    }
    assert said == made
    table = rows(section("11.2"))
    assert {row[0].strip("`") for row in table} == set(names.values())


def test_the_limits_are_the_specifications() -> None:
    assert f"{MAX_VALUES:,} values" in section("1.1")
    assert f"nested {MAX_DEPTH} deep" in section("1.1")
    assert f"{CHUNK_SIZE:,} bytes" in section("5.2")
    assert f"{layout.MAX_ENVELOPE:,}" in section("8")
    assert f"at most {size_name(MAX_FRAME)} of record" in section("12.1")
    assert f'"{log_file.MAGIC.decode()}"' in section("7.1")
    assert f"1 byte to {size_name(log_file.MAX_ENTRY)}" in section("7.1")
    assert f"{signed_note.MAX_NOTE:,}" in section("7.3")
    assert f"or {signed_note.MAX_SIGNATURES} signatures" in section("7.3")
    types = {int(row[0], 16) for row in rows(section("7.3"))}
    assert types == set(signed_note.SignatureType)
    assert f"`{INSECURE_WARNING}`" in section("9.2")
    assert f"newest {MAX_NONCES} are kept" in section("13.9")
    assert MAX_NONCES == MAX_PENDING
    keys = {row[0].strip("`"): row[2] for row in rows(section("10"))}
    assert keys["clients"] == f"1 to {manifest_limits.MAX_CLIENTS}"
    assert manifest_limits.MAX_SIZE == 4 << 20
    assert manifest_limits.MAX_WEIGHT_CAP == 2**40
    assert (manifest_limits.MIN_BOUND, manifest_limits.MAX_ABS_LIMIT) == (2.0**-40, 2.0**40)
    assert manifest_limits.MAX_NORM_LIMIT == 2.0**100


def test_the_limits_of_the_encoding_are_where_the_specification_says() -> None:
    assert len(decode(encode([0] * (MAX_VALUES - 1)), max_size=1 << 20)) == MAX_VALUES - 1
    with pytest.raises(MalformedMessage):
        decode(encode([0] * MAX_VALUES), max_size=1 << 20)
    nested: object = 1
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert decode(encode(nested), max_size=100) == nested


@pytest.mark.parametrize(("max_abs", "bits"), [(2.0**-40, 90), (1000.0, 40), (2.0**40, 10)])
def test_the_scale_is_the_specifications(max_abs: float, bits: int) -> None:
    assert fixed_point.scale_bits(max_abs) == bits
    assert max_abs * 2.0**bits <= 2.0**50 < max_abs * 2.0 ** (bits + 1)


# -- worked examples

EXAMPLES = {row[0]: row[1].strip("`") for row in rows(section("17")) if len(row) == 2}
SCHEMA = Schema(
    tensors=(
        TensorSpec(name="b", dtype=DType.FLOAT16, shape=(2,)),
        TensorSpec(name="w", dtype=DType.FLOAT32, shape=(2,)),
    )
)
MODEL = Model(
    schema=SCHEMA, payload=struct.pack("<2f", 1.0, -2.5) + np.array([0.5, 1], "<f2").tobytes()
)
MANIFEST = Digest(bytes([3]) * 32)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NONCES = [bytes([i]) * 32 for i in (1, 2, 3)]
APPROVAL = Approval(version=1, federation="demo", manifest=MANIFEST, member="st-anna")
HEADER = UpdateHeader(
    version=1,
    federation="demo",
    manifest=MANIFEST,
    round=1,
    announcement=Digest(bytes([4]) * 32),
    base_model=MODEL.digest(),
    client="anna-1",
    schema=SCHEMA.digest,
    sealed_size=layout.sealed_size(SCHEMA),
    checkpoint=Checkpoint(size=1, root=Digest(bytes([5]) * 32)),
)


def sealed() -> bytes:
    return bytes(
        seal_update(
            update=MODEL.payload,
            num_examples=5,
            schema=SCHEMA,
            header=HEADER,
            suite=Suite.X25519,
            round_key=X25519PrivateKey.generate().public_key().public_bytes_raw(),
            signing_key=KEY,
        )
    )


def mean() -> bytes:
    bits = fixed_point.scale_bits(1000.0)
    total, work = np.zeros(1, np.int64), np.zeros(1)
    factors = fixed_point.factors(fixed_point.shares([1, 3]), bits)
    for value, factor in zip((0.1, 0.3), factors, strict=True):
        fixed_point.add(total, np.array([value], np.float32), factor, work)
    fixed_point.settle(total, 2)
    fixed_point.unscale(total, bits, work)
    return work.astype("<f8").tobytes()


def test_the_worked_examples_are_what_the_code_computes() -> None:
    signed = sign(APPROVAL, KEY)
    assert {name: bytes.fromhex(text) for name, text in EXAMPLES.items()} == {
        "encoding": encode({"b": 1, "aa": [], "a": {"z": False}}),
        "schema": SCHEMA.to_bytes(),
        "schema digest": SCHEMA.digest,
        "payload": MODEL.payload,
        "model digest": MODEL.digest(),
        "model file": MODEL.to_bytes(),
        "nonce root": merkle.root(NONCES),
        "path of the third": b"".join(merkle.inclusion_paths(NONCES)[2]),
        "report data": report_data(bytes([1]) * 32, bytes([2]) * 32, MANIFEST),
        "public key": public_key(KEY),
        "approval": APPROVAL.to_bytes(),
        "before the payload": signing_input("approval", b""),
        "signature": Signed.from_bytes(signed).signature,
        "statement digest": statement_digest(signed),
        "header": HEADER.to_bytes(),
        "first 8 bytes": sealed()[:8],
        "nonce of chunk 0": layout.chunk_nonce(0, last=False),
        "nonce of chunk 1": layout.chunk_nonce(1, last=False),
        "nonce of chunk 2": layout.chunk_nonce(2, last=True),
        "m, float64 little-endian": mean(),
    }


def test_the_sealed_updates_parts_lie_where_the_example_says() -> None:
    update = sealed()
    envelope = layout.envelope_size(update[: layout.HEAD_SIZE])
    start = layout.HEAD_SIZE + envelope
    offsets = [start + offset for offset in layout.chunk_offsets(SCHEMA)]
    table = re.search(r"^\| part .*\n\|[-|]+\n((?:\|.*\n)*)", section("17"), re.MULTILINE)
    assert table is not None
    said = [line.strip("| ").split(" | ") for line in table.group(1).splitlines()]
    ends = [layout.HEAD_SIZE, start, *offsets[1:], len(update)]
    begins = [0, layout.HEAD_SIZE, *offsets]
    assert [int(row[1]) for row in said] == [*begins, len(update)]
    sizes = [end - begin for begin, end in zip(begins, ends, strict=True)]
    assert [int(row[2]) for row in said[:-1]] == sizes
    parts = layout.read_envelope(update)
    lengths = len(parts.header), len(parts.wrapped_key), len(parts.signature)
    assert [int(n) for n in re.findall(r" (\d+)[,$]?", said[1][0] + ",")] == list(lengths)
    assert said[-1][0].endswith(f"sealed_size is {layout.sealed_size(SCHEMA)}")
