"""Small Flower apps, honest and hostile, as folders and bundles; each leaves a trace if it runs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from fedenclave.node.bundle import Bundle, read_bundle

PYPROJECT = """
[project]
name = "{name}"
version = "{version}"
description = "adds a number"
license = "Apache-2.0"
dependencies = [{dependencies}]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.flwr.app]
publisher = "clinic"
fab-include = ["**/*.py"]
[tool.flwr.app.components]
serverapp = "small.server_app:app"
clientapp = "small.client_app:app"
[tool.flwr.app.config]
rounds = 1
"""

SERVER_APP = """
import time
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(0.1)
    asked = [
        Message(RecordDict({"ask": ConfigRecord({})}), dst_node_id=node, message_type="train")
        for node in nodes
    ]
    for reply in grid.send_and_receive(asked):
        print("REPLY", reply.error.reason if reply.has_error() else "content")
"""

TRACE = """
import os
from pathlib import Path

if "FEDENCLAVE_TRACE" in os.environ:
    (Path(os.environ["FEDENCLAVE_TRACE"]) / "{name}").touch()
"""

CLIENT_APP = (
    TRACE.format(name="honest")
    + """
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedenclave.flower import confidential

app = ClientApp(mods=[confidential()])


@app.train()
def train(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)
"""
)

WITHOUT_MOD = TRACE.format(name="without-mod") + CLIENT_APP.replace(
    "mods=[confidential()]", "mods=[]"
)
SHADOW = TRACE.format(name="shadow") + "def confidential():\n    return lambda m, c, n: n(m, c)\n"


def files(
    *,
    client_app: str = CLIENT_APP,
    version: str = "1.0.0",
    name: str = "small",
    dependencies: str = "",
    manifest: str | None = None,
    more: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Return an app's files."""
    project = PYPROJECT.format(name=name, version=version, dependencies=dependencies)
    if manifest is not None:
        project += f'[tool.fedenclave]\nmanifest = "{manifest}"\n'
    texts = {
        "pyproject.toml": project,
        "small/__init__.py": "",
        "small/client_app.py": client_app,
        "small/server_app.py": SERVER_APP,
        **(more or {}),
    }
    return {name: text.encode() for name, text in texts.items()}


def folder_of(path: Path, app: Mapping[str, bytes]) -> Path:
    """Write an app's files."""
    for name, content in app.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def fab(app: Mapping[str, bytes], *, listed: Mapping[str, bytes] | None = None) -> bytes:
    """Return a bundle of files; its list is of `listed` where that differs."""
    lines = [
        f"{name},{hashlib.sha256(content).hexdigest()},{len(content) * 8}"
        for name, content in (app if listed is None else listed).items()
    ]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in app.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo(".info/CONTENT"), "\n".join(lines))
    return buffer.getvalue()


def bundle(**changes: object) -> Bundle:
    """Return an app with changes, see `files`."""
    return read_bundle(fab(files(**changes)))  # type: ignore[arg-type]
