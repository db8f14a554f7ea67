"""Judge the certificate of an NV counter, by which a restored machine is told from the newest.

An index's name is a digest over its number, attributes, policy and size: who pins the name pins
that it is a counter, which only grows, and that it has been written.

Source: TCG TPM 2.0 Library, revision 1.59: Part 1, section 37.2.4 (counters); Part 2, sections 13.5
(TPMS_NV_PUBLIC) and 10.12.8 (TPMS_NV_CERTIFY_INFO); Part 3, TPM2_NV_Certify.
"""

from __future__ import annotations

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust
from fedenclave.attestation.tpm.key import TpmKey
from fedenclave.attestation.tpm.quote import CertifiedNv
from fedenclave.attestation.tpm.signed import SignedAttest, check_binding, verify_signed
from fedenclave.protocol.digests import equal

COUNTER_SIZE = 8


def judge_counter(
    checklist: Checklist,
    counter: SignedAttest,
    quote: SignedAttest,
    ak: TpmKey,
    *,
    bound: bytes,
    index_name: bytes | None,
) -> None:
    """Verify the counter's certificate, and that it belongs to the quote.

    Args:
        checklist: where the checks go, their names beginning with `counter`.
        counter: the certificate, not verified.
        quote: the quote, verified.
        ak: the key that signed the quote.
        bound: what its extra data must be: the same as the quote's.
        index_name: the index's name that the policy pins; None where it pins none.

    Raises:
        EvidenceRefused: it is not by this key, or no counter.
    """
    verify_signed(checklist, "counter signature", counter, ak)
    body = counter.attest.body
    value = body.contents if isinstance(body, CertifiedNv) and body.offset == 0 else b""
    checklist.must(
        "counter contents",
        holds=len(value) == COUNTER_SIZE,
        found=f"{len(value)} bytes of nv from its beginning",
        wanted=f"an nv counter of {COUNTER_SIZE} bytes",
        trust=Trust.INSTANCE_IDENTITY,
    )
    check_binding(checklist, "counter report data", counter, bound)
    # Both are fresh by their binding; this shows that they are of one start of the TPM.
    starts = [(s.attest.reset_count, s.attest.restart_count) for s in (counter, quote)]
    checklist.want(
        "counter start",
        holds=starts[0] == starts[1],
        found="{} resets, {} restarts".format(*starts[0]),
        wanted="{} resets, {} restarts, as in the quote".format(*starts[1]),
        trust=Trust.INSTANCE_IDENTITY,
    )
    if index_name is None:
        return
    name = body.index_name if isinstance(body, CertifiedNv) else b""
    checklist.want(
        "counter",
        holds=equal(name, index_name),
        found=name,
        wanted=index_name,
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is another index, or one that can also be written otherwise",
    )
