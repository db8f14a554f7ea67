"""Settings for every test: how hard Hypothesis tries.

`default` finds the same examples on every machine, so that a red run is red everywhere.
`HYPOTHESIS_PROFILE=thorough` looks further, and differently each time.
"""

import os

from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
