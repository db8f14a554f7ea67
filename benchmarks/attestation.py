"""How long does a client take to judge evidence, and what does a cohort's one quote save?

Real evidence is judged where `../shared/evidence` lies beside the checkout (it is not a part of
it): for each format the sample whose median is the longest. Elsewhere synthetic evidence of three
formats. The policy is parsed beforehand, the collateral read; every check is made.

For a cohort: one piece of evidence over the root of all nonces, with an inclusion path for each
client, beside one piece of evidence for each. Making evidence is timed on swtpm where it is
installed: a software TPM, faster than a real one.
"""

from __future__ import annotations

import secrets
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.measure import options_parser, publish, timed
from benchmarks.rows import Row
from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import read_format_policy
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.attesters.tpm import TpmAttester
from fedenclave.protocol import merkle
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.toml_table import parse
from tests.attestation import fake_amd, intel_appraisal, snp_federation
from tests.attestation.cases import EVIDENCE, Case
from tests.attestation.evidence_cases import CASES
from tests.tpm.swtpm import Maker, SoftwareTpm, missing

CLIENTS = 100
LIMITS = {"nitro": 10.0}
LIMIT = 5.0
"""Milliseconds that are aimed at."""

Work = Callable[[], object]


def real(case: Case) -> Work:
    """Return what appraises a case, everything that can be prepared having been."""
    policy = read_format_policy(case.format, parse(case.policy.encode(), "policy"))
    parts, question = case.parts(EVIDENCE), case.question(EVIDENCE)
    return lambda: appraise_parts(parts, policy, question)


def synthetic() -> Iterator[tuple[str, Work]]:
    """Yield formats and what appraises evidence of a made-up vendor."""
    intel = intel_appraisal.INTEL
    for format_, quote in (
        (intel_appraisal.SGX, intel.sgx_quote(report_data=intel_appraisal.BOUND)),
        (intel_appraisal.TDX, intel.td_quote(report_data=intel_appraisal.BOUND)),
    ):
        bundle = from_mapping(intel.collateral(format_.name.upper()), fake_amd.NOW)
        policy, question = intel_appraisal.policy(format_), intel_appraisal.question(bundle)
        yield (
            format_.name,
            lambda q=quote, p=policy, a=question: appraise_parts({"quote": q}, p, a),
        )
    parts = snp_federation.evidence()
    yield "sev-snp", lambda: snp_federation.appraise(parts)


def median_ms(work: Work, times: int) -> float:
    """Return the median of several runs in milliseconds, after one that warms caches."""
    work()
    return 1000 * statistics.median(timed(work)[1] for _ in range(times))


def verification(times: int) -> dict[str, dict[str, Any]]:
    """Return for each format the slowest sample's median, and how many samples there were."""
    found: dict[str, dict[str, Any]] = {}
    works = (
        [(case.format.name, real(case)) for case in CASES if not case.refused]
        if EVIDENCE.is_dir()
        else list(synthetic())
    )
    for name, work in works:
        slowest = found.setdefault(name, {"milliseconds": 0.0, "samples": 0})
        slowest["milliseconds"] = max(slowest["milliseconds"], median_ms(work, times))
        slowest["samples"] += 1
    return dict(sorted(found.items()))


def cohort(times: int) -> dict[str, float]:
    """Return milliseconds of what a cohort's one quote needs besides the quote."""
    nonces = [secrets.token_bytes(32) for _ in range(CLIENTS)]
    root, paths = merkle.root(nonces), merkle.inclusion_paths(nonces)

    def check() -> None:
        for index, (nonce, path) in enumerate(zip(nonces, paths, strict=True)):
            found = merkle.root_from_path(nonce, index=index, size=CLIENTS, path=path)
            assert found == root

    return {
        "tree": median_ms(lambda: merkle.inclusion_paths(nonces), times),
        "all_paths_checked": median_ms(check, times),
    }


def tpm_evidence(times: int) -> float | None:
    """Return milliseconds of one piece of evidence on swtpm, a process start left out; or None."""
    if missing():
        return None
    with tempfile.TemporaryDirectory() as folder:
        tpm = SoftwareTpm(Maker(Path(folder)).make(Path(folder) / "state"))
        tpm.switch_on()
        try:
            return _quotes(tpm, times)
        finally:
            tpm.close()


def _quotes(tpm: SoftwareTpm, times: int) -> float:
    # The enclave's own code, in this process; any digest does for a measurement.
    attester = TpmAttester(Kernel(), Path(tpm.path), sha256(b"benchmark"))
    key = Ed25519PrivateKey.generate()
    return median_ms(lambda: attester.evidence(secrets.token_bytes(64), key), times)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    options = options_parser("attestation", __doc__).parse_args(arguments)
    machine = describe_machine()
    times = 2 if options.quick else 50
    formats, tree = verification(times), cohort(times)
    quote = None if options.quick else tpm_evidence(times)
    source = "real" if EVIDENCE.is_dir() else "synthetic"
    table = Table(title=f"judging {source} evidence, one core")
    for heading in ("format", "samples", "slowest sample, ms (median)", "aim, ms"):
        table.add_column(heading)
    for name, found in formats.items():
        aim = LIMITS.get(name, LIMIT)
        table.add_row(name, str(found["samples"]), f"{found['milliseconds']:.2f}", f"{aim:g}")
    result: dict[str, Any] = {
        "machine": machine,
        "source": source,
        "formats": formats,
        "clients": CLIENTS,
        "cohort": tree,
        "tpm_evidence": quote,
    }
    slow = [n for n, f in formats.items() if f["milliseconds"] > LIMITS.get(n, LIMIT)]
    missed = f"Missed the aim: {', '.join(slow)}." if slow else "Every format is within the aim."
    rows = [
        Row(
            question=f"a client judges {source} evidence: {name}",
            unit="ms",
            ours=found["milliseconds"],
            at_most=LIMITS.get(name, LIMIT),
            note=f"the slowest of {found['samples']} samples, one core",
        )
        for name, found in formats.items()
    ]
    publish(table, f"{missed}\n{_verdict(tree, quote)}", result, options.json, rows=rows)
    return 0


def _verdict(tree: dict[str, float], quote: float | None) -> str:
    line = (
        f"{CLIENTS} clients, one piece of evidence: nonces' tree and paths {tree['tree']:.2f} ms, "
        f"and {tree['all_paths_checked'] / CLIENTS:.3f} ms for each client to check its own."
    )
    if quote is None:
        return line
    together, each = quote + tree["tree"], CLIENTS * quote
    return (
        f"{line}\nOn swtpm, evidence takes {quote:.2f} ms: {together:.1f} ms for the cohort "
        f"together, {each:.0f} ms one by one, {each / together:.0f} times as long."
    )


if __name__ == "__main__":
    sys.exit(main())
