"""Which rule makes one update of many, and what the server does with it: parameters, as approved.

Two steps, each of the members' choosing. The *rule* combines the clients' updates into one; the
*server optimiser* turns that one into the model's step. Flower's FedAvgM, FedAdagrad, FedAdam and
FedYogi are the mean with an optimiser. Nothing here computes: `fedenclave.enclave.rules` does.

SPEC.md, sections 10 and 11.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeAlias, get_args

from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

MAX_PAIRWISE_CLIENTS = 1024
"""Rules that compare every pair of clients keep a number for each pair: 8 MiB for so many."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

Taken: TypeAlias = Mapping[str, Callable[[Table, str], bool | int | float | str]]
"""A parameter's metadata: under "take", what takes it from its table, within SPEC.md's range."""


def _number(low: float, high: float) -> Taken:
    return {"take": lambda table, key: table.take_number(key, low=low, high=high)}


def _count(low: int, high: int) -> Taken:
    return {"take": lambda table, key: table.take_int(key, low=low, high=high)}


def _metric(table: Table, key: str) -> str:
    return checked_metric(table.take_text(key))


_BYZANTINE = _count(0, 2048)
_LEARNING_RATE = _number(1e-9, 1e3)
_DECAY = _number(0.0, 0.999999)
_LEAST_DIVISOR = _number(1e-12, 1e3)


class _EveryRule:
    """What rules have in common."""

    __slots__ = ()
    RULE: ClassVar[str]

    def least_clients(self) -> int:
        """Return how many updates the rule needs."""
        return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean(_EveryRule):
    """The mean, weighted as `weighting` says (FedAvg: McMahan et al. 2017)."""

    RULE: ClassVar[str] = "mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Median(_EveryRule):
    """The median of every coordinate, unweighted (Yin et al. 2018)."""

    RULE: ClassVar[str] = "median"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimmedMean(_EveryRule):
    """The mean of every coordinate without its extremes, unweighted (Yin et al. 2018).

    Attributes:
        trim: share of the updates that is cut at either end, rounded down; 0 to below 0.5.
    """

    RULE: ClassVar[str] = "trimmed-mean"

    trim: float = field(metadata=_number(0.0, 0.4999))

    def cut(self, clients: int) -> int:
        """Return how many values are cut at either end."""
        return int(self.trim * clients)


