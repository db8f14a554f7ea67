"""What an app reads its data by, in a node: the sealed dataset that its owner named, and no other.

    with open_node_dataset(context) as dataset:            # None where the owner named none
        rows = SealedRows(dataset, ["images.npy", "labels.npy"])
        lineage = Lineage.of(dataset.digest).then("scale", divisor=255)
        content[LINEAGE] = lineage_record(context, lineage)

Rules:
  * Where the data lies, and what opens them, the owner says in node.toml: the server has no say.
  * What stands in the log is 32 bytes; what they stand for stays in the client's folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from flwr.app import ConfigRecord, Context

from fedenclave.client.files import write_whole
from fedenclave.datasets.lineage import Lineage
from fedenclave.datasets.lineage_file import FOLDER, KeptLineage
from fedenclave.datasets.node_data import PLAIN_FILE_KEY, NodeData
from fedenclave.datasets.reader import SealedDataset
from fedenclave.flower.node import FOLDER_KEY
from fedenclave.protocol.errors import ConfigurationError


@contextlib.contextmanager
def open_node_dataset(context: Context) -> Iterator[SealedDataset | None]:
    """Give the sealed dataset that this node's owner named, open; None where none is named.

    Raises:
        FedEnclaveError: it cannot be opened; why is for this node's own log.
    """
    opened = NodeData.of_settings(context.node_config).open()
    if opened is None:
        yield None
        return
    with opened:
        yield opened


def plain_file(context: Context) -> Path | None:
    """Return the file in plain text that this node's owner lets the app read; None for none.

    Raises:
        ConfigurationError: one is named, and the owner has not said that plain text is allowed.
    """
    named = context.node_config.get(PLAIN_FILE_KEY)
    if named is None:
        return None
    if not NodeData.of_settings(context.node_config).plain_text:
        raise ConfigurationError(
            f"this node's {PLAIN_FILE_KEY} is data in plain text, which its owner has not allowed",
            hint="seal it: fedenclave data seal; or say plain-text = true in node.toml's [data] "
            "(fedenclave-plain-text=true for a SuperNode that is started by hand)",
        )
    return Path(str(named))


def lineage_record(context: Context, lineage: Lineage) -> ConfigRecord:
    """Return the record in which an app says what it trained on, and keep what it stands for.

    Raises:
        ConfigurationError: it cannot be kept: then it could not be shown later either.
    """
    folder = context.node_config.get(FOLDER_KEY)
    if isinstance(folder, str) and folder:
        kept = Path(folder) / FOLDER
        path = kept / f"{lineage.digest.hex()}.json"
        if not path.exists():
            try:
                kept.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise ConfigurationError(f"cannot make {kept}: {error.strerror}") from error
            write_whole(path, KeptLineage.of(lineage).to_json(), mode=0o600)
    return ConfigRecord({"data": lineage.digest})
