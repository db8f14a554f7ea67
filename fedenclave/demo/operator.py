"""The operator's side of the demonstration: the aggregator, and one who changes a line of it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import fedenclave
from fedenclave.demo.certificates import ServerCertificate, make_server_certificate
from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.ports import pick_free_ports
from fedenclave.demo.processes import Child, ProcessGroup
from fedenclave.host.serve import READY

START_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningAggregator:
    """A gateway with its enclave."""

    address: str
    root_certificate: Path
    child: Child


def start_aggregator(
    group: ProcessGroup, federation: Path, name: str, *, tee: str, code: Path | None = None
) -> RunningAggregator:
    """Start gateway and enclave with TLS on a free loopback port.

    Args:
        group: ends it.
        federation: the folder with federation.toml, approvals/ and first-model.fem.
        name: of the child and its folder.
        tee: what vouches for the enclave, as in the aggregator's configuration.
        code: a folder with another copy of the package, for the operator who changed it.

    Raises:
        DeploymentError: it did not start.
    """
    folder = federation / name
    tls = make_server_certificate(folder / "tls", now=datetime.now(UTC))
    (port,) = pick_free_ports(1)
    address = f"127.0.0.1:{port}"
    config = folder / "aggregator.toml"
    config.write_text(_configuration(folder, federation, tls, address, tee), encoding="utf-8")
    environment = {"PYTHONPATH": str(code)} if code is not None else {}
    child = group.start(
        name,
        [sys.executable, "-m", "fedenclave.cli", "aggregator", "run", "--config", str(config)],
        environment=environment,
    )
    group.wait_until_ready(child, READY, timeout_s=START_SECONDS)
    return RunningAggregator(address=address, root_certificate=tls.ca_certificate, child=child)


def _configuration(
    folder: Path, federation: Path, tls: ServerCertificate, address: str, tee: str
) -> str:
    """Return the aggregator's configuration in TOML, whatever the folders are called."""

    def text(value: object) -> str:
        # json writes a printable string as TOML's basic string reads it.
        return json.dumps(str(value), ensure_ascii=False)

    return (
        f"folder = {text(folder)}\n"
        f"manifest = {text(federation / 'federation.toml')}\n"
        f"approvals = {text(federation / 'approvals')}\n"
        f"model = {text(federation / 'first-model.fem')}\n"
        f"listen = {text(address)}\n"
        f"store_limit = {1 << 30}\n"
        f"tee = {text(tee)}\n\n"
        "[tls]\n"
        f"certificate = {text(tls.certificate)}\n"
        f"key = {text(tls.private_key)}\n"
    )


SWAPPED_FILE = "enclave/admission.py"
# Right after a chunk of an update has been opened into the scratch.
_AFTER_OPENING = re.compile(r"^( +)fingerprint = fingerprinter\.of\(.*\)\n", re.MULTILINE)
# What such an operator would like.
_ADDED = "open('/tmp/stolen-updates', 'ab').write(scratch.plain_view(chunk.size))"


def change_a_line(folder: Path) -> Path:
    """Copy the package to `folder` with one line added that copies every opened update to a file.

    The copy is started, never used: it is refused before it gets a single update.

    Raises:
        DeploymentError: the enclave's code has no such line any more.
    """
    source = Path(fedenclave.__file__).parent
    target = folder / "fedenclave"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "apps"))
    file = target / SWAPPED_FILE
    text = file.read_text()
    changed, count = _AFTER_OPENING.subn(rf"\g<0>\g<1>{_ADDED}\n", text)
    if count != 1:
        raise DeploymentError(f"{SWAPPED_FILE} has no line to change for the demonstration")
    file.write_text(changed)
    return folder
