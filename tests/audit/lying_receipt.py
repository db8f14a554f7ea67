"""Receipts by an enclave that attests as it should and then signs whatever a test asks for.

Each statement can be changed before it is signed, so that one check at a time is left to see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.protocol import merkle
from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.errors import Reason
from fedenclave.protocol.exchange import Delivery, Participation, Receipt
from fedenclave.protocol.manifest import Client, Manifest, Member
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.sealed_update import Envelope
from fedenclave.protocol.signing import (
    public_key,
    sign,
    signing_input,
    statement_digest,
)
from fedenclave.protocol.statements import (
    NO_DATA,
    VERSION,
    Abort,
    Admission,
    Approval,
    Checkpoint,
    CohortReport,
    Contribution,
    Outcome,
    Rejection,
    Suite,
    UpdateHeader,
)
from fedenclave.simulation.federation import DEFAULT_RULES

OWNERS = {"a": "alpha", "b": "beta", "c": "gamma"}
MEMBERS = {name: Ed25519PrivateKey.generate() for name in OWNERS.values()}
KEYS = {name: Ed25519PrivateKey.generate() for name in OWNERS}
MANIFEST = Manifest.from_bytes(
    write_manifest(
        ManifestDraft(
            name="judged",
            threshold=3,
            development=True,
            members=[Member(name=n, key=public_key(k)) for n, k in MEMBERS.items()],
            clients=[Client(name=n, member=OWNERS[n], key=public_key(k)) for n, k in KEYS.items()],
            freshness_seconds=60,
            insecure_measurements=[Digest(b"m" * 32)],
            suite=Suite.X25519,
            schema=Digest(b"s" * 32),
            initial_model=Digest(b"i" * 32),
            rules=DEFAULT_RULES,
        )
    )
)
BASICS = {"version": VERSION, "federation": MANIFEST.name, "manifest": MANIFEST.digest}
NONCE = b"n" * 32

Change = Callable[[Any], Any]


def frontier(leaves: Sequence[bytes]) -> tuple[Digest, ...]:
    """Return the roots of the complete subtrees."""
    log = merkle.Frontier()
    for leaf in leaves:
        log.append(leaf)
    return log.roots


def same(value: Any) -> Any:
    """Change nothing."""
    return value


def approvals(names: tuple[str, ...] = tuple(MEMBERS)) -> tuple[bytes, ...]:
    """Return the members' approvals."""
    return tuple(sign(Approval(**BASICS, member=name), MEMBERS[name]) for name in names)


def contribution(name: str, update: Digest, outcome: Outcome = Outcome.INCLUDED) -> Contribution:
    """Return a true line of a report."""
    return Contribution(client=name, organisation=OWNERS[name], update=update, outcome=outcome)


@dataclass(kw_only=True)
class Lies:
    """What is changed before it is signed; `log` is changed after the leaves are gathered."""

    announcement: Change = same
    header: Change = same
    envelope: Change = same
    admission: Change = same
    rejection: Change | None = None
    answered: bool = True
    report: Change = same
    release: Change = same
    abort: Change | None = None
    log: Change = same
    participation: Change = same
    delivery: Change = same
    receipt: Change = same
    signer: Ed25519PrivateKey = KEYS["a"]


def make_receipt(lies: Lies) -> bytes:
    """Return a's receipt: true where nothing lies."""
    enclave = LyingEnclave(MANIFEST)
    announced = lies.announcement({"cohort": ("a", "b", "c")})
    announcement = enclave.announcement(**announced)
    header = lies.header(
        UpdateHeader(
            **BASICS,
            round=1,
            announcement=statement_digest(announcement),
            base_model=MANIFEST.initial_model,
            client="a",
            data=NO_DATA,
            schema=MANIFEST.schema,
            sealed_size=100,
            checkpoint=Checkpoint(size=1, root=Digest(bytes(32))),
        )
    ).to_bytes()
    unsigned = Envelope(header=header, wrapped_key=b"wrapped", signature=b"")
    under = signing_input(UpdateHeader.TYPE, unsigned.signed_payload())
    envelope = replace(unsigned, signature=lies.signer.sign(under))
    if not lies.answered:
        answer = b""
    elif lies.rejection is not None:
        plain = Rejection(
            **BASICS, round=1, client="a", update=envelope.digest, reason=Reason.NOT_FINITE
        )
        answer = sign(lies.rejection(plain), enclave.key)
    else:
        admitted = Admission(**BASICS, round=1, client="a", update=envelope.digest, data=NO_DATA)
        answer = sign(lies.admission(admitted), enclave.key)
    # What else the log holds where the client was not answered, is another's.
    third = statement_digest(answer) if answer else b"another's"
    leaves = lies.log([b"start", statement_digest(announcement), third])
    checkpoint = Checkpoint(size=len(leaves), root=merkle.root(leaves))
    others = [contribution(name, Digest(b"u" * 32)) for name in "bc"]
    admitted = lies.answered and lies.rejection is None
    own = [contribution("a", envelope.digest)] if admitted else []
    missing = () if admitted else ("a",)
    report = CohortReport(round=1, contributions=(*own, *others), missing=missing)
    cohort = lies.report(report).to_bytes()
    release, abort = b"", b""
    if lies.abort is not None:
        ended = Abort(**BASICS, round=1, checkpoint=checkpoint, time=0)
        abort, cohort = sign(lies.abort(ended), enclave.key), b""
    else:
        fields = {
            "announcement": statement_digest(announcement),
            "cohort": domain_digest("cohort", cohort),
            "clients": len(own) + 2,
            "organisations": len(own) + 2,
            "checkpoint": checkpoint,
        }
        release = enclave.release(**lies.release(fields))
    participation = Participation(
        round=1,
        evidence=enclave.evidence(merkle.root([NONCE])),
        nonce=NONCE,
        nonce_index=0,
        nonce_count=1,
        nonce_path=(),
        announcement=announcement,
        envelope=lies.envelope(envelope).to_bytes(),
        time=0,
    )
    path = merkle.inclusion_paths(leaves)[2] if len(leaves) > 2 else ()
    if not lies.answered:
        path = merkle.inclusion_paths([*leaves, statement_digest(abort or release)])[-1]
    delivery = Delivery(
        round=1,
        answer=answer,
        release=release,
        cohort=cohort,
        abort=abort,
        leaf_index=2 if lies.answered else len(leaves),
        leaf_path=path,
        log_roots=frontier(leaves),
    )
    receipt = Receipt(
        version=VERSION,
        client="a",
        manifest=MANIFEST.source,
        approvals=approvals(),
        participation=lies.participation(participation),
        delivery=lies.delivery(delivery),
    )
    return lies.receipt(receipt).to_bytes()
