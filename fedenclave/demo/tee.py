"""What vouches for the demonstration's enclave, and in which words it is said to be insecure.

Both kinds are insecure. What the demonstration prints and writes about that stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Tee(StrEnum):
    """Who vouches: nobody, or a software TPM that the demonstration starts for itself."""

    INSECURE = "insecure"
    TPM = "tpm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What is said.

    Attributes:
        warning: on stderr after `insecure:`, in the table and in the JSON.
        folder: lines of the guide to the folder, for what is there besides; may be empty.
        command: lines of the guide, for what else to try; may be empty.
        ending: the guide's last paragraph.
        after_the_attack: how far the attack could still be carried.
    """

    warning: str
    folder: str
    command: str
    ending: str
    after_the_attack: str


_INSECURE = Words(
    warning="this demonstration runs in development mode; no TEE hardware is used",
    folder="",
    command="",
    ending="""\
All of it ran in development mode (insecure): no hardware vouches for the enclave's code.
""",
    after_the_attack="In development mode the enclave measures itself, so an operator who also "
    "rewrites the measuring gets further. On a TEE the hardware measures.",
)

_TPM = Words(
    warning="the TPM is a program that the operator runs: it proves the procedure, and nothing "
    "about the platform",
    folder="""\
tpm/                   the software TPM: its state, its maker's certificates, and what each hospital
                       signed after it had challenged the TPM
""",
    command="""\
  fedenclave attest inspect evidence/round-000001.evidence
""",
    ending="""\
All of it ran on a software TPM (insecure): the TPM is a program that the operator runs. It proves
the procedure, from the challenge to the receipt, and nothing about the platform: no firmware has
measured anything (registers 0 to 9 and 14 are zero), and who runs the program can read its keys.
So the evidence is accepted with a warning, by an exception that the manifest names
(unmeasured-boot); a manifest without it refuses such a TPM.
""",
    after_the_attack="The enclave extends its measurement into register 11 itself, so an operator "
    "who also rewrites the measuring gets further. On a machine whose firmware measures what it "
    "starts, registers 0 to 9 and 14 would show it. Here they are zero: the TPM is a program that "
    "the operator runs.",
)

WORDS: Mapping[Tee, Words] = {Tee.INSECURE: _INSECURE, Tee.TPM: _TPM}
