"""What is sealed beside an update: those of the client's metrics that the manifest asks for.

SPEC.md, section 8.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from fedenclave.protocol.errors import EnclaveRefused
from fedenclave.protocol.manifest import Rules

NO_METRICS: Mapping[str, float] = MappingProxyType({})


class UpdateUnusable(EnclaveRefused):
    """The data holder's own result cannot be sealed; nothing of it is told to anybody."""


def reported_metrics(metrics: Mapping[str, float], rules: Rules) -> Sequence[float]:
    """Return the metrics that the manifest asks for, in its order.

    Raises:
        UpdateUnusable: one is missing, or is no finite number.
    """
    reported = []
    for name in rules.reported:
        value = metrics.get(name)
        if value is None or not abs(value) < math.inf:
            found = "missing" if value is None else "not a finite number"
            raise UpdateUnusable(
                f"metric {name}, which the manifest asks for, is {found}, and nothing was sent",
                hint=f'have the app return MetricRecord({{"{name}": ...}})',
            )
        reported.append(float(value))
    return reported
