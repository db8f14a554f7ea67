"""Which columns of a loan the model sees, on which scale, and which it does not see and why.

All of it is agreed beforehand and public: no bank's rows have a part in it. A category that is not
in `TERMS` or `EMPLOYMENT` is an error and not a new feature, and a number beyond the scale's bound
counts as the bound, so that no single loan moves a sum by more than is known.

Rules:
  * A feature is known when the loan is applied for. What the lender's own model made of the
    applicant, and what became of the loan, are not features: LEFT_OUT says column by column.
  * A scale is a guess in round numbers: what is usual becomes about 0, what is unusual about 1. It
    keeps sums and squares well apart from rounding errors. The true mean and deviation come through
    the enclave (moments.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BOUND = 5.0
"""A feature on the agreed scale lies between -BOUND and BOUND."""

TERMS = ("term_36", "term_60")
EMPLOYMENT = ("emp_lt_1", *(f"emp_{years}" for years in range(1, 10)), "emp_ge_10", "emp_unk")
"""Years in employment by their number; the last one is not known."""

LABEL = "Class"
LABELS = ("good", "bad")
"""Paid back, or still paid; or not."""

TEXTS = {"term": TERMS, "emp_length": EMPLOYMENT, LABEL: LABELS}
"""Columns of words, with all that may stand there."""

LEFT_OUT = {
    "int_rate": "the lender's price of the risk: its own model's answer",
    "sub_grade": "the lender's grade of the risk: its own model's answer",
    "verification_status": "whether the lender had the income checked: it chose for whom",
    "addr_state": "where the applicant lives; it decides which bank the loan belongs to",
    "rownames": "the row's number in the source",
}


def _unknown(code: Floats) -> Floats:
    return (code == len(EMPLOYMENT) - 1).astype(np.float64)


def _years(code: Floats) -> Floats:
    # Nobody's years are unknown and ten at once: what is not known is put in the middle.
    return np.where(_unknown(code) > 0, 5.0, code)


def _any(values: Floats) -> Floats:
    return (values > 0).astype(np.float64)


def _share(percent: Floats) -> Floats:
    return percent / 100


def _same(values: Floats) -> Floats:
    return values


@dataclass(frozen=True, slots=True)
class Feature:
    """One number that the model sees: `(of(column) - centre) / width`, held within the bound."""

    name: str
    column: str
    of: Callable[[Floats], Floats]
    centre: float
    width: float


FEATURES = (
    Feature("amount", "funded_amnt", np.log1p, 9.5, 0.7),
    Feature("five years", "term", _same, 0.3, 0.5),
    Feature("income", "annual_inc", np.log1p, 11.1, 0.5),
    Feature("years in employment", "emp_length", _years, 6, 3.5),
    Feature("employment unknown", "emp_length", _unknown, 0, 0.25),
    Feature("late payments, 2 years", "delinq_2yrs", np.log1p, 0.2, 0.4),
    Feature("inquiries, 6 months", "inq_last_6mths", np.log1p, 0.3, 0.5),
    Feature("credit lines used", "revol_util", _share, 0.5, 0.25),
    Feature("late now", "acc_now_delinq", _any, 0, 0.2),
    Feature("instalment loans, 6 months", "open_il_6m", np.log1p, 1.1, 0.6),
    Feature("new ones, 12 months", "open_il_12m", np.log1p, 0.4, 0.45),
    Feature("new ones, 24 months", "open_il_24m", np.log1p, 0.8, 0.6),
    Feature("owed on instalments", "total_bal_il", np.log1p, 9, 3.5),
    Feature("all limits used", "all_util", _share, 0.6, 0.2),
    Feature("inquiries, personal finance", "inq_fi", np.log1p, 0.5, 0.55),
    Feature("inquiries, 12 months", "inq_last_12m", np.log1p, 1, 0.6),
    Feature("amount late", "delinq_amnt", _any, 0, 0.2),
    Feature("instalment accounts", "num_il_tl", np.log1p, 2, 0.75),
    Feature("instalment limits", "total_il_high_credit_limit", np.log1p, 9.5, 3.5),
)
COLUMNS = tuple(dict.fromkeys(feature.column for feature in FEATURES))
"""What a bank's table must have beside the label."""


def on_agreed_scale(table: Floats) -> Floats:
    """Return features [n, P] of a table [n, C] of COLUMNS in their order, words as their place."""
    place = {column: at for at, column in enumerate(COLUMNS)}
    columns = [
        (feature.of(table[:, place[feature.column]]) - feature.centre) / feature.width
        for feature in FEATURES
    ]
    return np.clip(np.stack(columns, axis=1), -BOUND, BOUND)
