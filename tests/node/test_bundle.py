"""What a bundle is; and that whatever the bytes, there is one error and nothing is run."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.node.bundle import MAX_UNPACKED, fab_hash, read_app, read_bundle
from fedenclave.protocol.errors import ConfigurationError
from tests.node.apps import bundle, fab, files, folder_of


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
def test_the_hash_of_a_folder_is_that_which_flower_sends_it_under(tmp_path: Path) -> None:
    build = pytest.importorskip("flwr.cli.build")
    folder = folder_of(tmp_path / "small", files())
    built = build.build_fab_from_disk(folder)
    app = read_app(folder)
    assert app.fab_hash == hashlib.sha256(built).hexdigest()
    (tmp_path / "a.fab").write_bytes(built)
    assert read_app(tmp_path / "a.fab") == app
    assert (app.app_id, app.version) == ("clinic/small", "1.0.0")
    assert app.client_app == "small.client_app:app"


def test_the_hospital_app_is_one() -> None:
    pytest.importorskip("flwr")
    app = read_app(Path(__file__).parents[2] / "clients" / "hospital")
    assert app.app_id == "fedenclave/hospital"
    assert app.dependencies == ()


@pytest.mark.parametrize(
    "name",
    ["../x.py", "/x.py", "a/../../x.py", "a\\x.py", "a//x.py", "./x.py", "c:x.py", "a\nb.py"],
)
def test_a_file_that_would_lie_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="unusable name"):
        read_bundle(fab(files() | {name: b""}))


@pytest.mark.parametrize("name", ["small/x.so", "small/__pycache__/x.pyc", "x.pth", "small/x"])
def test_what_nobody_can_read_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no source or settings"):
        read_bundle(fab(files() | {name: b""}))


def test_two_names_that_some_file_systems_take_for_one_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        read_bundle(fab(files() | {"small/Client_App.py": b""}))


def test_a_file_that_the_list_does_not_name_is_refused() -> None:
    # Flower unpacks it without a look.
    with pytest.raises(ConfigurationError, match="list of files and files differ"):
        read_bundle(fab(files() | {"small/more.py": b"x"}, listed=files()))


def test_a_file_that_is_not_what_the_list_says_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="another hash"):
        read_bundle(fab(files() | {"small/__init__.py": b"x"}, listed=files()))


def test_a_bundle_that_unpacks_to_gigabytes_is_refused() -> None:
    app = files() | {"small/big.json": bytes(MAX_UNPACKED)}
    with pytest.raises(ConfigurationError, match="unpacks to more"):
        read_bundle(fab(app))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('publisher = "clinic"', 'publisher = "../clinic"'),
        ('name = "small"', 'name = "a/b"'),
        ('version = "1.0.0"', 'version = "../../x"'),
        ('clientapp = "small.client_app:app"', 'clientapp = "small"'),
        ('clientapp = "small.client_app:app"', ""),
        ("[tool.flwr.app]", "[tool.other]"),
        ("[project]", "[project"),
    ],
)
def test_a_project_file_that_names_no_app_is_refused(old: str, new: str) -> None:
    app = files()
    app["pyproject.toml"] = app["pyproject.toml"].replace(old.encode(), new.encode())
    with pytest.raises(ConfigurationError):
        read_bundle(fab(app))


@given(st.binary(max_size=400))
def test_no_bytes_are_another_error(data: bytes) -> None:
    with pytest.raises(ConfigurationError):
        read_bundle(data)


@given(st.data())
def test_a_bundle_with_a_changed_byte_is_another_app_or_none(data: st.DataObject) -> None:
    whole = bundle()
    changed = bytearray(whole.data)
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    assert fab_hash(bytes(changed)) != whole.fab_hash
    with contextlib.suppress(ConfigurationError):
        read_bundle(bytes(changed))


def test_a_folder_without_an_app_and_a_path_to_nothing_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no pyproject"):
        read_app(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot read app"):
        read_app(tmp_path / "none.fab")
