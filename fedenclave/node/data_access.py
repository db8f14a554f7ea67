"""What an app needs to reach the data that node.toml's [data] names, where it is confined.

The owner has named it: that is why it is let through, without being named once more. What a token's
PKCS #11 module needs nobody here can know; it is named in [confinement].
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from fedenclave.datasets.locations import is_remote
from fedenclave.datasets.node_data import NodeData
from fedenclave.keys.keyring import audit_path
from fedenclave.node.bound import Confinement

# Of the clouds' services, and of the machine's own that gives out their credentials.
_CLOUD_PORTS = (443, 80)
_CLOUD_KEYS = ("aws-kms", "gcp-kms", "azure-key-vault")
_CLOUD_STORAGE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "http", "https")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def access_to(data: NodeData) -> Confinement:
    """Return the files that are appended to, and the ports, for a node's data and their keys."""
    ring = data.keyring_path()
    return Confinement(
        write=(),
        append=(audit_path(Path(ring)),) if ring else (),
        connect=tuple(sorted({*_storage_ports(data), *_key_ports(data)})),
    )


def _storage_ports(data: NodeData) -> tuple[int, ...]:
    cloud = is_remote(data.dataset) and urlsplit(data.dataset).scheme in _CLOUD_STORAGE
    return _CLOUD_PORTS if cloud else ()


def _key_ports(data: NodeData) -> tuple[int, ...]:
    kind, _, rest = data.keys.partition(":")
    if kind in _CLOUD_KEYS:
        return _CLOUD_PORTS
    if kind != "vault":
        return ()
    address = urlsplit(rest.partition("#")[0])
    try:
        return (address.port or _DEFAULT_PORTS[address.scheme],)
    except (KeyError, ValueError):
        return ()  # no address: the check of the data says so
