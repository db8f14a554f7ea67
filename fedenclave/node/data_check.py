"""What of a node's data is missing or unsafe. No data are read, and nothing is unwrapped.

The passphrase is tried on a keyring, so that a wrong one is found before a round is. Keys that are
elsewhere (a token that counts wrong PINs, a service over a network) and a storage that is reached
over a network are not asked.
"""

from __future__ import annotations

from pathlib import Path

from fedenclave.datasets.locations import is_remote, store_at
from fedenclave.datasets.node_data import NodeData
from fedenclave.datasets.reader import unverified_head
from fedenclave.keys.provider import KeyState
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.errors import ConfigurationError


def found_of(data: NodeData) -> str:
    """Return what was found, for a table.

    Raises:
        FedEnclaveError: something is missing, or does not fit.
    """
    if not data.dataset:
        return "no sealed dataset is named"
    provider = data.provider() if data.keyring_path() else None
    if is_remote(data.dataset):
        return f"{data.dataset}: the storage was not asked"
    head = unverified_head(store_at(data.dataset)).head
    digest = to_text(head.digest)
    if data.digest and data.digest != digest:
        raise ConfigurationError(
            f"dataset {data.dataset} says that its digest is {digest}, want {data.digest}",
            hint="it is another state of it: was an older one put back, or the data sealed anew?",
        )
    if provider is None:
        kind = data.keys.partition(":")[0]
        return f"{Path(data.dataset).name}, {digest}; its keys, {kind}, were not asked for"
    wanted = (head.key.key, head.key.version)
    held = {(each.key, each.version): each.state for each in provider.versions()}
    if held.get(wanted, KeyState.DESTROYED) is KeyState.DESTROYED:
        raise ConfigurationError(
            f"dataset {data.dataset} is sealed under key {head.key.key[:80]} version "
            f"{head.key.version}, which {Path(data.keyring_path()).name} has not",
            hint="is it the right keyring? fedenclave keys list shows what it has",
        )
    return f"{Path(data.dataset).name}, {digest}"
