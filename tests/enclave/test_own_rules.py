"""A rule of the federation's own: measured, computed, and checked where it slips."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fedenclave
import fedenclave.enclave.own_rules
from fedenclave.host.enclave_process import measure_enclave
from fedenclave.protocol.aggregation import OwnRule
from fedenclave.protocol.errors import ConfigurationError, Refusal, RequestRefused
from fedenclave.protocol.manifest import Rules
from fedenclave.simulation.federation import DEFAULT_RULES, SimulatedFederation
from tests.enclave.cohort import Cohort

EXAMPLE = Path(__file__).resolve().parents[2] / "aggregator" / "own-rules" / "majority_sign.py"
RNG = np.random.default_rng(5)
BASE = {"w": RNG.standard_normal(9000).astype(np.float32)}
TRAINED = [{"w": (BASE["w"] + RNG.standard_normal(9000)).astype(np.float32)} for _ in range(5)]
Install = Callable[[str, str], Rules]


def own(name: str, **parameters: float) -> Rules:
    return replace(DEFAULT_RULES, rule=OwnRule(name=name, parameters=parameters))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a file into the package of own rules, for this test and process alone."""
    monkeypatch.setattr(fedenclave.enclave.own_rules, "__path__", [str(tmp_path)])

    def put(name: str, source: str) -> Rules:
        # Python keeps a module that it has loaded: each test's file is to be its own.
        monkeypatch.delitem(sys.modules, f"fedenclave.enclave.own_rules.{name}", raising=False)
        (tmp_path / f"{name}.py").write_text(source)
        return own(name)

    return put


def released(rules: Rules) -> np.ndarray:
    return Cohort.of(BASE, TRAINED, [1, 2, 3, 4, 5]).released_arrays(rules)["w"]


def test_the_example_is_computed_by_a_real_enclave_and_changes_its_measurement(
    tmp_path: Path,
) -> None:
    package = Path(fedenclave.__file__).parent
    for part in ("enclave", "protocol"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package / part, tmp_path / "fedenclave" / part, ignore=ignore)
    shutil.copy(package / "__init__.py", tmp_path / "fedenclave")
    shutil.copy(EXAMPLE, tmp_path / "fedenclave" / "enclave" / "own_rules")
    names = ("client-0", "client-1", "client-2")
    trained = dict(zip(names, TRAINED, strict=False))
    rules = own("majority_sign", step=0.25)

    def train(name: str, _: object) -> tuple[dict[str, np.ndarray], int]:
        return trained[name], 1

    approved = json.loads(measure_enclave(tmp_path))["measurement"]
    with SimulatedFederation.create(
        BASE, clients=names, rules=rules, code=tmp_path, measurement=approved
    ) as federation:
        federation.run_round(train)
        votes = sum(np.sign(arrays["w"] - BASE["w"]) for arrays in trained.values())
        np.testing.assert_array_equal(federation.arrays()["w"], BASE["w"] + 0.25 * np.sign(votes))
    with (
        SimulatedFederation.create(BASE, clients=names, rules=rules, code=tmp_path) as federation,
        pytest.raises(RequestRefused, match="cohort-below-min-cohort"),
    ):
        # The members approved the package as it is, without the file: nobody sends anything.
        federation.run_round(train)


def test_coefficients_of_an_own_rule_mix_the_updates(install: Install) -> None:
    source = "def coefficients(gram, weights, parameters):\n    return [0, 0.5, 0, 0.25, 0]\n"
    got = released(install("two", source))
    expected = 0.5 * (TRAINED[1]["w"] - BASE["w"]) + 0.25 * (TRAINED[3]["w"] - BASE["w"])
    np.testing.assert_allclose(got, BASE["w"] + expected, atol=1e-6)


def test_an_own_rule_sees_every_pairs_inner_product_and_the_weights(install: Install) -> None:
    source = """
import numpy as np
def coefficients(gram, weights, parameters):
    assert weights == [1, 2, 3, 4, 5] and gram.shape == (5, 5)
    longest = int(np.argmax(np.diagonal(gram)))
    return [float(k == longest) for k in range(5)]
"""
    got = released(install("longest", source))
    longest = max(TRAINED, key=lambda arrays: np.linalg.norm(arrays["w"] - BASE["w"]))
    np.testing.assert_allclose(got, longest["w"], atol=1e-6)


@pytest.mark.parametrize(
    "source",
    [
        "def coefficients(gram, weights, parameters): return [1, 1, 0, 0, 0]",
        "def coefficients(gram, weights, parameters): return [2, -1, 0, 0, 0]",
        "def coefficients(gram, weights, parameters): return [float('nan')] * 5",
        "def coefficients(gram, weights, parameters): return [1]",
        "def coefficients(gram, weights, parameters): return None",
        "def coefficients(gram, weights, parameters): raise ValueError(gram)",
        "def combine(tile, out, weights, parameters): out[:] = float('inf')",
        "def combine(tile, out, weights, parameters): 1 / 0",
        "def combine(tile, out, weights, parameters): out[:] = 1e300",
    ],
)
def test_what_an_own_rule_slips_in_is_not_released(install: Install, source: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        released(install("slips", source))
    assert refused.value.refusal is Refusal.RULE
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "source",
    [
        "",
        "def combine(*a): ...\ndef coefficients(*a): ...",
        "import nothing_like_this",
        "combine = 1",
        "no python",
        "1 / 0",
    ],
)
def test_a_file_that_defines_no_rule_or_two_is_refused_at_the_start(
    install: Install, source: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        released(install("odd", source))
    assert refused.value.refusal is Refusal.RULE


def test_a_rule_that_the_image_does_not_hold_is_refused_at_the_start() -> None:
    with pytest.raises(RequestRefused) as refused:
        released(own("not_there"))
    assert refused.value.refusal is Refusal.RULE


@pytest.mark.parametrize("name", ["../x", "os.path", "_x", "X", ""])
def test_a_name_that_is_no_file_of_the_folder_never_reaches_the_import(name: str) -> None:
    from fedenclave.protocol.aggregation import read_rule
    from fedenclave.protocol.toml_table import Table

    with pytest.raises(ConfigurationError, match="name is"):
        read_rule("own", Table({"name": name}, "manifest"))
