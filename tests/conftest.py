"""Settings for every test: how hard Hypothesis tries.

`default` finds the same examples on every machine, so that a red run is red everywhere.
`HYPOTHESIS_PROFILE=thorough` looks further, and differently each time.
"""

import os

from hypothesis import HealthCheck, settings

# A busy machine draws examples slowly; that says nothing about what is tested.
_UNTIMED = [HealthCheck.too_slow]

settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=_UNTIMED,
)
settings.register_profile(
    "thorough", deadline=None, max_examples=1000, suppress_health_check=_UNTIMED
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
