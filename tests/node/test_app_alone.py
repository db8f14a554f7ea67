"""An approved app runs in a process of its own, and whatever it did there, its answer is the mod's.

These apps have been approved, by an owner who did not see what they do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedenclave.flower.app_call import AppRaised
from fedenclave.node.admitted import CLIENT_APP, FOR_HOST, unpack
from fedenclave.node.app_caller import AppCaller, AppNotLoaded
from fedenclave.node.app_process import answer
from fedenclave.node.approvals import AppApprovals
from fedenclave.node.bundle import read_bundle
from fedenclave.protocol.errors import ConfigurationError
from tests.node import apps

pytestmark = pytest.mark.slow  # each starts Python and imports Flower

SAYS = "row 17: Jane Roe"
PLAIN = "lambda *a: Message(RecordDict({'plain': ConfigRecord({'x': 'Jane Roe'})}), reply_to=a[-2])"
_HEAD = "from flwr.app import ConfigRecord, Message, RecordDict\n"
# Each of these answered in plain text where app and mod shared a process.
TRICKS = {
    "another mod by import *": (
        {"small/util.py": "def confidential():\n    return lambda m, c, call: call(m, c)\n"},
        ("import confidential\n", "import confidential\nfrom small.util import *\n"),
    ),
    "another module in its place": (
        {
            "small/__init__.py": "import sys\nfrom small import other\n"
            "sys.modules['small.client_app'] = other\n",
            "small/other.py": apps.WITHOUT_MOD,
        },
        ("", ""),
    ),
    "another folder": (
        {
            "small/__init__.py": "__path__ = [__path__[0] + '/current']\n",
            "small/current/client_app.py": apps.CLIENT_APP,
        },
        ("", ""),
    ),
    "a lifespan set elsewhere": (
        {"small/life.py": "def attach(a):\n    a.lifespan()(lambda context: iter([1]))\n"},
        ("\n\n@app.train", "\n\nfrom small.life import attach\n\nattach(app)\n\n\n@app.train"),
    ),
    "the mod's code": (
        {},
        (
            "\napp = ",
            "\nconfidential().__code__ = (lambda m, c, call: call(m, c)).__code__\napp = ",
        ),
    ),
    "ClientApp's call": (
        {
            "small/__init__.py": _HEAD
            + f"from flwr.clientapp import ClientApp\nClientApp.__call__ = {PLAIN}\n"
        },
        ("", ""),
    ),
}
# And these still are not seen: in its own process an app can be whatever it likes.
UNSEEN = {
    "ClientApp's class, and what looks at it": _HEAD
    + "import fedenclave.node.loaded_app as l\nl.AsLoaded.unlike = lambda *a: None\n"
    + f"from flwr.clientapp import ClientApp\nClientApp.__call__ = {PLAIN}\n",
    "every function of the mod's": _HEAD
    + "import fedenclave.flower.mod as m\n"
    + "m._answer = lambda message, *a: Message(message.content, reply_to=message)\n",
    "a reply of its own on the pipe": "import gc\nfrom fedenclave.node.app_pipe import AppPipe\n"
    "for each in gc.get_objects():\n"
    "    if isinstance(each, AppPipe):\n"
    "        each.send({'said': 'loaded'})\n        each.send({'said': 'plain text'})\n",
}


@pytest.fixture(autouse=True)
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def context() -> Context:
    state = RecordDict({"kept": ConfigRecord({"times": 1})})
    return Context(run_id=1, node_id=1, node_config={"a": 1}, state=state, run_config={"b": 2})


def asked(folder: Path, app: bytes) -> Message:
    approvals = AppApprovals(folder)
    approvals.approve(read_bundle(app), by="anna", now=1)
    message = Message(
        RecordDict({"plain": ConfigRecord({"x": "Jane Roe"})}), dst_node_id=1, message_type="train"
    )
    return answer(message, context(), app, CLIENT_APP, approvals).message


@pytest.mark.parametrize("trick", TRICKS)
def test_an_app_that_is_not_what_was_read_is_not_called(
    trick: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more, (old, new) = TRICKS[trick]
    source = apps.CLIENT_APP.replace(old, new, 1) if old else apps.CLIENT_APP
    reply = asked(tmp_path, apps.fab(apps.files(client_app=source, more=more)))
    assert reply.has_error()
    assert "not what was read of it" in capfd.readouterr().err
    assert "not what was read" not in reply.error.reason != FOR_HOST


@pytest.mark.parametrize("trick", UNSEEN)
def test_nor_does_one_answer_in_plain_text_that_deceives_its_own_process(
    trick: str, tmp_path: Path
) -> None:
    app = apps.fab(apps.files(more={"small/__init__.py": UNSEEN[trick]}))
    assert asked(tmp_path, app).error.reason.startswith("the message carries no offer")


CALLED = """
import os
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord
from flwr.app import RecordDict
from flwr.clientapp import ClientApp
from fedenclave.flower import confidential, plain_file
from fedenclave.protocol.errors import ConfigurationError

