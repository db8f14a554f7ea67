"""Words that verify a folder of SEV-SNP evidence (the fixture `machine`), and its policy."""

from __future__ import annotations

from pathlib import Path

from fedenclave.attestation.policy import HEAD

AT = "2026-11-25T00:00:00Z"
BOUND = "d0" * 64


def write_policy(folder: Path, pins: str) -> None:
    (folder / "policy.toml").write_text(HEAD + "\n[attestation.sev-snp]\n" + pins)


def verify_words(folder: Path, **options: object) -> list[object]:
    words: list[object] = ["attest", "verify", folder / "report.bin"]
    words += ["--part", f"certificates={folder / 'vcek.der'}"]
    given = {
        "policy": folder / "policy.toml",
        "nonce": BOUND,
        "at": AT,
        "collateral": folder / "collateral",
        **options,
    }
    for name, value in given.items():
        words += [f"--{name}", value]
    return words
