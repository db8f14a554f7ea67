"""What a hospital's node trains on, and the 32 bytes that say so in the enclave's log.

Rules:
  * The sealed dataset that the node's owner named comes before everything else. Its one CSV file is
    decrypted into this process's memory, and nowhere else.
  * A file in plain text is read only where the owner allowed it (fedenclave.flower.plain_file), and
    says nothing in the log: its rows can be guessed, and nothing salts them.
  * Every stage between the dataset and the rows that are trained on is in the lineage, with its
    constants, and with the SHA-256 of the file of code that does it: `fedenclave node show` prints
    the same for each file of the app.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Context

from fedenclave.datasets.lineage import Lineage
from fedenclave.datasets.reader import SealedDataset
from fedenclave.flower import open_node_dataset, plain_file
from hospital import data
from hospital.data import (
    AGREED_CENTRE,
    AGREED_WIDTH,
    EPSILON,
    HeartDataError,
    HospitalData,
    Scale,
    load_hospital,
    normalise,
    read_rows,
)

SUFFIX = ".csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """One hospital's rows, and where they come from; `lineage` is None for what is not sealed."""

    data: HospitalData
    lineage: Lineage | None = None


def read_holdings(context: Context, scale: Scale) -> Holdings | None:
    """Return what this node's owner lets the app read; None where that is nothing.

    Raises:
        HeartDataError: it is not a hospital's file.
        FedEnclaveError: the dataset does not open, or plain text is not allowed.
    """
    with open_node_dataset(context) as dataset:
        if dataset is not None:
            return sealed_holdings(dataset, scale)
    if (path := plain_file(context)) is not None:
        return Holdings(data=load_hospital(path, scale))
    return None


def sealed_holdings(dataset: SealedDataset, scale: Scale) -> Holdings:
    """Return the rows of a sealed dataset's one CSV file.

    Raises:
        HeartDataError: it has none, or several, or not a hospital's.
        FedEnclaveError: it cannot be read.
    """
    names = [name for name in dataset.members if name.endswith(SUFFIX)]
    if len(names) != 1:
        raise HeartDataError(
            f"sealed dataset holds {len(names)} {SUFFIX} files, want one",
            "seal a folder with this hospital's file alone",
        )
    with dataset.open(names[0]) as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
        rows = read_rows(text, names[0])
    return Holdings(data=normalise(rows, scale), lineage=lineage(dataset.digest, names[0], scale))


def lineage(digest: bytes, file: str, scale: Scale) -> Lineage:
    """Return what stands between a dataset with this digest and the rows that are trained on."""
    code = hashlib.sha256(Path(data.__file__).read_bytes()).digest()
    read = Lineage.of(digest).then("read-rows", file=file, split="train", code=code)
    if scale == "own":
        return read.then("scale-by-own-rows", epsilon=EPSILON)
    centre, width = AGREED_CENTRE.tolist(), AGREED_WIDTH.tolist()
    return read.then("scale-as-agreed", centre=centre, width=width)