@dataclass(frozen=True, slots=True, kw_only=True)
class Krum(_EveryRule):
    """The one update that is nearest to its neighbours (Blanchard et al. 2017).

    The release then *is* one client's update: `releases_one_update` has the members say so.

    Attributes:
        byzantine: how many clients may lie.
    """

    RULE: ClassVar[str] = "krum"

    byzantine: int = field(metadata=_BYZANTINE)
    releases_one_update: bool = field(default=True, metadata={"take": Table.take_bool})

    def __post_init__(self) -> None:
        """Refuse a manifest that does not say what the rule releases."""
        if not self.releases_one_update:
            raise ConfigurationError(
                "krum releases one client's own update, and releases_one_update is false",
                hint="say releases_one_update = true, or use multi-krum, whose release is a mean",
            )

    def least_clients(self) -> int:
        """Return how many updates the rule needs: 2f + 3."""
        return 2 * self.byzantine + 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiKrum(_EveryRule):
    """The weighted mean of the updates nearest to their neighbours (Blanchard et al. 2017).

    Attributes:
        byzantine: how many clients may lie.
        selected: how many updates are averaged.
    """

    RULE: ClassVar[str] = "multi-krum"

    byzantine: int = field(metadata=_BYZANTINE)
    selected: int = field(metadata=_count(1, 8192))

    def least_clients(self) -> int:
        """Return how many updates the rule needs."""
        return max(2 * self.byzantine + 3, self.selected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulyan(_EveryRule):
    """Multi-Krum's selection, then the mean of the values nearest to each coordinate's median.

    El Mhamdi et al. 2018. Unweighted.

    Attributes:
        byzantine: how many clients may lie.
    """

    RULE: ClassVar[str] = "bulyan"

    byzantine: int = field(metadata=_BYZANTINE)

    def least_clients(self) -> int:
        """Return how many updates the rule needs: 4f + 3."""
        return 4 * self.byzantine + 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometricMedian(_EveryRule):
    """The point with the least weighted sum of distances to the updates, by smoothed Weiszfeld.

    Pillutla et al. 2022 (RFA).

    Attributes:
        iterations: most steps.
        smoothing: least distance that a step divides by.
        tolerance: relative change of the sum of distances below which the steps end.
    """

    RULE: ClassVar[str] = "geometric-median"

    iterations: int = field(metadata=_count(1, 100))
    smoothing: float = field(metadata=_LEAST_DIVISOR)
    tolerance: float = field(metadata=_number(0.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class QFedAvg(_EveryRule):
    """Clients with a higher loss count more (Li et al. 2020, q-FedAvg).

    Attributes:
        q: how much more; 0 is the unweighted mean.
        client_learning_rate: the clients' step size; its inverse is the Lipschitz estimate.
        loss: the metric in which clients report their loss. It travels sealed.
    """

    RULE: ClassVar[str] = "q-fed-avg"

    q: float = field(metadata=_number(0.0, 100.0))
    client_learning_rate: float = field(metadata=_LEARNING_RATE)
    loss: str = field(metadata={"take": _metric})


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRule(_EveryRule):
    """A rule of the federation's own, in the enclave's measured image.

    How many updates it needs is not known here.

    Attributes:
        name: of the file in `fedenclave/enclave/own_rules`, without its suffix.
        parameters: numbers by name, for the rule to read.
    """

    RULE: ClassVar[str] = "own"

    name: str
    parameters: Mapping[str, float] = field(default_factory=dict)


Rule: TypeAlias = (
    Mean | Median | TrimmedMean | Krum | MultiKrum | Bulyan | GeometricMedian | QFedAvg | OwnRule
)
RULES: tuple[type[Rule], ...] = get_args(Rule)
PAIRWISE = (Krum, MultiKrum, Bulyan, GeometricMedian)
"""The rules that compare every pair of clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptimiser:
    """The combined update is the step."""

    OPTIMISER: ClassVar[str] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Momentum:
    """SGD with momentum on the server (FedAvgM: Hsu et al. 2019)."""

    OPTIMISER: ClassVar[str] = "momentum"

    learning_rate: float = field(metadata=_LEARNING_RATE)
    momentum: float = field(metadata=_DECAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adagrad:
    """FedAdagrad (Reddi et al. 2021)."""

    OPTIMISER: ClassVar[str] = "adagrad"

    eta: float = field(metadata=_LEARNING_RATE)
    tau: float = field(metadata=_LEAST_DIVISOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """FedAdam (Reddi et al. 2021), with Flower's bias correction."""

    OPTIMISER: ClassVar[str] = "adam"

    eta: float = field(metadata=_LEARNING_RATE)
    beta_1: float = field(metadata=_DECAY)
    beta_2: float = field(metadata=_DECAY)
    tau: float = field(metadata=_LEAST_DIVISOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Yogi:
    """FedYogi (Reddi et al. 2021)."""

    OPTIMISER: ClassVar[str] = "yogi"

    eta: float = field(metadata=_LEARNING_RATE)
    beta_1: float = field(metadata=_DECAY)
    beta_2: float = field(metadata=_DECAY)
    tau: float = field(metadata=_LEAST_DIVISOR)


MEAN, NO_OPTIMISER = Mean(), NoOptimiser()
"""The plain federated average."""

ServerOptimiser: TypeAlias = NoOptimiser | Momentum | Adagrad | Adam | Yogi
OPTIMISERS: tuple[type[ServerOptimiser], ...] = get_args(ServerOptimiser)


def read_rule(name: str, table: Table) -> Rule:
    """Return the rule `name` with the parameters in `table`, and finish the table.

    Raises:
        ConfigurationError: the rule is unknown, or a parameter is missing, unknown or out of range.
    """
    kind = next((kind for kind in RULES if name == kind.RULE), None)
    if kind is None:
        known = ", ".join(kind.RULE for kind in RULES)
        raise ConfigurationError(f"{table.where}: rule is {name[:80]!r}, want one of {known}")
    if kind is OwnRule:
        return _own_rule(table)
    rule = kind(**_parameters(kind, table))
    table.finish()
    return rule


def read_optimiser(table: Table) -> ServerOptimiser:
    """Return the server optimiser that `table` describes, and finish the table.

    Raises:
        ConfigurationError: it is unknown, or a parameter is missing, unknown or out of range.
    """
    name = table.take_choice("optimiser", tuple(kind.OPTIMISER for kind in OPTIMISERS))
    kind = next(kind for kind in OPTIMISERS if name == kind.OPTIMISER)
    optimiser = kind(**_parameters(kind, table))
    table.finish()
    return optimiser


def _parameters(kind: type[Rule | ServerOptimiser], table: Table) -> dict[str, Any]:
    return {each.name: each.metadata["take"](table, each.name) for each in fields(kind)}


def _own_rule(table: Table) -> OwnRule:
    name = table.take_text("name")
    for text in (name, *table.names()):
        # Keys are shown to people and written to files: they are names, too.
        if _NAME.fullmatch(text) is None:
            raise ConfigurationError(
                f"{table.where}: name is {text[:80]!r}, want 1-63 of a-z 0-9 _ beginning with a "
                "letter"
            )
    parameters = {
        key: table.take_number(key, low=-1e18, high=1e18) for key in sorted(table.names())
    }
    return OwnRule(name=name, parameters=parameters)


def checked_metric(name: str) -> str:
    """Return `name` where it may name a metric of a client's.

    Raises:
        ConfigurationError: it is empty, longer than 64 characters, or holds other than printable
            ASCII without quotes and backslashes.
    """
    if not 0 < len(name) <= 64 or not all("!" <= c <= "~" and c not in "\"'\\" for c in name):
        raise ConfigurationError(
            f"metric is named {name[:80]!r}, want 1-64 printable ASCII characters, no quotes"
        )
    return name


def to_toml(what: Rule | ServerOptimiser) -> dict[str, str]:
    """Return the keys and values, as TOML writes them, of a rule's or optimiser's table."""
    if isinstance(what, OwnRule):
        own = {key: repr(float(what.parameters[key])) for key in sorted(what.parameters)}
        return {"name": f'"{what.name}"', **own}
    return {each.name: _toml(getattr(what, each.name)) for each in fields(what)}


def shown(rule: Rule, server: ServerOptimiser) -> str:
    """Return the rule and the optimiser with their parameters, for a person to read."""

    def named(name: str, what: Rule | ServerOptimiser) -> str:
        parameters = ", ".join(f"{key} {value}" for key, value in to_toml(what).items())
        return f"{name} ({parameters})" if parameters else name

    said = f"rule {named(rule.RULE, rule)}"
    if server == NO_OPTIMISER:
        return said
    return f"{said} with optimiser {named(server.OPTIMISER, server)}"


def _toml(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
