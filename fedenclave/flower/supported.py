"""Which rule of the enclave's a Flower strategy stands for.

The strategy's own aggregation is never called: the enclave computes it, as the approved manifest
says. So a strategy whose rule the enclave does not have is refused, and never quietly averaged.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flwr.serverapp.strategy import (
    Bulyan,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
    Strategy,
)
from flwr.serverapp.strategy.multikrum import select_multikrum
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords

from fedenclave.protocol import aggregation as rules
from fedenclave.protocol.aggregation import MEAN, NO_OPTIMISER, Rule, ServerOptimiser, shown
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Rules
from fedenclave.simulation.federation import DEFAULT_RULES


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What the enclave is to compute for a strategy."""

    rule: Rule = MEAN
    server: ServerOptimiser = NO_OPTIMISER


def computed_for(strategy: Strategy) -> Computed:
    """Return the rule and the server optimiser that `strategy` stands for.

    Raises:
        ConfigurationError: the enclave does not compute it, or it is a class of the user's own with
            an aggregation of its own.
    """
    known = next((kind for kind in _KNOWN if isinstance(strategy, kind)), None)
    if known is None or _changes(strategy, known):
        raise ConfigurationError(
            f"strategy {type(strategy).__name__} {_why_not(strategy)}",
            hint="use one of "
            + ", ".join(sorted(kind.__name__ for kind in _KNOWN))
            + "; a rule of your own goes into the enclave's image: aggregator/own-rules/README.md",
        )
    return _of(strategy)


_MAY_CHANGE = {
    "__init__",
    "aggregate_evaluate",
    "configure_evaluate",
    "configure_train",
    "start",
    "summary",
}
"""What a subclass may do otherwise: none of it touches how updates are combined."""


def _changes(strategy: Strategy, known: type[Strategy]) -> bool:
    """Return whether a subclass, or the object itself, has a method of `known`'s of its own."""
    kinds = type(strategy).__mro__
    places = [*map(vars, kinds[: kinds.index(known)]), vars(strategy)]
    names = {name for place in places for name in place} - _MAY_CHANGE
    return any(inspect.isroutine(getattr(known, name, None)) for name in names)


# Subclasses before their bases: Krum is a MultiKrum, and each is a FedAvg.
_KNOWN: tuple[type[Strategy], ...] = (
    FedAvgM,
    FedAdagrad,
    FedAdam,
    FedYogi,
    FedMedian,
    FedTrimmedAvg,
    Krum,
    MultiKrum,
    Bulyan,
    QFedAvg,
    FedProx,
    FedAvg,
)


def _of(strategy: Strategy) -> Computed:
    match strategy:
        case FedAvgM():
            return Computed(server=_momentum(strategy))
        case FedAdagrad():
            return Computed(server=rules.Adagrad(eta=strategy.eta, tau=strategy.tau))
        case FedAdam():
            return Computed(server=rules.Adam(**_moments(strategy)))
        case FedYogi():
            return Computed(server=rules.Yogi(**_moments(strategy)))
        case FedMedian():
            return Computed(rule=rules.Median())
        case FedTrimmedAvg():
            return Computed(rule=rules.TrimmedMean(trim=strategy.beta))
        case Krum():
            return Computed(rule=rules.Krum(byzantine=strategy.num_malicious_nodes))
        case MultiKrum():
            return Computed(
                rule=rules.MultiKrum(
                    byzantine=strategy.num_malicious_nodes, selected=strategy.num_nodes_to_select
                )
            )
        case Bulyan():
            return Computed(rule=_bulyan(strategy))
        case QFedAvg():
            return Computed(
                rule=rules.QFedAvg(
                    q=strategy.q,
                    client_learning_rate=strategy.client_learning_rate,
                    loss=strategy.train_loss_key,
                )
            )
    return Computed()


def _momentum(strategy: FedAvgM) -> ServerOptimiser:
    if not strategy.server_opt:
        return NO_OPTIMISER
    return rules.Momentum(
        learning_rate=strategy.server_learning_rate, momentum=strategy.server_momentum
    )


def _moments(strategy: FedAdam | FedYogi) -> dict[str, float]:
    return {
        "eta": strategy.eta,
        "beta_1": strategy.beta_1,
        "beta_2": strategy.beta_2,
        "tau": strategy.tau,
    }


