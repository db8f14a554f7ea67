"""The manifest: the federation's rules in one TOML file, the same bytes for everybody.

Its digest is measured into the evidence and named by every statement; members sign it. An unknown
key, a missing key, a wrong type is an error, never a default.

SPEC.md, section 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from fedenclave.protocol.aggregation import (
    MAX_PAIRWISE_CLIENTS,
    MEAN,
    NO_OPTIMISER,
    PAIRWISE,
    MultiKrum,
    OwnRule,
    QFedAvg,
    Rule,
    ServerOptimiser,
    checked_metric,
    read_optimiser,
    read_rule,
)
from fedenclave.protocol.attestation_policy import AttestationPolicy, read_attestation
from fedenclave.protocol.cohort import DrawnCohort, read_cohort
from fedenclave.protocol.digests import Digest, domain_digest, from_text
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.key_release import KeyService, read_key_services
from fedenclave.protocol.signing import PublicKey, Signed, key_from_text, signature_holds
from fedenclave.protocol.statements import VERSION, Approval, Peers, Suite, checked_name
from fedenclave.protocol.toml_table import Table, parse

MAX_SIZE = 4 << 20
MAX_CLIENTS = 8192
"""2**13: the bound for which the exact sum cannot overflow (SPEC.md, section 11.2)."""

MAX_ABS_LIMIT = 2.0**40
MAX_WEIGHT_CAP = 2**40
MAX_NORM_LIMIT = 2.0**100
MAX_METRICS = 64
MembersT = TypeVar("MembersT", Approval, Peers)
"""What a member signs about a manifest."""

MIN_BOUND = 2.0**-40
"""Below it the squares by which admission judges an element would be lost in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An organisation and the key with which it approves."""

    name: str
    key: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A data holder's process: the organisation that owns it and the key it signs with."""

    name: str
    member: str
    key: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How updates are admitted, combined and released.

    Attributes:
        weighting: `examples` or `uniform`.
        weighted_by: the metric in which clients report their examples.
        weight_cap: examples that a client counts at most.
        max_abs: largest element of an update.
        max_norm: largest Euclidean norm of an update's floats.
        over_norm: what happens above it: `reject` or `clip`.
        min_cohort: distinct organisations in every release.
        drawn: how the enclave draws the cohort; None where the host names it.
        rule: what combines the updates.
        server: what turns the combined update into the model's step.
        metrics: the clients' metrics whose mean is released, by name; no others leave.
    """

    weighting: str
    weighted_by: str
    weight_cap: int
    max_abs: float
    max_norm: float
    over_norm: str
    min_cohort: int
    drawn: DrawnCohort | None = None
    rule: Rule = MEAN
    server: ServerOptimiser = NO_OPTIMISER
    metrics: tuple[str, ...] = ()

    @property
    def reported(self) -> tuple[str, ...]:
        """The metrics that a client seals into its update, in their order there."""
        loss = {self.rule.loss} if isinstance(self.rule, QFedAvg) else set()
        return tuple(sorted({*self.metrics, *loss}))


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A parsed manifest. `source` is the exact file; only it is ever hashed."""

    source: bytes
    name: str
    threshold: int
    development: bool
    members: tuple[Member, ...]
    clients: tuple[Client, ...]
    attestation: AttestationPolicy
    suite: Suite
    schema: Digest
    initial_model: Digest
    rules: Rules
    key_services: tuple[KeyService, ...] = ()

    @cached_property
    def digest(self) -> Digest:
        """The digest that evidence and statements name."""
        return domain_digest("manifest", self.source)

    @cached_property
    def roster(self) -> dict[str, Client]:
        """The clients by name."""
        return {client.name: client for client in self.clients}

    def organisations(self, clients: Sequence[str]) -> set[str]:
        """Return the distinct organisations that own `clients` (all of the roster)."""
        return {self.roster[client].member for client in clients}

    @classmethod
    def from_bytes(cls, source: bytes) -> Manifest:
        """Parse a manifest.

        Raises:
            ConfigurationError: anything in it is missing, unknown, or out of range.
        """
        if len(source) > MAX_SIZE:
            raise ConfigurationError(f"manifest has {len(source)} bytes, want at most {MAX_SIZE}")
        top = parse(source, "manifest")
        try:
            manifest = _read(source, top)
        except MalformedMessage as error:
            raise ConfigurationError(f"manifest: {error.message}") from error
        top.finish()
        _check_roster(manifest)
        return manifest


