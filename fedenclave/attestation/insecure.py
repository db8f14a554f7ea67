"""Appraise development evidence: an enclave process that speaks for itself.

What holds afterwards: the evidence came from whoever holds the signing key, is for this nonce and
manifest, and *claims* a measurement that the manifest pins. What does not: that the claim is true.
Nobody but the operator vouches for it, so the status is never better than `warning`.

SPEC.md, section 9.2.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.format import Format, Parts, Question, same_bytes
from fedenclave.attestation.result import Claims, Trust
from fedenclave.protocol.digests import Digest, equal, from_text, to_text
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.evidence import INSECURE, INSECURE_WARNING, Evidence, InsecureDocument
from fedenclave.protocol.signing import PublicKey, Signed, verify
from fedenclave.protocol.toml_table import Table

STATEMENT, KEY = "statement", "signing-key"
_TEMPLATE = """\
# insecure: development mode. The process measures itself; nobody vouches for it.
[attestation.insecure]
measurements = ["sha256:..."]  # of `fedenclave measure`
"""


def read_policy(table: Table) -> tuple[Digest, ...]:
    """Return the measurements that the policy accepts."""
    return tuple(from_text(text) for text in table.take_texts("measurements"))


def appraise(
    parts: Parts, pins: tuple[Digest, ...], question: Question, checklist: Checklist
) -> Claims:
    """Return the claims; the framework never lets their status be better than `warning`."""
    document = verify(InsecureDocument, parts[STATEMENT], PublicKey(parts[KEY]))
    checklist.want(
        "format",
        holds=bool(pins),
        found="insecure",
        wanted="a format that the manifest pins",
        trust=Trust.HARDWARE,
        hint="the manifest does not accept development mode: run the aggregator in a TEE that it "
        "names",
    )
    checklist.want(
        "warning",
        holds=document.warning == INSECURE_WARNING,
        found=document.warning,
        wanted=INSECURE_WARNING,
        trust=Trust.HARDWARE,
        hint="it was not made by an unchanged FedEnclave; nothing was sent",
    )
    checklist.want(
        "report data",
        holds=equal(document.report_data, question.bound),
        found=document.report_data.hex(),
        wanted=question.bound.hex(),
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else; nothing "
        "was sent",
    )
    checklist.want(
        "measurement",
        holds=document.measurement in pins,
        found=to_text(document.measurement),
        wanted=" or ".join(map(to_text, pins)) or "none is pinned",
        trust=Trust.EXECUTABLES,
        hint="the aggregator runs code that the federation did not approve; nothing was sent. ask "
        "the operator which code runs there; the approved measurement is in federation.toml, "
        "[attestation.insecure]",
    )
    return _claims(document)


def _claims(document: InsecureDocument) -> Claims:
    return Claims(
        claims={
            "measurement": to_text(document.measurement),
            "protections": list(document.protections),
            "report-data": document.report_data.hex(),
        },
        identifiers={"measurement": (to_text(document.measurement),)},
    )


def inspect(parts: Parts) -> Mapping[str, object]:
    """Return what the document claims."""
    signed = Signed.from_bytes(parts[STATEMENT])
    return _claims(InsecureDocument.from_bytes(signed.payload)).claims


def recognise(data: bytes) -> Parts | None:
    """Return the parts of development evidence as it travels."""
    try:
        evidence = Evidence.from_bytes(data)
    except MalformedMessage:
        return None
    if evidence.format != INSECURE:
        return None
    return {STATEMENT: evidence.document, KEY: evidence.signing_key}


FORMAT = Format(
    name=INSECURE,
    title="development mode (no hardware)",
    source="SPEC.md, section 9.2",
    required=frozenset({STATEMENT, KEY}),
    always=frozenset({"format", "warning", "report data", "measurement"}),
    template=_TEMPLATE,
    read_policy=read_policy,
    bind=same_bytes,
    appraise=appraise,
    inspect=inspect,
    recognise=recognise,
)
