"""Real SEV-SNP reports but Oak's: Milan and VLEK; every row of SOURCES.md with a verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedenclave.attestation.amd.sev_snp import FORMAT
from fedenclave.attestation.format import Parts
from tests.attestation.cases import Case
from tests.attestation.evidence_cases.amd_policy import policy

_TRUSTEE, _VIRTEE, _GOSEV = "sev-snp/trustee", "sev-snp/virtee", "sev-snp/gosev-milan-v2"


def _files(report: str, certificate: str = "") -> Callable[[Path], Parts]:
    def parts(folder: Path) -> Parts:
        data = (folder / report).read_bytes()
        found = dict(FORMAT.recognise(data) or {"report": data})
        if certificate:
            found["certificates"] = (folder / certificate).read_bytes()
        return found

    return parts


_TEST_REPORT = {
    "rows": (f"{_TRUSTEE}/test-report.bin",),
    "format": FORMAT,
    "policy": policy(
        measurement="a1f3930413247bb38cfc171579ea3c12d5fe4901f0c792f63fd75d98f1ef827c"
        "23500644e0e692e6be917f9050d3d38c",
        id_key="0356215882a825279a85b300b0b742931d113bf7e32dde2e50ffde7ec743ca49"
        "1ecdd7f336dc28a6e0b2bb57af7a44a3",
        guest_svn="4",
        firmware="1.52.4",
        abi="0.31",
        min_tcb="min_tcb.milan = { bootloader = 3, tee = 0, snp = 8, microcode = 115 }",
        chip_ids='["c38427a30d4c7af9d96f7a15b97269825a64cb76a2352ffd5d18115d89ad473f'
        '8e8c0bcd9a5d9286612bad4aadfb4426205a3b9e4fea82301135a170e477524e"]',
    ),
    "bound": "ec6c52d7533cc2c4f45be7849cf112ab82b2009fe7bd43e71ed08c14400ad7e2" + "00" * 32,
    "at": "2026-11-25",
}
_VLEK_MEASUREMENT = (
    "8922ebbdd00ec2c541f36a6e7a82a8773a7accb451ed67bc94e740dbe92c93c4"
    "e8c9af857f5ceeb5a493df2a570d7bf0"
)
_VLEK = {
    "signing_keys": '["vlek"]',
    "csp_ids": '["CN=cc-us-east-2.amazonaws.com"]',
    "vmpl": "1",
    "version": "3",
    "firmware": "1.55.29",
    "alias_check": "required",
    "min_tcb": "min_tcb.milan = { bootloader = 4, tee = 0, snp = 24, microcode = 217 }",
}
_VLEK_REPORT = {
    "rows": (f"{_TRUSTEE}/test-vlek-report.bin",),
    "format": FORMAT,
    "parts": _files(f"{_TRUSTEE}/test-vlek-report.bin", f"{_TRUSTEE}/test-vlek.der"),
    "bound": "819770b7e6ea6df8dd8fd4dd146b073c0bf4f3ce5b0977ecac486e3a05ed1bd5"
    "4e2a7ac1f5d1ca02e7d7d5ef9f73b8574fd9359e3a480d741a4478e8a7bc27ca",
}
_GOSEV_REPORT = {
    "rows": (f"{_GOSEV}/report.bin",),
    "format": FORMAT,
    "parts": _files(f"{_GOSEV}/report.bin", f"{_GOSEV}/vcek.der"),
    "bound": "0102030405" + "00" * 59,
    "at": "2026-11-25",
}
_GOSEV_MEASUREMENT = (
    "b07af9620f3b839b47996422ddec6058338951d984e312115131ea82705eaf5b"
    "6bdf8a9ece31a5a608eb0cf2e4872b01"
)


CASES: list[Case] = [
    Case(
        name="a Milan report of version 2 with its VCEK is affirmed",
        parts=_files(f"{_TRUSTEE}/test-report.bin", f"{_TRUSTEE}/test-vcek.der"),
        mutate=("report", "certificates"),
        **_TEST_REPORT,
    ),
    Case(
        name="it is refused for another nonce",
        parts=_files(f"{_TRUSTEE}/test-report.bin", f"{_TRUSTEE}/test-vcek.der"),
        refused="report data",
        **(_TEST_REPORT | {"bound": "00" * 64}),
    ),
    Case(
        name="it is refused once its VCEK certificate has expired",
        parts=_files(f"{_TRUSTEE}/test-report.bin", f"{_TRUSTEE}/test-vcek.der"),
        refused="vcek chain validity",
        **(_TEST_REPORT | {"at": "2030-01-25"}),
    ),
    Case(
        name="it is refused with a VCEK certificate of another machine",
        parts=_files(f"{_TRUSTEE}/test-report.bin", f"{_VIRTEE}/vcek_milan.der"),
        refused="report signature",
        **_TEST_REPORT,
    ),
    Case(
        name="it is refused without a certificate, as no bundle has it",
        parts=_files(f"{_TRUSTEE}/test-report.bin"),
        refused="certificates",
        **_TEST_REPORT,
    ),
    *(
        Case(
            name=f"it is refused with the made-up certificate of {kind}",
            parts=_files(f"{_TRUSTEE}/test-report.bin", f"{_TRUSTEE}/test-vcek-invalid-{kind}.der"),
            refused="vcek chain",
            **(
                _TEST_REPORT
                | {
                    "rows": (
                        f"{_TRUSTEE}/test-report.bin",
                        f"{_TRUSTEE}/test-vcek-invalid-{kind}.der",
                    )
                }
            ),
        )
        for kind in ("legacy", "new")
    ),
    Case(
        name="a VLEK report of AWS is affirmed on a day on which its certificate holds",
        policy=policy(measurement=_VLEK_MEASUREMENT, **_VLEK),
        at="2025-06-01",
        mutate=("report", "certificates"),
        **_VLEK_REPORT,
    ),
    Case(
        name="the VLEK's certificate has expired since",
        policy=policy(measurement=_VLEK_MEASUREMENT, **_VLEK),
        at="2026-11-25",
        refused="vlek chain validity",
        **_VLEK_REPORT,
    ),
    Case(
        name="a report of vmpl 1 is refused where 0 is pinned",
        policy=policy(measurement=_VLEK_MEASUREMENT, **(_VLEK | {"vmpl": "0"})),
        at="2025-06-01",
        refused="vmpl",
        **_VLEK_REPORT,
    ),
    Case(
        name="a VLEK is refused where only VCEKs are accepted",
        policy=policy(
            measurement=_VLEK_MEASUREMENT,
            **(_VLEK | {"signing_keys": '["vcek"]', "csp_ids": "[]"}),
        ),
        at="2025-06-01",
        refused="signer",
        **_VLEK_REPORT,
    ),
    Case(
        name="a VLEK of another provider's region is refused",
        policy=policy(
            measurement=_VLEK_MEASUREMENT,
            **(_VLEK | {"csp_ids": '["CN=cc-eu-west-1.amazonaws.com"]'}),
        ),
        at="2025-06-01",
        refused="provider",
        **_VLEK_REPORT,
    ),
    Case(
        name="a masked chip is refused where any provider's VLEK would do",
        policy=policy(measurement=_VLEK_MEASUREMENT, **(_VLEK | {"csp_ids": '["any"]'})),
        at="2025-06-01",
        refused="masked chip id",
        **_VLEK_REPORT,
    ),
    Case(
        name="a masked chip passes with a warning where the policy says so",
        policy=policy(
            measurement=_VLEK_MEASUREMENT,
            **(_VLEK | {"csp_ids": '["any"]', "exceptions": '["masked-chip-id"]'}),
        ),
        at="2025-06-01",
        exceptions_used=True,
        mutate=("report", "certificates"),
        **_VLEK_REPORT,
    ),
    Case(
        name="a guest that its host may debug is refused",
        policy=policy(measurement=_GOSEV_MEASUREMENT),
        refused="debug",
        **_GOSEV_REPORT,
    ),
    Case(
        name="it passes with a warning where the policy excepts debugging",
        policy=policy(measurement=_GOSEV_MEASUREMENT, exceptions='["debug"]'),
        exceptions_used=True,
        mutate=("report", "certificates"),
        **_GOSEV_REPORT,
    ),
    Case(
        name="a Milan report in hex is affirmed",
        rows=(f"{_VIRTEE}/report_milan.hex",),
        format=FORMAT,
        parts=_files(f"{_VIRTEE}/report_milan.hex", f"{_VIRTEE}/vcek_milan.der"),
        policy=policy(
            measurement="7a1e5c266c0108dbc9bb94fa926951320940915d0aafb42464bd88b579ea158d"
            "3e1a0dc39b2c60bd95b9c480cd81841f",
            firmware="1.52.4",
            min_tcb="min_tcb.milan = { bootloader = 3, tee = 0, snp = 8, microcode = 115 }",
        ),
        bound="d447b55d197491bfe15cf298f9de9986b7a7c4be2468b4f6e2d53b71d7c64581"
        "0b0f2cdfca0040433be063fc1a8293f0f3f8dae7b79fecb3d1cd82bd6a93ebfd",
        at="2026-11-25",
        mutate=("report", "certificates"),
    ),
]
