"""Parts of evidence that the enclave's machine cannot say itself; whoever has them adds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.evidence import INSECURE, Evidence, EvidenceParts


def with_parts(evidence: Evidence, parts: Mapping[str, bytes]) -> Evidence:
    """Return evidence of a TEE with parts that its machine cannot say itself.

    A TPM's certificates and activations, a VCEK that the host's table lacks: endorsements, which
    who appraises verifies whoever hands them over. A part of the same name is replaced.

    Raises:
        ConfigurationError: together they are longer than what a client decodes.
    """
    if evidence.format == INSECURE or not parts:
        return evidence
    own = EvidenceParts.from_bytes(evidence.document).by_name()
    joined = replace(evidence, document=EvidenceParts.of({**own, **parts}).to_bytes())
    if (size := len(joined.to_bytes())) > Evidence.MAX_SIZE:
        raise ConfigurationError(
            f"evidence has {size} bytes with its [evidence_parts], want at most "
            f"{Evidence.MAX_SIZE}",
            hint="of certificates, name only those that the evidence needs",
        )
    return joined
