"""node.toml: how this node reaches the SuperLink, and what its app may know of it.

Rules:
  * Every key is known; a typing error never becomes a default. Every key is there, but for a proxy
    (none), supernode-memory (half of what there is), [metrics] (not served) and [confinement]
    (none, as in files of before there was one).
  * There is no key that turns TLS, node authentication or the approval of apps off.
  * Data in plain text are read only where [data] says so.
  * Paths are relative to the file's folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedenclave.client.files import read_file, write_whole
from fedenclave.datasets.node_data import PLAIN_FILE_KEY, NodeData
from fedenclave.node.bound import Confinement
from fedenclave.node.proxy import Proxy, read_proxy
from fedenclave.node.settings import Setting
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table, parse

FILE = "node.toml"
FOLDER_KEY = "fedenclave-dir"
INSECURE_KEY = "fedenclave-insecure"
_OURS = "fedenclave-"
HOST = "127.0.0.1"
"""Where a node's own servers listen, and no other address."""
LOOPBACK = (HOST, "localhost")
_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")

TEXT = """\
# How this node takes part. Check it: fedenclave node check --dir FOLDER
# Paths are relative to the folder of this file. Every key is needed, but for
# those that are commented out here.

[superlink]
# host:port of the operator's SuperLink.
address = "{address}"
# PEM file of the authority that signed the SuperLink's certificate. TLS cannot be turned off.
root-certificate = "superlink-ca.pem"
# The key by which the SuperLink knows this node. Send the operator node.key.pub, never node.key.
node-key = "node.key"
# Flower's YAML file of those who may sign apps, or "". Their signature is asked for beside this
# node's own approvals (fedenclave node approve), and never instead of them.
trusted-entities = ""
# The HTTP proxy on the way there. Without this line those of the environment count: https_proxy
# and no_proxy.
# proxy = "http://proxy.example:3128"

[node]
# The SuperNode's own port on 127.0.0.1; another one for each node of this machine.
port = {port}
# How much memory the SuperNode may map, in MiB: a model that passes through is in it several times.
# Without this line half of what the machine has, and 4096 at least.
# supernode-memory = 16384

[logs]
# Folder of node.log: connections, rounds, refusals; no data.
folder = "logs"
# true keeps all that the app itself writes in app.log beside it. That may hold data: false.
app-output = false

[data]
# The sealed dataset that the app reads (fedenclave data seal): its folder or URL, or "".
dataset = {dataset}
# What has its key, "keyring:FILE"; and the file with that keyring's passphrase, mode 0600.
keys = {keys}
passphrase-file = {passphrase_file}
# "sha256:...", as seal printed it: then no other state of the dataset is read. "" for any.
digest = {digest}
# true also lets the app read data that lies there in plain text: [app]'s data-path.
plain-text = {plain_text}

# What `fedenclave node status` shows, for Prometheus; it needs the extra fedenclave[metrics].
# Served on 127.0.0.1 alone, where every user of this machine can read it.
# [metrics]
# port = 9464

# Held by Linux (Landlock): an app writes below this folder, its temporary one, and these; and it
# connects by TCP to its SuperNode, to what [data] names, and to these ports. Without this table it
# writes and connects as its user can.
[confinement]
# Folders: write = ["cache", "/path/to/another"]
write = []
# TCP ports, where the app reads its data from a database, say: connect = [5432]
connect = []

[app]
# What the app may know of this node. The SuperLink does not see it, and this machine's other users
# do not. What stands here and in [data] is read anew for each message.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfiguration:
    """What node.toml says; paths are absolute, and `supernode_memory` is in bytes."""

    folder: Path
    address: str
    root_certificate: Path
    node_key: Path
    trusted_entities: Path | None
    port: int
    supernode_memory: int | None
    logs: Path
    app_output: bool
    data: NodeData
    proxy: Proxy | None
    metrics_port: int | None
    confinement: Confinement | None
    app: Mapping[str, Setting]

    def app_settings(self) -> dict[str, Setting]:
        """Return what the app is told of this node: its `node_config`."""
        return {FOLDER_KEY: str(self.folder), **self.data.settings(), **self.app}


def read_configuration(client_folder: Path) -> NodeConfiguration:
    """Read node.toml in a client's folder.

    Raises:
        ConfigurationError: it is missing, or not right.
    """
    path = client_folder / FILE
    if not path.exists():
        raise ConfigurationError(
            f"{client_folder} holds no {FILE}", hint="write one: fedenclave node init"
        )
    folder = client_folder.resolve()
    table = parse(read_file(path, "node's configuration"), FILE)
    link, node, logs, data = (
        table.take_table(name) for name in ("superlink", "node", "logs", "data")
    )
    app = table.take_plain("app")
    trusted = link.take_text("trusted-entities")
    read = NodeConfiguration(
        folder=folder,
        address=_address(link.take_text("address")),
        root_certificate=folder / link.take_text("root-certificate"),
        node_key=folder / link.take_text("node-key"),
        trusted_entities=folder / trusted if trusted else None,
        port=node.take_int("port", low=1024, high=65535),
        supernode_memory=_memory(node),
        logs=folder / logs.take_text("folder"),
        app_output=logs.take_bool("app-output"),
        data=_data(data).below(folder),
        proxy=read_proxy(link.take_text("proxy"), FILE) if "proxy" in link else None,
        metrics_port=_metrics_port(table),
        confinement=_confinement(table, folder),
        app=app,
    )
    for each in (link, node, logs, data, table):
        each.finish()
    if read.metrics_port == read.port:
        raise ConfigurationError(
            f"{FILE} has port {read.port} twice, in [node] and [metrics]", hint="choose another one"
        )
    _check_app(app, read)
    return read


def _data(table: Table) -> NodeData:
    return NodeData(
        dataset=table.take_text("dataset"),
        keys=table.take_text("keys"),
        passphrase_file=table.take_text("passphrase-file"),
        digest=table.take_text("digest"),
        plain_text=table.take_bool("plain-text"),
    )


def _memory(node: Table) -> int | None:
    """Return how many bytes a SuperNode may map; the file says MiB."""
    if "supernode-memory" not in node:
        return None
    return node.take_int("supernode-memory", low=2048, high=1 << 24) << 20


def _metrics_port(table: Table) -> int | None:
    if "metrics" not in table:
        return None
    metrics = table.take_table("metrics")
    address = metrics.take_text("address") if "address" in metrics else HOST
    if address not in LOOPBACK:
        raise ConfigurationError(
            f"{FILE} [metrics] address is {address[:100]!r}, want {HOST}",
            hint="what a node does is nobody else's business: to collect it from elsewhere, have "
            "an agent on this machine do so",
        )
    port = metrics.take_int("port", low=1024, high=65535)
    metrics.finish()
    return port


def _confinement(table: Table, folder: Path) -> Confinement | None:
    if "confinement" not in table:
        return None
    plain = table.take_plain("confinement")
    write, ports = plain.pop("write", None), plain.pop("connect", None)
    if not isinstance(write, list) or not all(isinstance(each, str) for each in write):
        raise ConfigurationError(f"{FILE} [confinement] write is not a list of folders")
    numbers = isinstance(ports, list) and all(type(each) is int for each in ports)
    if not numbers or not all(1 <= each <= 65535 for each in ports or ()):
        raise ConfigurationError(
            f"{FILE} [confinement] connect is not a list of ports, from 1 to 65535"
        )
    if plain:
        raise ConfigurationError(f"{FILE} [confinement] has unknown keys: {', '.join(plain)[:200]}")
    return Confinement(write=tuple(folder / each for each in write), connect=tuple(ports or ()))


def _address(text: str) -> str:
    found = _ADDRESS.fullmatch(text)
    if not found or not 1 <= int(found.group(1)) <= 65535:
        raise ConfigurationError(
            f"{FILE} [superlink] address is {text[:100]!r}, want host:port",
            hint="without http:// and without a path",
        )
    return text


def _check_app(app: Mapping[str, object], read: NodeConfiguration) -> None:
    for key in app:
        if key.startswith(_OURS):
            raise ConfigurationError(
                f"{FILE} [app] sets {key}",
                hint=f"{FOLDER_KEY} is this folder, {INSECURE_KEY} is for development, and the "
                "data stand in [data]",
            )
    if PLAIN_FILE_KEY in app and not read.data.plain_text:
        raise ConfigurationError(
            f"{FILE} [app] names data in plain text, {PLAIN_FILE_KEY}, and [data] plain-text is "
            "false",
            hint="seal them (fedenclave data seal) and name the dataset in [data]; or, if they may "
            "lie there for whoever gets the disk, plain-text = true",
        )
    wrong = [k for k, v in app.items() if not isinstance(v, str | int | float | bool)]
    if wrong:
        raise ConfigurationError(f"{FILE} [app] {wrong[0]} is no text, number, true or false")


def write_configuration(
    client_folder: Path, *, address: str, port: int, data: NodeData | None = None
) -> Path:
    """Write node.toml with its comments, never over one that is there.

    Raises:
        ConfigurationError: there is one, the address is none, or it cannot be written.
    """
    path = client_folder / FILE
    if path.exists():
        raise ConfigurationError(f"{path} exists already", hint="edit it; nothing was changed")
    given = data or NodeData()
    text = TEXT.format(
        address=_address(address),
        port=port,
        dataset=_toml(given.dataset),
        keys=_toml(given.keys),
        passphrase_file=_toml(given.passphrase_file),
        digest=_toml(given.digest),
        plain_text=str(given.plain_text).lower(),
    )
    write_whole(path, text.encode(), mode=0o600)
    return path


def _toml(text: str) -> str:
    if not text.isprintable():
        raise ConfigurationError(f"{text[:100]!a} cannot stand in {FILE}", hint="rename it")
    # json writes a printable string as TOML's basic string reads it.
    return json.dumps(text, ensure_ascii=False)
