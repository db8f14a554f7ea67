"""Appraise evidence of an AWS Nitro enclave: an attestation document signed by the hypervisor.

What holds afterwards: a Nitro hypervisor whose certificates lead to AWS's root measured this
enclave, not in debug mode, and the enclave put the bound bytes into the document. What does not:
that the parent instance is anybody's in particular, unless PCR 3, PCR 4 or the instance is pinned.

Rules:
  * ES384 alone signs documents.
  * Element 0 of the bundle is the pinned root, byte for byte. Chain and root are valid at the time
    of judging, never at the document's own time; a leaf lives for about three hours.
  * The document's time may be at most 60 seconds ahead (clocks differ), and as old as the policy's
    freshness allows.
  * A register that the policy does not name is zero, unless the policy says "any".
  * The binding is in the field that the policy names and nowhere else; a field that is absent or
    null equals no binding. The two other optional fields are reported and not judged.
  * AWS publishes no revocation list for these certificates and says that none is to be used.

Source: "Nitro Enclaves Attestation Process" (see document.py), sections 3.2.3 and 3.2.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.aws.document import NitroDocument, parse_document
from fedenclave.attestation.aws.policy import (
    IMAGE_PCRS,
    NAMED_PCRS,
    TEMPLATE,
    NitroPins,
    read_policy,
)
from fedenclave.attestation.certificates import (
    fingerprint,
    fingerprints,
    parse_certificate,
    verify_chain,
)
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import iso
from fedenclave.attestation.cose import verify_sign1
from fedenclave.attestation.format import Format, Parts, Question, same_bytes
from fedenclave.attestation.pins import ANY
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.roots import pinned
from fedenclave.protocol.digests import equal

NITRO, DOCUMENT, DEBUG = "nitro", "document", "debug"
MAX_CLOCK_SKEW = 60
_STARTS = (b"\x84\x44", b"\xd2\x84\x44")
"""An array of 4, tagged or not, whose first element, the protected header, has 4 bytes."""


def _appraise(
    parts: Parts,
    pins: NitroPins,
    question: Question,
    checklist: Checklist,
    roots: Mapping[bytes, x509.Certificate],
) -> Claims:
    document = parse_document(parts[DOCUMENT])
    leaf = parse_certificate(document.certificate, "certificate")
    issuers = [parse_certificate(der, f"cabundle {i}") for i, der in enumerate(document.cabundle)]
    _check_signature(checklist, document, leaf, issuers, question.now, roots)
    _check_age(checklist, document, question)
    _check_binding(checklist, document, pins.bind, question.bound)
    _check_debug(checklist, document)
    _check_pcrs(checklist, document, pins)
    checklist.want(
        "instance",
        holds=pins.instances is None or document.instance_id in pins.instances,
        found=document.instance_id,
        wanted=ANY if pins.instances is None else " or ".join(pins.instances),
        trust=Trust.INSTANCE_IDENTITY,
        hint="the enclave runs beside an instance that the federation did not approve",
    )
    return Claims(
        claims=_claims(document),
        identifiers={
            "measurement": (document.pcrs.get(0, b"").hex(),),
            "module-id": (document.module_id,),
            "instance-id": (document.instance_id,),
            "certificate": fingerprints(leaf, *issuers),
        },
    )


def _check_signature(
    checklist: Checklist,
    document: NitroDocument,
    leaf: x509.Certificate,
    issuers: Sequence[x509.Certificate],
    now: int,
    roots: Mapping[bytes, x509.Certificate],
) -> None:
    """Check algorithm, root, chain, the leaf's purpose, and the signature, in this order."""
    checklist.must(
        "algorithm",
        holds=document.message.algorithm.name == "ES384",
        found=document.message.algorithm.name,
        wanted="ES384",
        trust=Trust.INSTANCE_IDENTITY,
    )
    first = document.cabundle[0]
    checklist.must(
        "root",
        holds=first in roots,
        found=fingerprint(issuers[0]),
        wanted="a pinned root of AWS: " + " or ".join(map(fingerprint, roots.values())),
        trust=Trust.HARDWARE,
        hint="it was not made by a Nitro hypervisor; nothing was sent",
    )
    root = roots[first]
    # The bundle is root first; a chain is leaf first, and without the root.
    chain = [leaf, *reversed(issuers[1:])]
    verify_chain(checklist, chain, root, name="certificate chain", now=now)
    problem = _leaf_problem(leaf)
    checklist.must(
        "certificate usage",
        holds=not problem,
        found=problem or "signs, and is no CA",
        wanted="a leaf for digital signatures",
        trust=Trust.INSTANCE_IDENTITY,
    )
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        checklist.refuse(
            "signature",
            found=type(key).__name__,
            wanted="a key on P-384",
            trust=Trust.INSTANCE_IDENTITY,
            hint="it was not made by a Nitro hypervisor; nothing was sent",
        )
    verify_sign1(checklist, document.message, key, name="signature")


def _leaf_problem(leaf: x509.Certificate) -> str:
    """Return why the leaf may not sign documents (3.2.3.2, 3.2.3.3); empty if it may."""
    try:
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
        if constraints.ca or constraints.path_length is not None:
            return "a CA's certificate"
    except x509.ExtensionNotFound:
        pass
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return "no key usage"
    return "" if usage.digital_signature else "not for digital signatures"


