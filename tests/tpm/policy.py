"""The table `[attestation.tpm]` as these tests pin it."""

from collections.abc import Mapping, Sequence

UNMEASURED_BOOT = "unmeasured-boot"
"""The exception that a software TPM needs: no firmware has measured anything into it."""
NO_ACTIVATION = 'activated_by = 0\nactivators = ["none"]\nek_roots = ["none"]\n'


def policy(
    *,
    aks: Sequence[str],
    measurement: bytes,
    pcrs: Mapping[int, str],
    counter_name: str = "none",
    activation: str = NO_ACTIVATION,
    header: str = "",
    exceptions: Sequence[str] = (),
) -> str:
    """Return the table's body; `header` goes before `pcrs]` in the inner table's name."""
    keys = ", ".join(f'"{ak}"' for ak in aks)
    excepted = ", ".join(f'"{name}"' for name in exceptions)
    registers = "".join(f'{index} = ["{value}"]\n' for index, value in pcrs.items())
    return (
        f"aks = [{keys}]\n{activation}"
        f'measurements = ["{measurement.hex()}"]\n'
        'firmware_versions = ["any"]\nsecure_boot = "any"\nboot_applications = ["any"]\n'
        f'counter_name = "{counter_name}"\nexceptions = [{excepted}]\n[{header}pcrs]\n{registers}'
    )
