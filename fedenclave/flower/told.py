"""What a Flower app is told about how to train, besides the model: one digest on both sides.

The strategy computes it from the messages it is about to send, a client from the message that came
and its own run configuration. What an app can read of the operator's and is not in it, `app_call`
makes anew: order, times, ids. A client's node id remains.

SPEC.md, section 15.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from flwr.app import Context, Message

from fedenclave.flower.carrier import RECORD
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.training_config import NOTHING, Table, configuration

_RECORDS = "record:"


def message_digest(message: Message, arrays_key: str) -> Digest:
    """Return the digest of what `message` tells an app that finds the model under `arrays_key`.

    Raises:
        MalformedMessage: a value cannot be in a configuration.
    """
    metadata = message.metadata
    tables: dict[str, Table] = {
        "message": {
            "arrays-key": arrays_key,
            # Flower calls another function of the app for `train.other`.
            "message-type": metadata.message_type,
            "group-id": metadata.group_id,
        }
    }
    for name, record in message.content.config_records.items():
        if name != RECORD:
            tables[_RECORDS + name] = record
    return configuration(tables).digest


def run_digest(context: Context) -> Digest:
    """Return the digest of how a client was told that the run is set, and which run it is.

    Raises:
        MalformedMessage: a value cannot be in a configuration.
    """
    run: Mapping[str, bool | int | float | str] = context.run_config
    which: Table = {"run-id": context.run_id, "series-id": context.series_id}
    return configuration({"run": run, "context": which}).digest


def most_said(said: Iterable[tuple[str, Digest]]) -> Digest:
    """Return the run digest that most organisations name; of an empty cohort, that of nothing.

    How a run is set at the nodes only they know. One that lies must not stop the others, however
    many clients it has: so each organisation and answer counts once.

    Args:
        said: the organisation of each client, and the digest that it named.
    """
    votes = Counter(digest for _, digest in sorted(set(said)))
    return votes.most_common(1)[0][0] if votes else NOTHING
