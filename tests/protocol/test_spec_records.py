"""SPEC.md and the code say the same of records, closed lists, the manifest's keys, and limits."""

import re
import tomllib
from dataclasses import fields
from enum import StrEnum
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from fedenclave.attestation.insecure import INSECURE_WARNING
from fedenclave.client.state import MAX_NONCES, MAX_PENDING
from fedenclave.enclave import fixed_point
from fedenclave.enclave.states import TRANSITIONS
from fedenclave.host.statuses import status_of
from fedenclave.protocol import manifest as manifest_limits
from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.aggregation import OPTIMISERS, RULES
from fedenclave.protocol.codec import MAX_DEPTH, MAX_VALUES, decode, encode
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Reason, Refusal, RequestRefused
from fedenclave.protocol.frames import MAX_FRAME, Operation
from fedenclave.protocol.key_release import KeyService
from fedenclave.protocol.manifest import Client, Member, Rules
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.peers import Purpose
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import PublicKey, Statement
from fedenclave.protocol.statements import FederationStatement, Outcome, Suite
from fedenclave.protocol.tensors import CHUNK_SIZE, DType
from tests.protocol.specification import PACKAGE, SPEC, rows, section
from tests.protocol.strategies import RECORDS

ENUMS: dict[type[StrEnum], str] = {
    Suite: "8.1",
    DType: "5.1",
    Outcome: "6",
    Reason: "1.4",
    Purpose: "11.4",
}


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
    keys = [PublicKey(bytes([i]) * 32) for i in range(5)]
    digest = Digest(bytes(32))
    source = write_manifest(
        ManifestDraft(
            name="f",
            threshold=1,
            development=False,
            members=[Member(name=n, key=k) for n, k in zip("ab", keys[:2], strict=True)],
            clients=[Client(name=n, member=n, key=k) for n, k in zip("ab", keys[2:4], strict=True)],
            key_services=[KeyService(name="s", key=keys[4])],
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
