"""T12 with real programs: a node of `fedenclave node run`, and a SuperLink that ships other apps.

Each app leaves a trace when its first line is executed. The SuperLink is one that does not keep to
Flower's protocol (lying_superlink.py): it announces one app and ships another.

Run as a program, `python -m fedenclave.demo.other_apps FOLDER` prints what was tried and seen as
JSON lines.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from fedenclave.client.files import write_whole
from fedenclave.client.folder import ClientFolder
from fedenclave.client.identity import Identity
from fedenclave.demo.certificates import make_server_certificate
from fedenclave.demo.lying_superlink import Inside, LyingSuperLink, Reply, Shipment
from fedenclave.demo.ports import pick_free_ports
from fedenclave.demo.processes import ProcessGroup
from fedenclave.membership.enrolment import Enrolment, roster_of
from fedenclave.node.admitted import FOR_HOST
from fedenclave.node.approvals import AppApprovals
from fedenclave.node.bundle import fab_hash, read_bundle
from fedenclave.node.configuration import read_configuration, write_configuration
from fedenclave.node.inspection import inspect
from fedenclave.node.node_key import make_node_key
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.manifest import Manifest, Rules
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.statements import Suite

PATIENCE_S = 60.0
_TRACES = "traces"
_MEMBERS = ("clinic", "others")
_RULES = Rules(
    weighting="examples",
    weighted_by="num-examples",
    weight_cap=1000,
    max_abs=10.0,
    max_norm=10.0,
    over_norm="reject",
    min_cohort=2,
)
_PROJECT = """\
[project]
name = "small"
version = "{version}"
description = "answers with what it is asked"
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
_TRACE = "from pathlib import Path\nPath({path!r}).touch()\n"
_CLIENT_APP = """
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedenclave.flower import confidential

app = ClientApp(mods=[confidential()])


@app.train()
def train(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)
"""
_SERVER_APP = "from flwr.serverapp import ServerApp\n\napp = ServerApp()\n"
_SHADOW = "def confidential():\n    return lambda message, context, call: call(message, context)\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One thing that was shipped, and what came of it.

    Attributes:
        tried: what the SuperLink did.
        seen: what the node did.
        well: whether that is as it should be.
        control: whether it was no attack, but shows that apps run here at all.
    """

    tried: str
    seen: str
    well: bool
    control: bool = False


class _Apps:
    """Writes apps whose traces are left in one folder."""

    def __init__(self, traces: Path) -> None:
        self.traces = traces
        traces.mkdir()

    def bundle(
        self,
        name: str,
        *,
        version: str = "1.0.0",
        dependencies: str = "",
        client_app: str = _CLIENT_APP,
        more: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return an app that leaves the trace `name`."""
        trace = _TRACE.format(path=str(self.traces / name))
        files = {
            "pyproject.toml": _PROJECT.format(version=version, dependencies=dependencies),
            "small/__init__.py": trace,
            "small/client_app.py": client_app,
            "small/server_app.py": _SERVER_APP,
            **{path: trace + text for path, text in (more or {}).items()},
        }
        return _archive({path: text.encode() for path, text in files.items()})

    def take_trace(self, name: str) -> bool:
        """Say whether an app has run, and forget it."""
        path = self.traces / name
        left = path.exists()
        path.unlink(missing_ok=True)
        return left


def _archive(files: Mapping[str, bytes]) -> bytes:
    lines = [
        f"{name},{hashlib.sha256(content).hexdigest()},{len(content) * 8}"
        for name, content in files.items()
    ]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo(".info/CONTENT"), "\n".join(lines))
    return buffer.getvalue()


