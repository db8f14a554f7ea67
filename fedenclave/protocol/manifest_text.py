"""Write a manifest: the commented TOML file that members review and approve.

SPEC.md, section 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedenclave.protocol.aggregation import Krum, to_toml
from fedenclave.protocol.cohort import cohort_to_toml
from fedenclave.protocol.digests import Digest, to_text
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.key_release import KeyService
from fedenclave.protocol.manifest import Client, Manifest, Member, Rules
from fedenclave.protocol.signing import key_to_text
from fedenclave.protocol.statements import Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestDraft:
    """What a manifest is made of.

    `attestation` is the text of the [attestation] tables; where it is empty they are written from
    `freshness_seconds` and `insecure_measurements`, which are not used otherwise.
    """

    name: str
    threshold: int
    development: bool
    members: Sequence[Member]
    clients: Sequence[Client]
    freshness_seconds: int
    insecure_measurements: Sequence[Digest]
    suite: Suite
    schema: Digest
    initial_model: Digest
    rules: Rules
    attestation: str = ""
    key_services: Sequence[KeyService] = ()


def write_manifest(draft: ManifestDraft) -> bytes:
    """Return the file.

    Raises:
        ConfigurationError: what it says would not be a valid manifest.
    """
    rules = draft.rules
    lines = [
        "# The rules of this federation. Members approve exactly these bytes: one changed letter",
        "# is another federation. Nothing here has a default; an unknown key is an error.",
        "",
        "version = 1",
        "",
        "[federation]",
        f'name = "{draft.name}"',
        f"threshold = {draft.threshold}  # members that must approve, of {len(draft.members)}",
        f"development = {str(draft.development).lower()}  # true: the operator makes the rules",
        "",
        *(draft.attestation.strip().split("\n") if draft.attestation else _development(draft)),
        "",
        "# The model that is trained: the digest of its tensors' names, types and shapes, and of",
        "# the parameters that everybody agreed to start from.",
        "[model]",
        f'schema = "{to_text(draft.schema)}"',
        f'initial = "{to_text(draft.initial_model)}"',
        "",
        "[aggregation]",
        f'rule = "{rules.rule.RULE}"  # what makes one update of many',
        f'weighting = "{rules.weighting}"  # "examples" or "uniform"',
        f'weighted_by = "{rules.weighted_by}"  # the metric in which clients report their examples',
        f"weight_cap = {rules.weight_cap}  # examples that a client counts at most",
        f"max_abs = {rules.max_abs!r}  # no element of an update may be larger",
        f"max_norm = {rules.max_norm!r}  # largest Euclidean norm of an update",
        f'over_norm = "{rules.over_norm}"  # what happens above it: "reject" or "clip"',
        f"min_cohort = {rules.min_cohort}  # distinct organisations in every release",
        "",
        "[aggregation.cohort]  # who takes part in a round",
        *cohort_to_toml(rules.drawn),
        "",
        *_rule_tables(rules),
        "",
        "[privacy]",
        'differential_privacy = "off"  # the released model may leak about its training data',
        "",
        "[release]",
        'what = "model-parameters"  # and nothing else: no losses, no counts',
        f"metrics = {_texts(rules.metrics)}  # of the clients: the mean of each leaves, too",
        "",
        "[sealing]",
        f'suite = "{draft.suite}"  # HPKE key encapsulation; the hybrid one is post-quantum',
    ]
    for member in draft.members:
        lines += [
            "",
            "[[members]]",
            f'name = "{member.name}"',
            f'key = "{key_to_text(member.key)}"',
        ]
    for client in draft.clients:
        lines += [
            "",
            "[[clients]]",
            f'name = "{client.name}"',
            f'member = "{client.member}"',
            f'key = "{key_to_text(client.key)}"',
        ]
    lines += _key_services(draft.key_services)
    source = ("\n".join(lines) + "\n").encode()
    # What was put in as text must not have brought anything else with it.
    written = Manifest.from_bytes(source)
    made_for = (
        tuple(draft.members),
        tuple(draft.clients),
        tuple(draft.key_services),
        draft.rules,
    )
    if (written.members, written.clients, written.key_services, written.rules) != made_for:
        raise ConfigurationError(
            "manifest would have other members, clients, key services or rules than it is made for"
        )
    return source


def _key_services(services: Sequence[KeyService]) -> list[str]:
    lines = []
    if services:
        lines += [
            "",
            "# Who keeps the key to the enclave's state where no hardware does: a share each.",
            "# All of them together with the operator could open it, and pass for the enclave.",
        ]
    for number, service in enumerate(services):
        lines += [
            *([""] if number else []),
            "[[key_services]]",
            f'name = "{service.name}"',
            f'key = "{key_to_text(service.key)}"',
        ]
    return lines


def _texts(texts: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{text}"' for text in texts) + "]"


def _rule_tables(rules: Rules) -> list[str]:
    lines = ["[aggregation.parameters]  # of the rule"]
    if isinstance(rules.rule, Krum):
        lines.append("# Krum's release is one client's own update. It protects the model, not that")
        lines.append("# client: whoever holds the model before it can read the update off.")
    lines += [f"{key} = {value}" for key, value in to_toml(rules.rule).items()]
    lines += ["", "[aggregation.server]  # what turns the combined update into the model's step"]
    lines.append(f'optimiser = "{rules.server.OPTIMISER}"')
    return [*lines, *(f"{key} = {value}" for key, value in to_toml(rules.server).items())]


def _development(draft: ManifestDraft) -> list[str]:
    return [
        "# What evidence the members accept from the aggregator.",
        "[attestation]",
        f"freshness_seconds = {draft.freshness_seconds}  # evidence older than this is refused",
        "",
        "# insecure: development mode. The process measures itself; nobody vouches for it.",
        "[attestation.insecure]",
        "measurements = [",
        *(f'  "{to_text(pin)}",' for pin in draft.insecure_measurements),
        "]",
    ]
