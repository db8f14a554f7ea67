"""Which proxy a node goes through, who is told of it, and what is said where it does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.client.folder import ClientFolder, Identity
from fedenclave.node.check import check
from fedenclave.node.configuration import read_configuration, write_configuration
from fedenclave.node.programs import environment, programs_of
from fedenclave.node.proxy import check_proxy, proxy_in_force, read_proxy, supernode_environment
from fedenclave.node.row import Row, State
from fedenclave.protocol.errors import ConfigurationError
from tests.node.connect_proxy import ConnectProxy

ADDRESS = "superlink.example:9092"


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    made = ConnectProxy()
    yield made
    made.close()


@pytest.fixture
def node(tmp_path: Path) -> Path:
    folder = ClientFolder.create(tmp_path / "node", Identity(client="a-1", member="a")).path
    write_configuration(folder, address=ADDRESS, port=29095)
    return folder


def named(node: Path, url: str) -> None:
    path = node / "node.toml"
    path.write_text(path.read_text().replace("[node]", f'proxy = "{url}"\n[node]'))


def row(node: Path, **environment: str) -> Row:
    (found,) = [each for each in check(node, caller=environment) if each.what == "proxy"]
    return found


@pytest.mark.parametrize(
    ("caller", "host"),
    [
        ({}, None),
        ({"https_proxy": "http://a:3128"}, "a"),
        ({"HTTPS_PROXY": "http://a:3128"}, "a"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "a"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:1"}, None),
        ({"https_proxy": "a:3128"}, "a"),
        ({"all_proxy": "http://c:1"}, "c"),
        ({"https_proxy": "http://a:1", "all_proxy": "http://c:1"}, "a"),
        ({"http_proxy": "http://d:1"}, None),
        ({"https_proxy": "http://a:1", "no_proxy": "superlink.example"}, None),
        ({"https_proxy": "http://a:1", "no_proxy": "x, .example"}, None),
        ({"https_proxy": "http://a:1", "NO_PROXY": "*"}, None),
        ({"https_proxy": "http://a:1", "no_proxy": "link.example,ample"}, "a"),
    ],
)
def test_the_environments_proxy_counts_as_for_every_other_program(
    caller: dict[str, str], host: str | None
) -> None:
    found = proxy_in_force(None, ADDRESS, caller)
    assert (found.host if found else None) == host


@pytest.mark.parametrize("address", ["127.0.0.1:9092", "localhost:9092", "[::1]:9092"])
def test_a_superlink_on_this_machine_is_reached_without_the_environments_proxy(
    node: Path, address: str
) -> None:
    caller = {"https_proxy": "http://a:3128"}
    assert proxy_in_force(None, address, caller) is None
    named(node, "http://proxy.example:3128")
    assert proxy_in_force(read_configuration(node).proxy, address, caller) is not None


def test_the_files_proxy_wins_over_the_environment(node: Path) -> None:
    named(node, "http://proxy.example:3128")
    configuration = read_configuration(node)
    caller = {"https_proxy": "http://other:1", "no_proxy": "*", "HOME": "/h"}
    found = proxy_in_force(configuration.proxy, configuration.address, caller)
    assert found is configuration.proxy
    assert str(found) == "proxy.example:3128 (node.toml)"


def test_only_the_supernode_is_told_of_a_proxy(node: Path, tmp_path: Path) -> None:
    caller = {"https_proxy": "http://a:3128", "http_proxy": "http://a:3128", "HOME": "/h"}
    told = supernode_environment(proxy_in_force(None, ADDRESS, caller))
    supernode, launcher = programs_of(read_configuration(node), tmp_path, told)
    assert supernode.more_environment == {"https_proxy": "http://a:3128"}
    assert not launcher.more_environment
    assert not [name for name in environment(tmp_path, caller) if "proxy" in name.lower()]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "proxy.example:3128",
        "socks5://proxy.example:1080",
        "http://",
        "http://proxy.example:99999",
        "http://proxy.example:x",
        "http://proxy.example:3128/path",
        "http://user:hunter2@proxy.example:3128?x=1",
        "http://user:hunter2@proxy.example :3128",
        "http://[::1",
        "http://prox\ny.example:3128",
    ],
)
def test_what_is_no_proxy_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_proxy(text, "node.toml")
    assert refused.value.hint
    assert "hunter2" not in str(refused.value)


def test_a_password_is_never_shown(proxy: ConnectProxy, node: Path) -> None:
    found = read_proxy(f"http://user:hunter2@127.0.0.1:{proxy.port}", "node.toml")
    assert found.has_password
    assert "hunter2" not in f"{found} {found!r}"
    named(node, found.url)
    assert row(node).found == f"127.0.0.1:{proxy.port} (node.toml)"
    (node / "node.toml").chmod(0o644)
    assert row(node).state is State.UNSAFE
    assert "hunter2" not in f"{row(node)}"


def test_a_proxy_that_does_not_answer_is_named_and_stops_nothing(
    proxy: ConnectProxy, node: Path
) -> None:
    url = f"http://127.0.0.1:{proxy.port}"
    assert row(node, https_proxy=url).state is State.OK
    assert not proxy.seen  # it was asked for nothing
    proxy.close()
    found = row(node, https_proxy=url)
    assert found.state is State.UNREACHABLE
    assert f"127.0.0.1:{proxy.port} (https_proxy, environment) does not answer" in found.found
    assert found.hint
    assert found.bad
    assert not found.stops
    with pytest.raises(ConfigurationError, match="does not answer"):
        check_proxy(read_proxy("http://no-such-host.invalid:3128", "node.toml"))


def test_an_environment_that_names_no_proxy_is_said(node: Path) -> None:
    assert row(node, https_proxy="socks5://a:1").state is State.MISSING
    assert row(node).state is State.OK
