"""What a bank's node trains on, and the 32 bytes that say so in the enclave's log.

Rules:
  * The sealed dataset that the node's owner named comes before everything else. Its one CSV file is
    decrypted into this process's memory, and nowhere else.
  * A file in plain text is read only where the owner allowed it (fedenclave.flower.plain_file), and
    says nothing in the log: its rows can be guessed, and nothing salts them.
  * Both stages between the dataset and the loans that are trained on are in the lineage, each with
    the SHA-256 of the file of code that does it: `fedenclave node show` prints the same for each
    file of the app. The moments, by which features are standardised, are in the released model.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Context

from bank import columns, data
from bank.data import ENCODING, BankData, LoanDataError, load_bank, prepared, read_rows
from fedenclave.datasets.lineage import Lineage
from fedenclave.datasets.reader import SealedDataset
from fedenclave.flower import open_node_dataset, plain_file
from fedenclave.protocol.digests import Digest

SUFFIX = ".csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """One bank's loans, and where they come from; `lineage` is None for what is not sealed."""

    data: BankData
    lineage: Lineage | None = None


def read_holdings(context: Context) -> Holdings | None:
    """Return what this node's owner lets the app read; None where that is nothing.

    Raises:
        LoanDataError: it is not a bank's file.
        FedEnclaveError: the dataset does not open, or plain text is not allowed.
    """
    with open_node_dataset(context) as dataset:
        if dataset is not None:
            return sealed_holdings(dataset)
    if (path := plain_file(context)) is not None:
        return Holdings(data=load_bank(path))
    return None


def sealed_holdings(dataset: SealedDataset) -> Holdings:
    """Return the loans of a sealed dataset's one CSV file.

    Raises:
        LoanDataError: it has none, or several, or not a bank's.
        FedEnclaveError: it cannot be read.
    """
    names = [name for name in dataset.members if name.endswith(SUFFIX)]
    if len(names) != 1:
        found = f"sealed dataset holds {len(names)} {SUFFIX} files, want one"
        raise LoanDataError(found, "seal a folder with this bank's file alone")
    (name,) = names
    with dataset.open(name) as stream, io.TextIOWrapper(stream, ENCODING, newline="") as text:
        rows = read_rows(text, name)
    return Holdings(data=prepared(rows), lineage=lineage(dataset.digest, name))


def lineage(digest: Digest, file: str) -> Lineage:
    """Return what stands between a dataset with this digest and the loans that are trained on."""
    read = Lineage.of(digest).then(
        "read-loans", file=file, split="train", code=_code(data.__file__)
    )
    return read.then("scale-as-agreed", code=_code(columns.__file__))


def _code(file: str) -> bytes:
    return hashlib.sha256(Path(file).read_bytes()).digest()
