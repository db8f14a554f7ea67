"""The aggregation file: every template is one, comes back as it was, and goes into the manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedenclave.cli.aggregation_file import read_aggregation
from fedenclave.protocol.aggregation import MEAN, NO_OPTIMISER, OPTIMISERS, RULES, TrimmedMean
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Manifest
from tests.cli.conftest import Command, init_words


@pytest.mark.parametrize("rule", [kind.RULE for kind in RULES])
def test_every_rules_template_is_read_as_that_rule(
    rule: str, fedenclave: Command, tmp_path: Path
) -> None:
    done = fedenclave("federation", "rule-template", rule)
    assert done.status == 0, done.err
    (tmp_path / "rules.toml").write_text(done.out)
    made, server, metrics = read_aggregation(tmp_path / "rules.toml")
    assert (made.RULE, server, metrics) == (rule, NO_OPTIMISER, ())


@pytest.mark.parametrize("optimiser", [kind.OPTIMISER for kind in OPTIMISERS])
def test_every_optimisers_template_is_read_as_that_optimiser(
    optimiser: str, fedenclave: Command, tmp_path: Path
) -> None:
    done = fedenclave("federation", "rule-template", "mean", "--optimiser", optimiser)
    (tmp_path / "rules.toml").write_text(done.out)
    made, server, _ = read_aggregation(tmp_path / "rules.toml")
    assert (made, server.OPTIMISER) == (MEAN, optimiser)


def test_the_manifest_names_what_the_file_says_and_show_tells_it(
    enrolled: Path, fedenclave: Command
) -> None:
    source = fedenclave("federation", "rule-template", "trimmed-mean").out
    (enrolled / "rules.toml").write_text(source.replace("metrics = []", 'metrics = ["loss"]'))
    words = [*init_words(enrolled), "--aggregation", enrolled / "rules.toml"]
    assert fedenclave(*words).status == 0
    manifest = Manifest.from_bytes((enrolled / "federation.toml").read_bytes())
    assert (manifest.rules.rule, manifest.rules.metrics) == (TrimmedMean(trim=0.2), ("loss",))
    shown = fedenclave("federation", "show", enrolled / "federation.toml").out
    assert "trimmed-mean (trim 0.2)" in shown
    assert "loss" in shown


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"trimmed-mean"', '"typo"', "rule is 'typo', want one of mean"),
        ("trim = 0.2", "trim = 0.6", "trim is 0.6"),
        ("trim = 0.2", "", "has no trim"),
        ("trim = 0.2", "trim = 0.2\nodd = 1", "unknown keys: odd"),
        ('"none"', '"adam"', "has no eta"),
        ("metrics = []", 'metrics = ["a b"]', "metric is named 'a b'"),
        ("metrics = []", "", "metrics is not a list"),
        ("[server]", "[[server]]", "has no table .server."),
    ],
)
def test_a_mistake_in_the_file_is_named(
    old: str, new: str, message: str, fedenclave: Command, tmp_path: Path
) -> None:
    source = fedenclave("federation", "rule-template", "trimmed-mean").out
    assert old in source
    (tmp_path / "rules.toml").write_text(source.replace(old, new))
    with pytest.raises(ConfigurationError, match=message):
        read_aggregation(tmp_path / "rules.toml")


def test_more_clients_than_the_roster_has_are_refused_when_the_manifest_is_made(
    enrolled: Path, fedenclave: Command
) -> None:
    (enrolled / "rules.toml").write_text(fedenclave("federation", "rule-template", "bulyan").out)
    done = fedenclave(*init_words(enrolled), "--aggregation", enrolled / "rules.toml")
    assert done.status == 1
    assert "rule bulyan needs 7 clients, and the roster has 3" in done.err
    assert not (enrolled / "federation.toml").exists()


def test_an_unknown_rule_has_no_template(fedenclave: Command) -> None:
    done = fedenclave("federation", "rule-template", "maen")
    assert done.status == 1
    assert "want one of mean" in done.err
