"""Format `tpm`: a quote by a TPM 2.0, with the registers that it is about.

What holds afterwards: a TPM that the policy accepts signed, for this report data, that its
registers have values which the policy accepts. What does not: that the machine's owner cannot read
its memory. A TPM measures what starts; it does not encrypt anything.

Parts:
    quote              TPMS_ATTEST
    signature          TPMT_SIGNATURE over it
    pcrs               values of the selected registers of the SHA-256 bank, in ascending order
    ak                 TPMT_PUBLIC of the key that signed
    ek-certificates    EK certificate and its chain, DER or PEM    } where the policy sets
    activations        the members' statements about this key      } activated_by, and only there
    event-log          what firmware and boot loader measured
    counter            TPMS_ATTEST that certifies an NV counter
    counter-signature  TPMT_SIGNATURE over it, by the same key

Rules:
  * Certificates and statements that the policy has no use for are a refusal: nothing would vouch
    for their bytes. Log and counter are verified wherever they are.
  * In an event log some bytes are a story (event_log.py); no claim is taken from them.
  * Clock, resets and restarts are claims, not pins: they differ after every start, and the report
    data, which holds the verifiers' nonces, says already that the quote is new.

Source: TCG TPM 2.0 Library, revision 1.59; TCG PC Client Platform Firmware Profile 1.06; TCG EK
Credential Profile 2.5. What the registers hold: README.md beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedenclave.attestation.certificates import fingerprint
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.event_log import parse_event_log
from fedenclave.attestation.format import Format, Parts, Question
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.tpm.claims import (
    LEVEL,
    claims_of,
    counter_claims,
    key_claims,
    log_claims,
    quote_claims,
    register_claims,
)
from fedenclave.attestation.tpm.counter import judge_counter
from fedenclave.attestation.tpm.endorsement import Endorsement, parse_chain, verify_endorsement
from fedenclave.attestation.tpm.key import TpmKey, attestation_problem, parse_public
from fedenclave.attestation.tpm.measured_boot import MEASURED_BOOT
from fedenclave.attestation.tpm.policy import EXCEPTIONS, TEMPLATE, TpmPins, read_policy
from fedenclave.attestation.tpm.quote import (
    MAGIC,
    Quoted,
    parse_attest,
    pcr_digest,
    split_values,
)
from fedenclave.attestation.tpm.registers import BANK, judge_log, judge_registers
from fedenclave.attestation.tpm.signed import (
    SignedAttest,
    check_binding,
    read_signed,
    verify_signed,
)
from fedenclave.attestation.tpm.statements import verify_activations
from fedenclave.protocol.digests import equal, sha256
from fedenclave.protocol.errors import MalformedMessage

NAME = "tpm"
QUOTE, SIGNATURE, PCRS, AK = "quote", "signature", "pcrs", "ak"
EK_CERTIFICATES, ACTIVATIONS, EVENT_LOG = "ek-certificates", "activations", "event-log"
COUNTER, COUNTER_SIGNATURE = "counter", "counter-signature"


def bind(report_data: bytes) -> bytes:
    """Return what the quote's extra data must be: a TPM takes no 64 bytes there."""
    return sha256(report_data)


def appraise(parts: Parts, pins: TpmPins, question: Question, checklist: Checklist) -> Claims:
    """Verify and appraise; see the module's docstring."""
    # 1. Structure.
    _check_parts(parts, pins, checklist)
    ak = parse_public(parts[AK], "ak")
    quote = read_signed(parts[QUOTE], parts[SIGNATURE], QUOTE)
    counter = (
        read_signed(parts[COUNTER], parts[COUNTER_SIGNATURE], COUNTER) if COUNTER in parts else None
    )
    events = parse_event_log(parts[EVENT_LOG]) if EVENT_LOG in parts else None
    # 2. The key, and that it is the TPM's of a machine that the policy accepts.
    endorsement = _judge_key(parts, ak, pins, question, checklist)
    # 3. What it signed.
    values = _verify_quote(parts, quote, ak, checklist)
    # 4. Binding and policy.
    check_binding(checklist, "report data", quote, question.bound)
    checklist.want(
        "firmware version",
        holds=pins.firmware_versions is None or _firmware(quote) in pins.firmware_versions,
        found=_firmware(quote),
        wanted="any" if pins.firmware_versions is None else _any_of(pins.firmware_versions),
        trust=Trust.HARDWARE,
        hint="the tpm's firmware was changed, or its key is not of the endorsement hierarchy",
    )
    measurement = judge_registers(checklist, values, pins)
    if events is not None:
        judge_log(checklist, events, values, pins)
    if counter is not None:
        judge_counter(
            checklist, counter, quote, ak, bound=question.bound, index_name=pins.counter_name
        )
    return claims_of(
        ak=ak,
        quote=quote.attest,
        values=values,
        measurement=measurement,
        endorsement=endorsement,
        events=events,
        counter=None if counter is None else counter.attest,
    )


def _check_parts(parts: Parts, pins: TpmPins, checklist: Checklist) -> None:
    """Refuse what is missing for this policy, and what it has no use for."""
    by_challenge = pins.activation is not None
    wanted = {
        EK_CERTIFICATES: (by_challenge, by_challenge),
        ACTIVATIONS: (by_challenge, by_challenge),
        EVENT_LOG: (pins.needs_event_log, True),
        COUNTER: (pins.counter_name is not None or COUNTER_SIGNATURE in parts, True),
        COUNTER_SIGNATURE: (pins.counter_name is not None or COUNTER in parts, True),
    }
    missing = [name for name, (needed, _) in wanted.items() if needed and name not in parts]
    useless = [name for name, (_, allowed) in wanted.items() if not allowed and name in parts]
    checklist.must(
        "parts for this policy",
        holds=not missing and not useless,
        found=f"missing: {', '.join(missing) or 'none'}; of no use: {', '.join(useless) or 'none'}",
        wanted="all that the policy's pins need, and nothing that none of them vouches for",
        trust=Trust.INSTANCE_IDENTITY,
        hint="ek certificates and activations belong to activated_by, an event log to secure_boot "
        "and boot_applications, a counter to counter_name",
    )