def _check_age(checklist: Checklist, document: NitroDocument, question: Question) -> None:
    age = question.now - document.timestamp // 1000
    checklist.want(
        "age",
        holds=-MAX_CLOCK_SKEW <= age <= question.freshness_seconds,
        found=f"made at {iso(document.timestamp // 1000)}",
        wanted=f"at {iso(question.now)}: at most {question.freshness_seconds} s ago, and at most "
        f"{MAX_CLOCK_SKEW} s ahead",
        trust=Trust.INSTANCE_IDENTITY,
        hint="ask the enclave for a new document; is the clock here right?",
    )


def _check_binding(checklist: Checklist, document: NitroDocument, field: str, bound: bytes) -> None:
    found = document.optional()[field]
    checklist.want(
        "report data",
        holds=found is not None and equal(found, bound),
        found=f"{field} is absent" if found is None else f"{field} {found.hex()}",
        wanted=f"{field} {bound.hex()}",
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else; nothing "
        "was sent",
    )


def _debug(document: NitroDocument) -> bool:
    """Return whether the enclave runs in debug mode: the hypervisor then zeroes the registers."""
    return any(not any(document.pcrs.get(index, b"")) for index in IMAGE_PCRS)


def _check_debug(checklist: Checklist, document: NitroDocument) -> None:
    debug = _debug(document)
    checklist.want(
        "debug",
        holds=not debug,
        found="PCR 0, 1 or 2 is zero: debug mode" if debug else "PCR 0, 1, 2 are not zero",
        wanted="PCR 0, 1, 2 are not zero",
        trust=Trust.CONFIGURATION,
        exception=DEBUG,
        hint="run the enclave without --debug-mode and --attach-console",
    )


def _check_pcrs(checklist: Checklist, document: NitroDocument, pins: NitroPins) -> None:
    for index, wanted in sorted(pins.pcrs.items()):
        found = document.pcrs.get(index)
        checklist.want(
            f"pcr {index}",
            holds=wanted is None or found in wanted,
            found="absent" if found is None else found,
            wanted=ANY if wanted is None else " or ".join(value.hex() for value in wanted),
            trust=Trust.INSTANCE_IDENTITY if index in (3, 4) else Trust.EXECUTABLES,
            hint="the enclave is not the approved one, or not where it was approved; the approved "
            "registers are in federation.toml, [attestation.nitro.pcrs]",
        )
    others = {i: value for i, value in document.pcrs.items() if i not in pins.pcrs and any(value)}
    checklist.want(
        "other pcrs",
        holds=not others or not pins.others_zero,
        found=", ".join(f"pcr {i} {value.hex()}" for i, value in others.items()) or "zero",
        wanted="zero" if pins.others_zero else ANY,
        trust=Trust.EXECUTABLES,
        hint='pin the registers that the enclave extends, or say others = "any"',
    )


def _claims(document: NitroDocument) -> dict[str, object]:
    claims: dict[str, object] = {
        "module-id": document.module_id,
        "instance-id": document.instance_id,
        "iat": document.timestamp // 1000,
        "dbgstat": "enabled" if _debug(document) else "disabled",
        "measurements": {f"pcr{index}": value.hex() for index, value in document.pcrs.items()},
    }
    for name, value in document.optional().items():
        if value is not None:
            claims[name.replace("_", "-")] = value.hex()
    return claims


def inspect(parts: Parts) -> Mapping[str, object]:
    """Return what the document claims."""
    document = parse_document(parts[DOCUMENT])
    leaf = parse_certificate(document.certificate, "certificate")
    return {
        **_claims(document),
        "certificate": leaf.subject.rfc4514_string(),
        "valid": f"{iso(int(leaf.not_valid_before_utc.timestamp()))} to "
        f"{iso(int(leaf.not_valid_after_utc.timestamp()))}",
    }


def recognise(data: bytes) -> Parts | None:
    """Return the document in a file."""
    return {DOCUMENT: data} if data.startswith(_STARTS) and b"module_id" in data[:64] else None


def make_format(roots: Sequence[x509.Certificate]) -> Format[NitroPins]:
    """Return the format with these roots pinned."""
    by_der = {root.public_bytes(Encoding.DER): root for root in roots}

    def appraise(parts: Parts, pins: NitroPins, question: Question, checklist: Checklist) -> Claims:
        return _appraise(parts, pins, question, checklist, by_der)

    pcr_checks = {f"pcr {index}" for index in (*IMAGE_PCRS, *NAMED_PCRS)}
    return Format(
        name=NITRO,
        title="AWS Nitro Enclaves",
        source="Nitro Enclaves Attestation Process, aws-nitro-enclaves-nsm-api 13464bf",
        required=frozenset({DOCUMENT}),
        exceptions=frozenset({DEBUG}),
        identifiers=frozenset({"certificate", "measurement", "module-id", "instance-id"}),
        always=frozenset(
            {
                "algorithm",
                "root",
                "certificate chain",
                "certificate chain validity",
                "certificate usage",
                "signature",
                "age",
                "report data",
                "debug",
                *pcr_checks,
                "other pcrs",
                "instance",
            }
        ),
        template=TEMPLATE,
        read_policy=read_policy,
        bind=same_bytes,
        appraise=appraise,
        inspect=inspect,
        recognise=recognise,
    )


FORMAT = make_format(pinned("aws-nitro"))
