"""Hypothesis strategies for every record of the protocol, made from their type hints."""

import importlib
import pkgutil
import sys
from dataclasses import fields
from enum import StrEnum
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

import fedenclave.attestation.revocations
import fedenclave.client.state
import fedenclave.enclave.transitions
import fedenclave.protocol
from fedenclave.protocol.digests import DIGEST_SIZE, Digest
from fedenclave.protocol.errors import Reason, Refusal
from fedenclave.protocol.evidence import EvidenceParts
from fedenclave.protocol.peers import METRIC_SIZE
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import Statement
from fedenclave.protocol.statements import VERSION, FederationStatement
from fedenclave.protocol.tensors import MAX_PARAMETERS, Schema, TensorSpec

for module in pkgutil.iter_modules(fedenclave.protocol.__path__):
    importlib.import_module(f"fedenclave.protocol.{module.name}")

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
UNSIGNED = st.integers(0, 2**64 - 1)
# What a field's type does not say: the ranges that __post_init__ checks.
NARROWER: dict[str, st.SearchStrategy[Any]] = {
    "Evidence.signing_key": st.binary(min_size=32, max_size=32),
    "EvidenceParts.parts": st.dictionaries(st.text(max_size=10), st.binary(max_size=20)).map(
        lambda parts: EvidenceParts.of(parts).parts
    ),
    "KeyChallenge.nonce": st.binary(min_size=32, max_size=32),
    "KeyQuestion.version": st.just(1),
    "ForkProof.key": st.binary(min_size=32, max_size=32),
    "Activation.version": st.just(1),
    "Activation.member": NAMES,
    "Activation.attestation_key": st.sampled_from([34, 50, 66]).flatmap(
        lambda size: st.binary(min_size=size, max_size=size)
    ),
    "ReleasedMetric.data": st.binary(min_size=8, max_size=8),
    "Peers.enclaves": st.sets(st.binary(min_size=32, max_size=32), min_size=2, max_size=4).map(
        lambda keys: tuple(sorted(keys))
    ),
    "ShardReport.weight": st.binary(min_size=8, max_size=8),
    "ShardReport.metrics": st.lists(
        st.binary(min_size=METRIC_SIZE, max_size=METRIC_SIZE), max_size=2
    ).map(tuple),
    "Total.weight": st.binary(min_size=8, max_size=8),
    "Reply.refusal": st.sampled_from(["", *Refusal]).map(str),
    "AdmissionResult.reason": st.sampled_from(["", *Reason]).map(str),
    "TensorSpec.name": st.text(min_size=1, max_size=20),
    "TensorSpec.shape": st.lists(st.integers(0, 50), max_size=3).map(tuple),
}


def _subclasses(cls: type[Record]) -> set[type[Record]]:
    found = {cls}
    for sub in cls.__subclasses__():
        found |= _subclasses(sub)
    return found


ABSTRACT = {Record, Statement, FederationStatement}
PLACES = (
    "fedenclave.protocol",
    "fedenclave.client.state",
    "fedenclave.attestation.revocations",
    "fedenclave.enclave.transitions",
)


def _is_current(cls: type[Record]) -> bool:
    """Return whether `cls` is what its module holds: slots leave a first class behind."""
    return getattr(sys.modules[cls.__module__], cls.__name__, None) is cls


RECORDS = sorted(
    (
        cls
        for cls in _subclasses(Record) - ABSTRACT
        if cls.__module__.startswith(PLACES) and _is_current(cls)
    ),
    key=lambda cls: cls.__name__,
)


def _values(hint: Any) -> st.SearchStrategy[Any]:
    if hint is Digest:
        return st.binary(min_size=DIGEST_SIZE, max_size=DIGEST_SIZE)
    if get_origin(hint) is tuple:
        return st.lists(_values(get_args(hint)[0]), max_size=3).map(tuple)
    if issubclass(hint, Record):
        return records(hint)
    if issubclass(hint, StrEnum):
        return st.sampled_from(list(hint))
    plain = {int: UNSIGNED, str: st.text(max_size=40), bytes: st.binary(max_size=80)}
    return plain.get(hint, st.booleans())


def records(cls: type[Record]) -> st.SearchStrategy[Any]:
    """Return valid records of type `cls`."""
    if cls is Schema:
        specs = st.lists(records(TensorSpec), min_size=1, max_size=4, unique_by=lambda s: s.name)
        total = specs.filter(lambda s: 0 < sum(spec.count for spec in s) <= MAX_PARAMETERS)
        return total.map(lambda s: Schema(tensors=tuple(s)))
    hints = get_type_hints(cls)
    made = {}
    for field in fields(cls):
        own = NARROWER.get(f"{cls.__name__}.{field.name}")
        if issubclass(cls, FederationStatement) and field.name == "version":
            own = st.just(VERSION)
        if issubclass(cls, FederationStatement) and field.name == "federation":
            own = NAMES
        made[field.name] = own if own is not None else _values(hints[field.name])
    return st.builds(cls, **made)
