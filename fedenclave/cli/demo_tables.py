"""What the demonstrations show alike: figures, and a table of receipts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from fedenclave.attestation.result import AttestationResult
from fedenclave.audit.folder import JudgedFile
from fedenclave.demo.records import proof

Receipts = Mapping[str, Sequence[JudgedFile]]


def figure(value: float) -> str:
    """Return a figure between 0 and 1 to three places, without the zero before the point."""
    return f"{value:.3f}".removeprefix("0")


def spread(cell: Mapping[str, float]) -> str:
    """Return mean ± standard deviation."""
    return f"{figure(cell['mean'])}±{figure(cell['std'])}"


def receipts_table(receipts: Receipts, who: str, *, caption: str) -> Table:
    """Return one row a member: how many receipts are valid, and what they prove.

    Args:
        receipts: each member's, judged.
        who: what a member is called.
        caption: below the table.
    """
    table = Table(title=f"receipts, verified offline from each {who}'s own folder", caption=caption)
    for heading in (who, "valid", "its updates were", "averaged with", "evidence"):
        table.add_column(heading)
    for name, files in receipts.items():
        valid = [file.verified for file in files if file.verified is not None]
        verdicts = sorted({receipt.verdict.value for receipt in valid})
        organisations = sorted({len(receipt.organisations) for receipt in valid})
        table.add_row(
            name,
            f"{len(valid)} of {len(files)}",
            ", ".join(verdicts),
            " or ".join(map(str, organisations)) + f" {who}s",
            ", ".join(sorted({_evidence(receipt.attestation) for receipt in valid})),
        )
    return table


def receipts_plain(receipts: Receipts) -> dict[str, list[dict[str, object]]]:
    """Return for JSON what each receipt proves, or why it proves nothing."""
    return {
        name: [
            proof(file.verified) if file.verified is not None else {"problem": file.problem}
            for file in files
        ]
        for name, files in receipts.items()
    }


def _evidence(judged: AttestationResult) -> str:
    return f"{judged.format} ({judged.status.value})"
