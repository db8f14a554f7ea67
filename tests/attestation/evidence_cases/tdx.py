"""Rows of tdx/ in the evidence folder, and further cases made of the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedenclave.attestation.format import Parts
from fedenclave.attestation.intel import tdx
from fedenclave.attestation.intel.quote import TDX_TEE
from tests.attestation.cases import Case
from tests.attestation.evidence_cases.intel_quote import (
    SPR_QUOTE,
    SPR_SIZE,
    TDX_COLLATERAL,
    TDX_QUOTE,
    collateral,
    quote_part,
    read,
    reported,
)

NEAR_QUOTE, NEAR_COLLATERAL = (
    "tdx/phala/near_quote_hex.txt",
    "tdx/phala/near_quote_collateral.json",
)
V5_QUOTE = "tdx/gotdx/quote_v5_sample.dat"
COLLATERAL_90C06F = "tdx/phala/tdx_quote_outdated_collateral.json"
COS_QUOTE, COS_LOG = "tdx/gotdx/ccel_cos-113-tdx-quote.dat", "tdx/gotdx/ccel_ccel_data.dat"
ZEROS = "00" * 48


def tdx_policy(exceptions: str = "", **changes: str) -> str:
    values = {
        "mrtd": f'["{ZEROS}"]',
        "rtmr0": '["any"]',
        "rtmr1": '["any"]',
        "rtmr2": '["any"]',
        "rtmr3": '["any"]',
        "events": "[]",
        "mrseam": '["any"]',
        "td_attributes": '["0000001000000000"]',
        "xfam": '["e702060000000000", "0702000000000000", "e742060000000000", "e718060000000000"]',
        "mrconfigid": f'["{ZEROS}"]',
        "mrowner": f'["{ZEROS}"]',
        "mrownerconfig": f'["{ZEROS}"]',
        "mrservicetd": f'["{ZEROS}"]',
        "platforms": '["any"]',
        "min_tcb_evaluation_data_number": "17",
        "advisories": "[]",
        "exceptions": f"[{exceptions}]",
    }
    return "\n".join(f"{key} = {value}" for key, value in (values | changes).items())


def tdx_case(name: str, quote: str, policy: str, at: str, used: str = "", **changes) -> Case:
    values = {
        "rows": (quote, used) if used else (quote,),
        "format": tdx.FORMAT,
        "parts": quote_part(quote),
        "policy": policy,
        "bound": reported(quote, TDX_TEE),
        "at": at,
        "collateral": collateral(used) if used else None,
    }
    return Case(name=name, **(values | changes))


def cos(log: str) -> Callable[[Path], Parts]:
    """The quote of the Container-Optimized OS guest, with an event log."""
    return lambda folder: {"quote": read(folder, COS_QUOTE), "event-log": read(folder, log)}


def without_text(folder: Path) -> Parts:
    return {"quote": read(folder, SPR_QUOTE)[:SPR_SIZE]}


PHALA_TD = {
    "mrtd": '["91eb2b44d141d4ece09f0c75c2c53d247a3c68edd7fafe8a3520c942a604a407'
    'de03ae6dc5f87f27428b2538873118b7"]',
    "rtmr0": '["44c0197b39157fdd7a4dcc44767f9d6b0bb3977c7a8e347b8492f827fe9d9e5c'
    '48aca29b220b80b6a540cf994b9bc9c0"]',
    "rtmr1": '["0084452c01668329d4bc06acdf58a7205c26743304509973949e5619bf81a6a7'
    'aea8c323c173019b3093d54e579e9378"]',
    "rtmr2": '["d833feef2cd945148aa38ead2c53e9b7f138190aaaebfc551dccd829fc207aa3'
    'ba80b70870d7330733642e01d48c3132"]',
    "rtmr3": f'["{ZEROS}"]',
    "platforms": '["811dca2a26b952e85bb6448b097ba4fd"]',
}
V5_TD = {
    "mrtd": '["7348651a34b2d2d3462822e3a750ec6110125f36757c78480bbfc69cc0d21fb0'
    '01a1ced3ee19747dda8f750c3bc8f876"]',
    "rtmr0": '["5c8daf76063a71ac8fcef4067564661fc682ed7944c7a5d21dbbced02f61ceff'
    '4ba0678c6aef3bdae8cbc614cec24619"]',
    "platforms": '["056d0350250988808a9d09103f3e54d5"]',
    "min_tcb_evaluation_data_number": "18",
}
NEAR_TD = {
    "mrtd": '["f06dfda6dce1cf904d4e2bab1dc370634cf95cefa2ceb2de2eee127c93826980'
    '90d7a4a13e14c536ec6c9c3c8fa87077"]',
    "mrconfigid": '["0112a20aed7d6c68601e9f6e108a93b4199ae7231684307ffc4833c9cd08d45d'
    'e7000000000000000000000000000000"]',
}
COS_TD = {
    "mrtd": '["dae67181d3d65e073ad8f95b7907d5e927bfe9761c9ff3e9b89734a45d8954db'
    'a41394c7717cb2735396c1d04231f94a"]',
    "xfam": '["e700060000000000"]',
}
SERVICE_TD = {
    "mrtd": '["dfba221b48a22af8511542ee796603f37382800840dcd978703909bf8e64d4c8'
    'a1e9de86e7c9638bfcba422f3886400a"]'
}
MRSERVICETD = (
    '["383c87d3bbb047b2d171eaca95312ede99f258088dc788f6ae2ccf8b6dd848fe'
    '8d47629e08b3f6cbd4a00dd47a5a033d"]'
)
AGE = "age of intel/pck-crl-platform.der"
LOG_ROWS = (COS_QUOTE, COS_LOG)

CASES: list[Case] = [
    tdx_case(
        "phala td",
        TDX_QUOTE,
        tdx_policy(**PHALA_TD),
        "2025-06-20",
        TDX_COLLATERAL,
        mutate=("quote",),
    ),
    tdx_case(
        "phala td today: its collateral is stale",
        TDX_QUOTE,
        tdx_policy(**PHALA_TD),
        "2026-11-25",
        TDX_COLLATERAL,
        refused="age of intel/root-ca-crl.der",
    ),
    tdx_case(
        "phala td with collateral older than the policy allows",
        TDX_QUOTE,
        tdx_policy(**PHALA_TD),
        "2025-06-25",
        TDX_COLLATERAL,
        max_age_seconds=24 * 3600,
        refused=AGE,
    ),
    tdx_case(
        "phala td for another nonce",
        TDX_QUOTE,
        tdx_policy(**PHALA_TD),
        "2025-06-20",
        TDX_COLLATERAL,
        bound="00" * 64,
        refused="report data",
    ),
    tdx_case(
        "phala td with a kernel that is not pinned",
        TDX_QUOTE,
        tdx_policy(**PHALA_TD | {"rtmr1": f'["{ZEROS}"]'}),
        "2025-06-20",
        TDX_COLLATERAL,
        refused="rtmr1",
    ),
    tdx_case(
        "phala td where a newer tcb recovery is wanted",
        TDX_QUOTE,
        tdx_policy(**PHALA_TD, min_tcb_evaluation_data_number="18"),
        "2025-06-20",
        TDX_COLLATERAL,
        refused="tcb evaluation data number",
    ),
    tdx_case(
        "phala td with the collateral of another platform",
        TDX_QUOTE,
        tdx_policy(**PHALA_TD),
        "2026-02-19",
        COLLATERAL_90C06F,
        refused="collateral",
        found="missing",
    ),
    tdx_case(
        "near td",
        NEAR_QUOTE,
        tdx_policy(**NEAR_TD),
        "2025-09-03",
        NEAR_COLLATERAL,
        mutate=("quote",),
    ),
    tdx_case(
        "near td whose configuration id is not pinned",
        NEAR_QUOTE,
        tdx_policy(**NEAR_TD | {"mrconfigid": f'["{ZEROS}"]'}),
        "2025-09-03",
        NEAR_COLLATERAL,
        refused="mrconfigid",
    ),
    tdx_case(
        "td of version 5",
        V5_QUOTE,
        tdx_policy(**V5_TD),
        "2026-02-19",
        COLLATERAL_90C06F,
        mutate=("quote",),
    ),
    tdx_case(
        "td of version 5 with tcb info of another day",
        V5_QUOTE,
        tdx_policy(**V5_TD),
        "2026-02-19",
        collateral=collateral(
            COLLATERAL_90C06F, tdx_tcb_info="tdx/gotdx/sample_tcbinfo_response_v5"
        ),
        mutate=("quote",),
    ),
    *(
        tdx_case(
            f"td {name}, older than every tcb level",
            f"tdx/phala/{name}",
            tdx_policy(),
            "2025-06-20",
            TDX_COLLATERAL,
            refused="tcb level",
            found="below every level",
        )
        for name in ("quote-from-tappd.hex", "tdx-quote.hex")
    ),
    tdx_case(
        "td of version 5, older than every tcb level",
        "tdx/phala/tdx_quote_outdated",
        tdx_policy(),
        "2026-02-19",
        COLLATERAL_90C06F,
        refused="tcb level",
        found="below every level",
    ),
    tdx_case(
        "td with a service td that is excepted, older than every tcb level",
        "tdx/trustee/tdx_quote_5.dat",
        tdx_policy(exceptions='"service-td"', **SERVICE_TD, mrservicetd=MRSERVICETD),
        "2026-02-19",
        COLLATERAL_90C06F,
        refused="tcb level",
        found="below every level",
    ),
    tdx_case(
        "td with a service td",
        "tdx/trustee/tdx_quote_5.dat",
        tdx_policy(**SERVICE_TD),
        "2026-02-19",
        COLLATERAL_90C06F,
        refused="service td",
        found="383c87d3",
    ),
    tdx_case(
        "debug td",
        "tdx/trustee/tdx_quote_4.dat",
        tdx_policy(),
        "2026-01-12",
        refused="debug",
    ),
    tdx_case(
        "debug td with debug excepted: all but the collateral holds",
        "tdx/trustee/tdx_quote_4.dat",
        tdx_policy(exceptions='"debug"'),
        "2026-01-12",
        refused="collateral",
    ),
    # The collateral that makes it OutOfDate is not in the folder; without any it is refused too.
    tdx_case(
        "td out of date, without collateral",
        "tdx/trustee/tdx_quote_6.dat",
        tdx_policy(),
        "2026-01-12",
        refused="collateral",
    ),
    tdx_case(
        "td on google cloud: signatures and event log hold, collateral is missing",
        COS_QUOTE,
        tdx_policy(**COS_TD),
        "2025-06-20",
        rows=LOG_ROWS,
        parts=cos(COS_LOG),
        refused="collateral",
    ),
    tdx_case(
        "td on google cloud with the event log of another machine",
        COS_QUOTE,
        tdx_policy(**COS_TD),
        "2025-06-20",
        rows=LOG_ROWS,
        parts=cos("tdx/trustee/CCEL_data_ovmf"),
        refused="event log",
        found="rtmr0, rtmr1, rtmr2",
    ),
    tdx_case(
        "td on google cloud with something else than a log",
        COS_QUOTE,
        tdx_policy(**COS_TD),
        "2025-06-20",
        rows=LOG_ROWS,
        parts=cos(COS_QUOTE),
        refused="structure",
    ),
    tdx_case(
        "td of sapphire rapids, without the text behind its quote: the signatures hold",
        SPR_QUOTE,
        tdx_policy(exceptions='"sept-ve"'),
        "2025-06-20",
        parts=without_text,
        refused="collateral",
    ),
    tdx_case(
        "td of sapphire rapids, with the text behind its quote",
        SPR_QUOTE,
        tdx_policy(exceptions='"sept-ve"'),
        "2025-06-20",
        refused="structure",
        found="39 bytes after its end",
    ),
    tdx_case(
        "td judged after its pck certificate",
        COS_QUOTE,
        tdx_policy(**COS_TD),
        "2031-07-03",
        refused="pck chain validity",
    ),
]