def ship_other_apps(folder: Path) -> Iterator[Seen]:
    """Set up a node and a SuperLink in an empty folder, and yield what was tried as it is seen.

    Raises:
        DeploymentError: the node does not start.
    """
    apps = _Apps(folder / _TRACES)
    node = _client_folder(folder)
    approvals = AppApprovals(node)
    now = int(time.time())
    honest, old = apps.bundle("honest"), apps.bundle("older", version="0.9.0")
    for each in (old, honest):
        approvals.approve(read_bundle(each), by="owner", now=now)
    manifest = Manifest.from_bytes((folder / "federation.toml").read_bytes())
    yield from _not_to_be_approved(apps, manifest)
    certificate = make_server_certificate(folder / "tls", now=datetime.now(UTC))
    with LyingSuperLink(certificate) as superlink, ProcessGroup(folder / "processes") as group:
        _configure(node, superlink.address, certificate.ca_certificate)
        command = [sys.executable, "-m", "fedenclave.cli", "node", "run", "--dir", str(node)]
        child = group.start("node", command)
        group.wait_until_ready(child, superlink.connected, timeout_s=PATIENCE_S)

        def ship(shipments: Mapping[str, Shipment]) -> list[tuple[str, Reply | None]]:
            # All at once: a SuperNode that finds nothing to do looks again after 3 seconds.
            runs = {tried: superlink.ship(each) for tried, each in shipments.items()}
            for run in runs.values():
                settled = partial(superlink.settled, run)
                group.wait_until_ready(child, settled, timeout_s=PATIENCE_S)
            return [(tried, superlink.reply(run)) for tried, run in runs.items()]

        known = {"honest": _shipment(honest), "older": _shipment(old)}
        yield from (
            _ran(apps, f"ship the {name}, approved app", name, reply) for name, reply in ship(known)
        )
        approvals.revoke(fab_hash(old), by="owner", now=now)
        for tried, reply in ship(_other_apps(apps, honest, old)):
            yield _refused(apps, tried, reply)
        yield _message_without_identifier(superlink, ship, honest)
        with Inside() as inside:
            sent = replace(_shipment(honest), elsewhere=inside.url)
            ship({"": sent})
            yield _sent_elsewhere(inside)
        apps.take_trace("honest")
        # A SuperNode that has the app which is announced does not take the other from its label.
        another = _shipment(apps.bundle("another"), announced=fab_hash(honest))
        for _, reply in ship({"honest": _shipment(honest)}):
            yield _ran(apps, "ship the honest app, after all that", "honest", reply)
        for tried, reply in ship({"announce the approved app, and ship another": another}):
            yield _refused(apps, tried, reply, instead="honest")


def _message_without_identifier(
    superlink: LyingSuperLink,
    ship: Callable[[Mapping[str, Shipment]], object],
    honest: bytes,
) -> Seen:
    run = superlink.ship(replace(_shipment(honest), nameless=True))
    # All that comes later waits behind it.
    ship({"": _shipment(honest)})
    passed_over = superlink.passed_over(run)
    seen = "it is passed over, and the next one taken" if passed_over else "the node stands still"
    return Seen(tried="send a message without an identifier", seen=seen, well=passed_over)


def _sent_elsewhere(inside: Inside) -> Seen:
    reached = inside.was_reached()
    seen = "it goes there" if reached else "it does not go there, and is started again"
    tried = "send the node to a program in its own network (a redirect, from TLS to none)"
    return Seen(tried=tried, seen=seen, well=not reached)


def _configure(node: Path, superlink: str, ca_certificate: Path) -> None:
    (port,) = pick_free_ports(1)
    path = write_configuration(node, address=superlink, port=port)
    # Without this line the owner's own app could not leave its trace either.
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("write = []", f"write = [{json.dumps(str(node.parent / _TRACES))}]", 1)
    )
    configuration = read_configuration(node)
    make_node_key(configuration.node_key, "clinic-1")
    write_whole(configuration.root_certificate, ca_certificate.read_bytes())


def _not_to_be_approved(apps: _Apps, manifest: Manifest) -> Iterator[Seen]:
    without = _CLIENT_APP.replace("mods=[confidential()]", "mods=[]")
    shadowing = {"fedenclave/__init__.py": "", "fedenclave/flower/__init__.py": _SHADOW}
    for what, bundle in (
        ("without the sealing mod", apps.bundle("unsealed", client_app=without)),
        ("with a folder fedenclave/ of its own", apps.bundle("shadow", more=shadowing)),
    ):
        found = inspect(read_bundle(bundle), manifest).objections
        yield Seen(
            tried=f"have the owner approve an app {what}",
            seen=found[0] if found else "it can be approved",
            well=bool(found),
        )