app = ClientApp(mods=[confidential()])


@app.train()
def train(message, context):
    what = message.content["config"]["what"]
    if what == "error":
        return Message(Error(0, "row 17: Jane Roe"), reply_to=message)
    if what == "raise":
        raise ValueError("row 17: Jane Roe")
    if what == "raise one of ours":
        raise ConfigurationError("row 17: Jane Roe")
    if what == "plain":
        plain_file(context)
    if what == "end":
        os._exit(0)
    context.state["kept"]["times"] += 1
    values = message.content["arrays"]["w"].numpy() + 1
    arrays = ArrayRecord({"w": Array(values), "none": Array(np.zeros((0, 2)))})
    seen = ConfigRecord({"order": list(message.content), "node": context.node_id})
    return Message(
        RecordDict({"arrays": arrays, "n": MetricRecord({"num-examples": 3}), "seen": seen}),
        reply_to=message,
    )
"""


def call(tmp_path: Path, what: str, held: Context) -> Message:
    bundle = apps.bundle(client_app=CALLED)
    content = RecordDict(
        {
            "config": ConfigRecord({"what": what}),
            "arrays": ArrayRecord({"w": Array(np.arange(3, dtype=np.float32))}),
        }
    )
    message = Message(content, dst_node_id=1, message_type="train")
    with AppCaller(bundle, unpack(bundle, tmp_path)) as app:
        return app._call(message, held)


def test_an_app_gets_and_gives_records_as_they_are(tmp_path: Path) -> None:
    held = context()
    reply = call(tmp_path, "train", held)
    arrays = reply.content.array_records["arrays"]
    np.testing.assert_array_equal(arrays["w"].numpy(), np.array([1, 2, 3], np.float32))
    assert arrays["none"].numpy().shape == (0, 2)
    assert reply.content.metric_records["n"]["num-examples"] == 3
    assert reply.content.config_records["seen"]["order"] == ["config", "arrays"]
    assert held.state.config_records["kept"]["times"] == 2


@pytest.mark.parametrize("what", ["error", "raise", "raise one of ours", "end"])
def test_an_app_that_fails_says_nothing_here(
    what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    held = context()
    with pytest.raises(AppRaised) as raised:
        call(tmp_path, what, held)
    assert SAYS not in repr(raised.value) + repr(raised.value.__cause__)
    assert held.state.config_records["kept"]["times"] == 1
    assert (SAYS in capfd.readouterr().err) is (what != "end")


def test_what_our_own_code_refuses_an_app_comes_back_in_our_words(tmp_path: Path) -> None:
    held = context()
    held.node_config["data-path"] = "rows.csv"
    with pytest.raises(ConfigurationError, match="data in plain text"):
        call(tmp_path, "plain", held)


def test_an_app_that_cannot_be_loaded_is_said_to_be_so(tmp_path: Path) -> None:
    bundle = apps.bundle(client_app=f"raise ValueError({SAYS!r})\n")
    with pytest.raises(AppNotLoaded, match="the app cannot be loaded"):
        AppCaller(bundle, unpack(bundle, tmp_path))