def _read(source: bytes, top: Table) -> Manifest:
    top.take_int("version", low=VERSION, high=VERSION)
    federation = top.take_table("federation")
    name = checked_name(federation.take_text("name"), "federation")
    threshold = federation.take_int("threshold", low=1, high=MAX_CLIENTS)
    development = federation.take_bool("development")
    federation.finish()
    members = tuple(_member(table) for table in top.take_tables("members"))
    clients = tuple(_client(table) for table in top.take_tables("clients"))
    model = top.take_table("model")
    schema, initial = from_text(model.take_text("schema")), from_text(model.take_text("initial"))
    model.finish()
    sealing = top.take_table("sealing")
    suite = Suite(sealing.take_choice("suite", tuple(Suite)))
    sealing.finish()
    _read_privacy(top.take_table("privacy"))
    metrics = _released_metrics(top.take_table("release"))
    return Manifest(
        source=source,
        name=name,
        threshold=threshold,
        development=development,
        members=members,
        clients=clients,
        attestation=read_attestation(top.take_table("attestation")),
        suite=suite,
        schema=schema,
        initial_model=initial,
        rules=_rules(top.take_table("aggregation"), metrics),
        key_services=read_key_services(top),
    )


def _member(table: Table) -> Member:
    name = checked_name(table.take_text("name"), "member")
    key = key_from_text(table.take_text("key"))
    table.finish()
    return Member(name=name, key=key)


def _client(table: Table) -> Client:
    name = checked_name(table.take_text("name"), "client")
    member = checked_name(table.take_text("member"), "member of the client")
    key = key_from_text(table.take_text("key"))
    table.finish()
    return Client(name=name, member=member, key=key)


def _rules(table: Table, metrics: tuple[str, ...]) -> Rules:
    rules = Rules(
        rule=read_rule(table.take_text("rule"), table.take_table("parameters")),
        server=read_optimiser(table.take_table("server")),
        metrics=metrics,
        weighting=table.take_choice("weighting", ("examples", "uniform")),
        weighted_by=table.take_text("weighted_by"),
        weight_cap=table.take_int("weight_cap", low=1, high=MAX_WEIGHT_CAP),
        max_abs=table.take_number("max_abs", low=MIN_BOUND, high=MAX_ABS_LIMIT),
        max_norm=table.take_number("max_norm", low=MIN_BOUND, high=MAX_NORM_LIMIT),
        over_norm=table.take_choice("over_norm", ("reject", "clip")),
        min_cohort=table.take_int("min_cohort", low=2, high=MAX_CLIENTS),
        drawn=read_cohort(table.take_table("cohort"), MAX_CLIENTS),
    )
    table.finish()
    return rules


def _read_privacy(table: Table) -> None:
    # Differential privacy is not in this version; the manifest must say so in its own words.
    table.take_choice("differential_privacy", ("off",))
    table.finish()


def _released_metrics(table: Table) -> tuple[str, ...]:
    table.take_choice("what", ("model-parameters",))
    metrics = tuple(map(checked_metric, table.take_texts("metrics")))
    table.finish()
    if len(set(metrics)) != len(metrics) or len(metrics) > MAX_METRICS:
        raise ConfigurationError(
            f"manifest [release] metrics names one twice, or more than {MAX_METRICS}"
        )
    return metrics