def _judge_key(
    parts: Parts, ak: TpmKey, pins: TpmPins, question: Question, checklist: Checklist
) -> Endorsement | None:
    problem = attestation_problem(ak)
    checklist.must(
        "ak attributes",
        holds=not problem,
        found=problem or "restricted, signing, fixed to its tpm",
        wanted="a restricted signing key that was made in the tpm and cannot leave it",
        trust=Trust.INSTANCE_IDENTITY,
        hint="with any other key the operator can sign quotes of its own making",
    )
    if pins.aks is not None:
        checklist.must(
            "ak",
            holds=ak.name in pins.aks,
            found=ak.name,
            wanted=_any_of(pins.aks),
            trust=Trust.INSTANCE_IDENTITY,
            hint="another machine, or its tpm was replaced; challenge it before you list its key",
        )
    if pins.activation is None:
        return None
    endorsement = verify_endorsement(
        checklist,
        parse_chain(parts[EK_CERTIFICATES]),
        roots=pins.activation.ek_roots,
        collateral=question.collateral,
        now=question.now,
    )
    verify_activations(
        checklist,
        parts[ACTIVATIONS],
        activators=pins.activation.activators,
        wanted=pins.activation.wanted,
        name=ak.name,
        ek_certificate=endorsement.certificate,
    )
    return endorsement


def _verify_quote(
    parts: Parts, quote: SignedAttest, ak: TpmKey, checklist: Checklist
) -> dict[int, bytes]:
    """Return the quoted registers of the SHA-256 bank, by index."""
    verify_signed(checklist, "signature", quote, ak)
    body = quote.attest.body
    selections = body.selections if isinstance(body, Quoted) else ()
    checklist.must(
        "pcr selection",
        holds=[selection.bank for selection in selections] == [BANK],
        found=", ".join(f"{s.bank}: {list(s.indices)}" for s in selections) or "no quote",
        wanted=f"a quote of registers of the bank {BANK}, and of no other",
        trust=Trust.EXECUTABLES,
    )
    if not isinstance(body, Quoted):
        raise MalformedMessage("quote is of another kind")
    indices = selections[0].indices
    values = split_values(selections[0], parts[PCRS])
    digest = pcr_digest(values, indices, quote.signature.hash)
    checklist.must(
        "pcr digest",
        holds=equal(body.digest, digest),
        found=digest,
        wanted=body.digest,
        trust=Trust.EXECUTABLES,
        hint="the values are not those that were quoted; ask for new evidence",
    )
    return values


def _firmware(quote: SignedAttest) -> bytes:
    return quote.attest.firmware_version.to_bytes(8, "big")


def _any_of(values: tuple[bytes, ...]) -> str:
    return " or ".join(value.hex() for value in values)


def inspect(parts: Parts) -> Mapping[str, object]:
    """Return what the parts that are there say, without any check."""
    claims: dict[str, object] = {}
    values: dict[int, bytes] = {}
    if AK in parts:
        claims |= key_claims(parse_public(parts[AK], AK))
    if QUOTE in parts:
        quote = parse_attest(parts[QUOTE], QUOTE)
        claims |= quote_claims(quote)
        body = quote.body
        if isinstance(body, Quoted) and len(body.selections) == 1 and PCRS in parts:
            values = split_values(body.selections[0], parts[PCRS])
            claims["pcrs"] = register_claims(values)
    if EVENT_LOG in parts:
        claims |= log_claims(parse_event_log(parts[EVENT_LOG]), values)
    if COUNTER in parts:
        claims |= counter_claims(parse_attest(parts[COUNTER], COUNTER))
    if EK_CERTIFICATES in parts:
        chain = parse_chain(parts[EK_CERTIFICATES])
        claims["ek-certificates"] = [fingerprint(certificate) for certificate in chain]
    return claims


def recognise(data: bytes) -> Parts | None:
    """Return the parts in a file: a TPMS_ATTEST, as `tpm2_quote -m` writes it, is `quote` alone."""
    if not data.startswith(MAGIC):
        return None
    try:
        attest = parse_attest(data)
    except MalformedMessage:
        return None
    return {QUOTE: data} if isinstance(attest.body, Quoted) else None


FORMAT = Format(
    name=NAME,
    title="TPM 2.0 quote",
    source="TCG TPM 2.0 Library, revision 1.59",
    required=frozenset({QUOTE, SIGNATURE, PCRS, AK}),
    optional=frozenset({EK_CERTIFICATES, ACTIVATIONS, EVENT_LOG, COUNTER, COUNTER_SIGNATURE}),
    exceptions=EXCEPTIONS,
    identifiers=frozenset({"attestation-key", "certificate", "chip-id", "measurement"}),
    levels=frozenset({LEVEL}),
    always=frozenset(
        {
            "parts for this policy",
            "ak attributes",
            "ak",
            "signature",
            "pcr selection",
            "pcr digest",
            "report data",
            "firmware version",
            MEASURED_BOOT,
        }
    ),
    template=TEMPLATE,
    read_policy=read_policy,
    bind=bind,
    appraise=appraise,
    inspect=inspect,
    recognise=recognise,
)