def _other_apps(apps: _Apps, honest: bytes, old: bytes) -> Mapping[str, Shipment]:
    """Return what a SuperLink may ship; `honest` is approved, and `old` no more."""
    without = _CLIENT_APP.replace("mods=[confidential()]", "mods=[]")
    shadowing = {"fedenclave/__init__.py": "", "fedenclave/flower/__init__.py": _SHADOW}
    numpy = apps.bundle("dependency", dependencies='"numpy"')
    another, approved = apps.bundle("another", client_app=without), fab_hash(honest)
    return {
        "ship an app without the sealing mod": _shipment(
            apps.bundle("unsealed", client_app=without)
        ),
        "ship one that carries a folder fedenclave/": _shipment(
            apps.bundle("shadow", more=shadowing)
        ),
        "ship the approved app with another dependency": _shipment(numpy),
        "ship the older version, which was revoked": _shipment(old),
        "ship the approved app with a byte behind its end": _shipment(honest + b"\n"),
        "ship another app with the approved one behind it": _shipment(another + honest),
        "announce the approved app, and label another as it": _shipment(
            another, announced=approved, labelled=approved
        ),
        "announce another app, and label it as the approved one": _shipment(
            another, labelled=approved
        ),
        "have the approved app run as something that has no mods": _shipment(
            honest, task_type="flwr-agentapp"
        ),
        "announce the approved app, and ship what is no archive": _shipment(
            b"no archive", announced=approved, labelled=approved
        ),
    }


def _shipment(
    content: bytes, *, announced: str = "", labelled: str = "", task_type: str = ""
) -> Shipment:
    own = fab_hash(content)
    return Shipment(
        content=content,
        announced=announced or own,
        labelled=labelled or own,
        task_type=task_type,
    )


def _ran(apps: _Apps, tried: str, trace: str, reply: Reply | None) -> Seen:
    ran = apps.take_trace(trace)
    what = "it runs, and answers" if ran else "nothing runs"
    return Seen(
        tried=tried,
        seen=f"{what}: {_words(reply)}",
        well=ran and reply is not None,
        control=True,
    )


def _refused(apps: _Apps, tried: str, reply: Reply | None, instead: str = "") -> Seen:
    if instead and apps.take_trace(instead):
        seen = f"the owner's copy runs in its place: {_words(reply)}"
        return Seen(tried=tried, seen=seen, well=not list(apps.traces.iterdir()))
    ran = sorted(path.name for path in apps.traces.iterdir())
    if ran:
        return Seen(tried=tried, seen=f"a first line ran: {', '.join(ran)}", well=False)
    if reply is None:
        return Seen(tried=tried, seen="the SuperNode refuses it, and is started again", well=True)
    return Seen(tried=tried, seen=f"the node: {_words(reply)}", well=reply.error == FOR_HOST)


def _words(reply: Reply | None) -> str:
    if reply is None:
        return "no answer"
    return reply.error or "content"


def _client_folder(folder: Path) -> Path:
    """Make a client whose federation exists on paper only: no app gets as far as a round."""
    enrolments, clients = [], {}
    for member in _MEMBERS:
        identity = Identity(client=f"{member}-1", member=member)
        clients[member] = ClientFolder.create(folder / member, identity)
        client_key, member_key = clients[member].public_keys()
        enrolments.append(
            Enrolment(
                client=identity.client, member=member, client_key=client_key, member_key=member_key
            )
        )
    members, roster = roster_of(enrolments)
    nothing = Digest(hashlib.sha256(b"").digest())
    source = write_manifest(
        ManifestDraft(
            name="on-paper",
            threshold=len(members),
            development=True,
            members=members,
            clients=roster,
            freshness_seconds=600,
            insecure_measurements=[nothing],
            suite=Suite.HYBRID,
            schema=nothing,
            initial_model=nothing,
            rules=_RULES,
            attestation="",
        )
    )
    file = folder / "federation.toml"
    write_whole(file, source)
    approvals = [clients[member].approve(file).read_bytes() for member in _MEMBERS]
    for approval in approvals:
        clients[_MEMBERS[0]].add_approval(approval)
    return folder / _MEMBERS[0]


def main() -> int:
    """Play it in the folder that is named, and print each try as it is seen."""
    well = True
    for seen in ship_other_apps(Path(sys.argv[1])):
        print(json.dumps(asdict(seen)), flush=True)
        well = well and seen.well
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