def _check_roster(manifest: Manifest) -> None:
    """Refuse double names and keys, unknown members, and numbers that can never be reached."""
    members = {member.name for member in manifest.members}
    keys = [m.key for m in manifest.members] + [c.key for c in manifest.clients]
    keys += [service.key for service in manifest.key_services]
    if len(members) != len(manifest.members) or len(manifest.roster) != len(manifest.clients):
        raise ConfigurationError("manifest names a member or a client twice")
    if len(set(keys)) != len(keys):
        raise ConfigurationError("manifest gives one key to two members, clients or key services")
    for client in manifest.clients:
        if client.member not in members:
            raise ConfigurationError(
                f"manifest client {client.name} belongs to {client.member}, which is no member"
            )
    if manifest.threshold > len(members):
        raise ConfigurationError(
            f"manifest threshold is {manifest.threshold}, want at most {len(members)} (members)"
        )
    owners = {client.member for client in manifest.clients}
    if manifest.rules.min_cohort > len(owners):
        raise ConfigurationError(
            f"manifest min_cohort is {manifest.rules.min_cohort}, want at most {len(owners)} "
            "(organisations with a client)"
        )
    _check_rule(manifest.rules, len(manifest.clients))
    if manifest.rules.drawn is not None:
        least = max(manifest.rules.min_cohort, manifest.rules.rule.least_clients())
        manifest.rules.drawn.check(least, len(manifest.clients))


def _check_rule(rules: Rules, clients: int) -> None:
    """Refuse a rule that this roster can never satisfy, or that hides what it releases."""
    rule = rules.rule
    # A rule of the federation's own may ask for pairs: what it asks for is not known here.
    pairwise = isinstance(rule, (*PAIRWISE, OwnRule))
    most = MAX_PAIRWISE_CLIENTS if pairwise else MAX_CLIENTS
    if clients > most:
        raise ConfigurationError(f"manifest has {clients} clients, want at most {most}")
    if rule.least_clients() > clients:
        raise ConfigurationError(
            f"manifest rule {rule.RULE} needs {rule.least_clients()} clients, and the roster has "
            f"{clients}",
            hint="lower the number of byzantine clients, or enrol more",
        )
    if isinstance(rule, MultiKrum):
        # Liars can get their own updates selected, and know them: enough others must be left.
        least = rules.min_cohort + max(rule.byzantine, rules.min_cohort - 1)
        if rule.selected < least:
            raise ConfigurationError(
                f"manifest rule multi-krum averages {rule.selected} updates, want at least "
                f"{least}: min_cohort honest ones beside all who may lie",
                hint="raise selected, or lower byzantine or min_cohort",
            )
    if isinstance(rule, QFedAvg) and rules.weighting != "uniform":
        raise ConfigurationError(
            f"manifest weighting is {rules.weighting}, and q-fed-avg weighs by loss",
            hint='say weighting = "uniform"',
        )


def approving_members(manifest: Manifest, approvals: Sequence[bytes]) -> set[str]:
    """Return the members whose signed approval of exactly this manifest is among `approvals`.

    An approval that does not decode, does not verify or is of another manifest counts for nothing.
    """
    return {approval.member for approval in _of_members(Approval, manifest, approvals)}


def agreed_peers(manifest: Manifest, signed: Sequence[bytes]) -> frozenset[bytes]:
    """Return the enclaves that enough members let share a cohort; none where too few do.

    Members count together only where they name exactly the same enclaves: those that the first
    statement which counts names. What `approving_members` passes over counts for nothing here.
    """
    statements = _of_members(Peers, manifest, signed)
    enclaves = statements[0].enclaves if statements else ()
    naming = {peers.member for peers in statements if peers.enclaves == enclaves}
    return frozenset(enclaves) if len(naming) >= manifest.threshold else frozenset()


def _of_members(
    cls: type[MembersT], manifest: Manifest, statements: Sequence[bytes]
) -> list[MembersT]:
    """Return what members have signed about exactly this manifest, in the order given."""
    keys = {member.name: member.key for member in manifest.members}
    found = []
    for signed in statements:
        try:
            envelope = Signed.from_bytes(signed)
            # Decoded before it is verified, to know whose key to verify it with.
            statement = cls.from_bytes(envelope.payload)
            key = keys[statement.member]
            if envelope.type != cls.TYPE:
                continue
            if not signature_holds(cls.TYPE, envelope.payload, envelope.signature, key):
                continue
        except (MalformedMessage, KeyError):
            continue
        if (statement.manifest, statement.federation) == (manifest.digest, manifest.name):
            found.append(statement)
    return found
