"""Protected PCIe: several Hopper GPUs whose NVLink traffic is in the clear.

The NVSwitches between them see everything, so they are a part of what must be trusted: every switch
that a GPU is linked to must be attested with it, and must see only GPUs that the other switches see
too. A GPU does not report its own id (PDI), so which GPU a switch means cannot be compared, only
how many.

Source: NVIDIA PPCIE verifier, topology check.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.nvidia import opaque, spdm
from fedenclave.attestation.nvidia.appraisal import Appraised
from fedenclave.attestation.nvidia.spdm import PROTECTED_PCIE_MODE
from fedenclave.attestation.result import Trust

NAME = "gpu topology"


def check_topology(checklist: Checklist, devices: Sequence[Appraised]) -> None:
    """Check that the attested devices are all that are linked together.

    Raises:
        MalformedMessage: a report's list of links cannot be read.
    """
    gpus = [found for found in devices if not found.device.switch]
    switches = [found for found in devices if found.device.switch]
    linked = [gpu for gpu in gpus if spdm.mode(gpu.report.fields) == PROTECTED_PCIE_MODE]
    problem = _problem(linked, switches) if linked or switches else ""
    if not problem and linked and len(linked) != len(gpus):
        problem = f"{len(linked)} of {len(gpus)} GPUs are in this mode"
    checklist.want(
        NAME,
        holds=not problem,
        found=problem or f"{len(gpus)} GPUs, {len(switches)} NVSwitches",
        wanted="every NVSwitch of the GPUs in protected-pcie mode, and no other",
        trust=Trust.CONFIGURATION,
        hint="collect the reports of all GPUs and NVSwitches of the machine with the same nonce",
    )


def _problem(gpus: Sequence[Appraised], switches: Sequence[Appraised]) -> str:
    if not gpus:
        return "NVSwitches without GPUs in protected-pcie mode"
    # A GPU writes a switch's id in the other byte order than the switch does.
    own = {
        pdi[::-1]
        for switch in switches
        for pdi in spdm.pdis(switch.report.fields, opaque.DEVICE_PDI)
    }
    views = {spdm.pdis(gpu.report.fields, opaque.SWITCH_PDI) for gpu in gpus}
    if len(own) != len(switches):
        return "an NVSwitch is there twice, or without an id"
    if views != {frozenset(own)}:
        return f"GPUs name other NVSwitches than the {len(own)} that are attested"
    seen = {
        spdm.pdis(switch.report.fields, opaque.SWITCH_GPU_PDIS, limit=opaque.MAX_SWITCH_GPUS)
        for switch in switches
    }
    if len(seen) != 1 or len(next(iter(seen))) != len(gpus):
        return f"NVSwitches see other GPUs than the {len(gpus)} that are attested"
    return ""
