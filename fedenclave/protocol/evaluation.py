"""The digest of what an evaluation found: the same for everybody who has the same numbers.

SPEC.md, section 13.7.
"""

from __future__ import annotations

from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.training_config import Table, configuration


def evaluation_digest(metrics: Table) -> Digest:
    """Return the digest of an evaluation's metrics by name.

    Raises:
        MalformedMessage: a value is no number, text, bytes or list of these, or a name is no UTF-8.
    """
    return domain_digest("evaluation", configuration({"metrics": metrics}).to_bytes())