def _bulyan(strategy: Bulyan) -> Rule:
    if strategy.selection_rule is not select_multikrum:
        raise ConfigurationError(
            "strategy Bulyan is given a selection rule of its own, which the enclave does not have",
            hint="leave selection_rule out",
        )
    return rules.Bulyan(byzantine=strategy.num_malicious_nodes)


def _why_not(strategy: Strategy) -> str:
    if isinstance(strategy, FedXgbBagging | FedXgbCyclic):
        return "sends trees, and the enclave combines arrays of numbers"
    if type(strategy).__name__.startswith("DifferentialPrivacy"):
        return "adds noise of its own, and this version's manifests have no differential privacy"
    return "computes a rule of its own, which this version's enclave does not"


def computed_together(strategy: Strategy, given: Rules | None) -> Computed:
    """Return what is computed for `strategy` where rules are named beside it.

    The geometric median, a rule of the federation's own, and most pairs of a rule and an optimiser
    are no strategy of Flower's. Then one that stands for the plain mean, or for one of the two,
    chooses the nodes, and `given` says the rest.

    Args:
        strategy: Flower's own.
        given: whose rule and optimiser are meant, but for what is plain there.

    Raises:
        ConfigurationError: see `computed_for`; or both name a rule, or an optimiser, and not the
            same.
    """
    computed = computed_for(strategy)
    if given is None:
        return computed
    both = Computed(
        rule=given.rule if computed.rule == MEAN else computed.rule,
        server=given.server if computed.server == NO_OPTIMISER else computed.server,
    )
    named = Computed(
        rule=both.rule if given.rule == MEAN else given.rule,
        server=both.server if given.server == NO_OPTIMISER else given.server,
    )
    if both != named:
        raise ConfigurationError(
            f"strategy {type(strategy).__name__} stands for "
            f"{shown(computed.rule, computed.server)}, and the rules beside it for "
            f"{shown(given.rule, given.server)}",
            hint="name one of them only: wrap FedAvg, or leave the rules' own as they are",
        )
    return both


def development_rules(computed: Computed, strategy: Strategy, given: Rules | None) -> Rules:
    """Return the rules of a development federation.

    Args:
        computed: what the enclave computes.
        strategy: names the metric that counts examples.
        given: bounds and weights; None for ones that refuse little.

    Raises:
        ConfigurationError: `given` weighs by another metric than the strategy.
    """
    if given is None:
        key = str(getattr(strategy, "weighted_by_key", DEFAULT_RULES.weighted_by))
        given = replace(DEFAULT_RULES, min_cohort=2, weighted_by=key)
    # A loss takes the place of a weight.
    weighting = "uniform" if isinstance(computed.rule, rules.QFedAvg) else given.weighting
    made = replace(given, rule=computed.rule, server=computed.server, weighting=weighting)
    check_agreed(computed, made, strategy)
    return made


def not_called(strategy: Strategy) -> Sequence[str]:
    """Return the names of functions of the user's own that the strategy is given in vain."""
    names = ("train_metrics_aggr_fn", "evaluate_metrics_aggr_fn")
    return [n for n in names if getattr(strategy, n, None) not in (None, aggregate_metricrecords)]


def check_agreed(computed: Computed, agreed: Rules, strategy: Strategy) -> None:
    """Refuse a strategy that stands for another rule than the manifest's.

    Raises:
        ConfigurationError: it does.
    """
    weighs_by = getattr(strategy, "weighted_by_key", agreed.weighted_by)
    if weighs_by != agreed.weighted_by:
        raise ConfigurationError(
            f"strategy {type(strategy).__name__} weighs by {weighs_by!r}, and the rules by "
            f"{agreed.weighted_by!r}",
            hint="name the same metric in both",
        )
    if (computed.rule, computed.server) == (agreed.rule, agreed.server):
        return
    raise ConfigurationError(
        f"strategy {type(strategy).__name__} stands for {shown(computed.rule, computed.server)}, "
        f"and the members have approved {shown(agreed.rule, agreed.server)}",
        hint="use the strategy and the parameters that the manifest names",
    )
