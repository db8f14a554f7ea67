"""The operator's other way: not to change the enclave, but to ship another app to the nodes (T12).

The app is the hospitals' own with the confidential mod taken out, so that it answers with plain
parameters, and with a line before everything else that leaves a trace where it runs at all. The
ServerApp is the operator's to write: it asks the nodes directly, and notes what each has answered.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from fedenclave.demo.apps import app_folder
from fedenclave.demo.deployment import FlowerDeployment
from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.logs import LogReader

APP = "hospital"
TAKEN_OUT = "app = ClientApp(mods=[confidential()])"
PUT_IN = "app = ClientApp()"
TRACE, ANSWERS = "changed-app-has-run", "answers.json"
REFUSED = re.compile(r".*launcher: error: (app [0-9a-f]{64} is not approved.*)")
_FUTURE = "from __future__ import annotations\n"

_SERVER_APP = '''"""The operator's: asks every node for its parameters, in plain text."""

import json
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from hospital.initial_model import initial_parameters
from hospital.records import named

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    wanted = int(context.run_config["min-hospitals"])
    while len(nodes := list(grid.get_node_ids())) < wanted:
        time.sleep(0.1)
    content = {"arrays": named(initial_parameters(0)), "config": ConfigRecord({"server-round": 1})}
    asked = [Message(RecordDict(content), dst_node_id=n, message_type="train") for n in nodes]
    answers = [
        {"error": answer.error.reason if answer.has_error() else None}
        for answer in grid.send_and_receive(asked)
    ]
    Path(context.run_config["models-dir"], "ANSWERS").write_text(json.dumps(answers))
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedApp:
    """What came of it.

    Attributes:
        taken_out: the line that the operator changed.
        refusals: what each node's own log says, by name.
        answered: how many nodes have answered with anything but an error.
        has_run: whether a line of the app has run on any of them.
    """

    taken_out: str
    refusals: dict[str, str]
    answered: int
    has_run: bool

    def failed(self, nodes: int) -> bool:
        """Return whether every node has refused, and none has run or answered anything."""
        return len(self.refusals) == nodes and not self.answered and not self.has_run


def change_app(folder: Path) -> Path:
    """Copy the hospitals' app to `folder` without its mod; return it.

    Raises:
        DeploymentError: the app has no such line any more.
    """
    shutil.copytree(app_folder(APP), folder, ignore=shutil.ignore_patterns("__pycache__"))
    client_app = folder / "hospital" / "client_app.py"
    text = client_app.read_text()
    if text.count(TAKEN_OUT) != 1 or text.count(_FUTURE) != 1:
        raise DeploymentError("the client app has no line to change for the demonstration")
    trace = f"open({str(folder / TRACE)!r}, 'a').close()\n"
    client_app.write_text(text.replace(TAKEN_OUT, PUT_IN).replace(_FUTURE, _FUTURE + trace))
    (folder / "hospital" / "server_app.py").write_text(_SERVER_APP.replace("ANSWERS", ANSWERS))
    return folder


def ship(deployment: FlowerDeployment, app: Path, logs: dict[str, LogReader]) -> ChangedApp:
    """Have the SuperLink send the changed app to every node, and see what comes of it.

    Args:
        deployment: whose nodes have owners.
        app: what `change_app` has made.
        logs: the nodes' own logs by name, read up to here.

    Raises:
        DeploymentError: the run itself failed, so that it shows nothing.
    """
    deployment.run(app, {"models-dir": str(app)})
    try:
        answers = json.loads((app / ANSWERS).read_text())
    except (OSError, ValueError) as error:
        raise DeploymentError("the changed app's server noted no answers") from error
    found = {
        name: [match.group(1) for line in log.new_lines() if (match := REFUSED.match(line))]
        for name, log in logs.items()
    }
    return ChangedApp(
        taken_out=TAKEN_OUT,
        refusals={name: lines[-1] for name, lines in found.items() if lines},
        answered=sum(answer["error"] is None for answer in answers),
        has_run=(app / TRACE).exists(),
    )
