"""The file that says how a federation aggregates: rule, server optimiser, released metrics.

`federation init --aggregation` reads it; `federation rule-template` prints one to begin with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedenclave.cli.terminal import say
from fedenclave.client.files import read_file
from fedenclave.protocol.aggregation import (
    MEAN,
    NO_OPTIMISER,
    Adagrad,
    Adam,
    Bulyan,
    GeometricMedian,
    Krum,
    Mean,
    Median,
    Momentum,
    MultiKrum,
    OwnRule,
    QFedAvg,
    Rule,
    ServerOptimiser,
    TrimmedMean,
    Yogi,
    checked_metric,
    read_optimiser,
    read_rule,
    to_toml,
)
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import parse

_RULES: tuple[tuple[Rule, str], ...] = (
    (Mean(), "FedAvg, FedProx: the mean, weighted by examples."),
    (
        Median(),
        "FedMedian: of every parameter the median; fewer than half of the clients cannot drag it\n"
        "away. What only few clients have learned is lost with it.",
    ),
    (
        TrimmedMean(trim=0.2),
        "FedTrimmedAvg: of every parameter the mean without the extremes.",
    ),
    (
        Krum(byzantine=1),
        "Krum: the release IS one client's own update; whoever holds the model before it can read\n"
        "that update off. multi-krum releases a mean.",
    ),
    (
        MultiKrum(byzantine=1, selected=3),
        "MultiKrum: the mean of the updates nearest to their neighbours.",
    ),
    (
        Bulyan(byzantine=1),
        "Bulyan: multi-krum's choice, then the values nearest to the median.",
    ),
    (
        GeometricMedian(iterations=10, smoothing=1e-6, tolerance=1e-6),
        "The point nearest to all updates (RFA), over the whole model. A client with nearly half\n"
        "of the examples IS that point: weigh uniformly, or keep weight_cap low.",
    ),
    (
        QFedAvg(q=0.1, client_learning_rate=0.1, loss="train_loss"),
        "QFedAvg: who has a higher loss counts more. Needs --weighting uniform. A client that\n"
        "claims a huge loss outweighs all others, and with q above 1 or so the release is nearly\n"
        "the update of whoever has the highest.",
    ),
    (
        OwnRule(name="majority_sign", parameters={"step": 0.001}),
        "A rule of your own in the enclave's image: aggregator/own-rules/README.md.",
    ),
)
"""What a template says of each rule, and parameters to begin with."""

_OPTIMISERS: tuple[ServerOptimiser, ...] = (
    NO_OPTIMISER,
    Momentum(learning_rate=1.0, momentum=0.9),
    Adagrad(eta=0.1, tau=0.001),
    Adam(eta=0.1, beta_1=0.9, beta_2=0.99, tau=0.001),
    Yogi(eta=0.1, beta_1=0.9, beta_2=0.99, tau=0.001),
)
_RULE_NAMES = ", ".join(rule.RULE for rule, _ in _RULES)
_OPTIMISER_NAMES = ", ".join(optimiser.OPTIMISER for optimiser in _OPTIMISERS)


def read_aggregation(path: Path | None) -> tuple[Rule, ServerOptimiser, tuple[str, ...]]:
    """Return the rule, the optimiser and the released metrics; without a file the plain mean.

    Raises:
        ConfigurationError: the file cannot be read, or does not say exactly what is wanted.
    """
    if path is None:
        return MEAN, NO_OPTIMISER, ()
    table = parse(read_file(path, "aggregation file"), str(path))
    rule = read_rule(table.take_text("rule"), table.take_table("parameters"))
    server = read_optimiser(table.take_table("server"))
    metrics = tuple(map(checked_metric, table.take_texts("metrics")))
    table.finish()
    return rule, server, metrics


def rule_template(
    rule: Annotated[str, typer.Argument(help=f"One of: {_RULE_NAMES}.")],
    optimiser: Annotated[str, typer.Option(help=f"One of: {_OPTIMISER_NAMES}.")] = "none",
) -> None:
    """Print a file for `federation init --aggregation` to begin with."""
    made, about = {each[0].RULE: each for each in _RULES}.get(rule, (None, ""))
    server = {each.OPTIMISER: each for each in _OPTIMISERS}.get(optimiser)
    if made is None:
        raise ConfigurationError(f"rule is {rule[:80]!r}, want one of {_RULE_NAMES}")
    if server is None:
        raise ConfigurationError(f"optimiser is {optimiser[:80]!r}, want one of {_OPTIMISER_NAMES}")
    lines = [
        *(f"# {line}" for line in about.splitlines()),
        f'rule = "{made.RULE}"',
        "metrics = []  # clients' metrics whose mean leaves the enclave with every release",
        "",
        "[parameters]  # SPEC.md, section 10.1, says what each means",
        *(f"{key} = {value}" for key, value in to_toml(made).items()),
        "",
        "[server]  # what turns the combined update into the model's step",
        f'optimiser = "{server.OPTIMISER}"',
        *(f"{key} = {value}" for key, value in to_toml(server).items()),
    ]
    for line in lines:
        say(line)
