"""What speaks against an app is seen without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedenclave.node.bundle import read_app
from fedenclave.node.inspection import inspect
from tests.node.apps import CLIENT_APP, SHADOW, WITHOUT_MOD, bundle


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


@pytest.mark.parametrize("name", ["hospital", "simulation"])
def test_nothing_is_against_the_apps_of_this_project(name: str) -> None:
    pytest.importorskip("flwr")
    assert not inspect(read_app(Path(__file__).parents[2] / "clients" / name), None).objections
