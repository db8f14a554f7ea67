"""The service files: what they name is there, what they forbid is forbidden, and they are read."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "clients" / "service"
UNIT = SERVICE / "fedenclave-node.service"
PROGRAM = "/opt/fedenclave/bin/fedenclave"

Section = dict[str, list[str]]


def sections(path: Path) -> dict[str, Section]:
    """Read a unit: every key with all its values."""
    found: dict[str, Section] = {}
    current: Section = {}
    for line in path.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            current = found.setdefault(line.strip("[]"), {})
            continue
        key, sign, value = line.partition("=")
        assert sign, line
        current.setdefault(key, []).append(value)
    return found


def instructions() -> list[tuple[str, str]]:
    """Read the Containerfile: each instruction and its words."""
    text = re.sub(r"^#.*\n", "", (SERVICE / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def check_command(words: list[str]) -> None:
    """Check that our program takes these words: each command and option is one of its own."""
    assert words[0] == PROGRAM
    options = [word for word in words if word.startswith("--")]
    asked = [sys.executable, "-m", "fedenclave.cli", *words[1:3], "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, env=_WIDE)
    for option in options:
        assert option in done.stdout


_WIDE = {"COLUMNS": "200", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}


def test_the_units_command_is_one_of_ours_and_ends_as_it_should() -> None:
    service = sections(UNIT)["Service"]
    (start,) = service["ExecStart"]
    check_command(shlex.split(start))
    assert service["Type"] == ["notify"]
    assert service["KillMode"] == ["mixed"]
    assert service["Restart"] == ["on-failure"]


def test_the_unit_leaves_no_right_that_it_does_not_say_why() -> None:
    service = sections(UNIT)["Service"]
    for key in (
        "NoNewPrivileges",
        "PrivateTmp",
        "ProtectHome",
        "PrivateDevices",
        "LockPersonality",
    ):
        assert service[key] == ["yes"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["UMask"] == ["0077"]
    assert service["LimitCORE"] == ["0"]
    assert service["User"] == ["fedenclave"]
    landlock = [f"landlock_{each}" for each in ("create_ruleset", "add_rule", "restrict_self")]
    allowed = ["@system-service", " ".join(landlock), "~@privileged"]
    assert service["SystemCallFilter"] == allowed
    text = UNIT.read_text()
    assert "torch" in text[: text.index("MemoryDenyWriteExecute=no")].splitlines()[-1]


def test_the_passphrase_is_a_credential_and_in_no_variable() -> None:
    drop_in = sections(SERVICE / "fedenclave-node.service.d" / "sealed-data.conf")["Service"]
    (credential,) = drop_in["LoadCredential"]
    name = credential.partition(":")[0]
    assert f"FEDENCLAVE_PASSPHRASE_FILE=%d/{name}" in drop_in["Environment"]
    for path in SERVICE.rglob("*"):
        if path.is_file() and path.suffix != ".md":
            assert not re.search(r"(?i)passphrase\s*=\s*['\"]?\w+['\"]?$", path.read_text()), path


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit_and_little_exposed(tmp_path: Path) -> None:
    text = UNIT.read_text().replace(PROGRAM, "/usr/bin/env")
    (tmp_path / UNIT.name).write_text(text)
    verify = ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr, done.stderr
    shutil.copytree(SERVICE / f"{UNIT.name}.d", tmp_path / f"{UNIT.name}.d")
    with_all = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert with_all.returncode == 0, with_all.stderr
    assert UNIT.name not in with_all.stderr, with_all.stderr
    # Tenths, of 100: the unit with both drop-ins has 17.
    security = ["systemd-analyze", "security", "--offline=true", "--threshold=20", verify[-1]]
    done = subprocess.run(security, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_is_built_from_pinned_bytes_and_runs_as_nobody() -> None:
    made = instructions()
    bases = [words for name, words in made if name == "FROM"]
    assert bases
    assert all("@${PYTHON_DIGEST}" in base for base in bases)
    assert [words for name, words in made if name == "ARG"].count("PYTHON_DIGEST") == len(bases)
    (user,) = [words for name, words in made if name == "USER"]
    assert all(int(number) >= 1000 for number in user.split(":"))
    assert not [words for name, words in made if name in ("EXPOSE", "ADD", "VOLUME")]
    last = [name for name, _ in made][-2:]
    assert last == ["ENTRYPOINT", "CMD"]


def test_the_image_names_commands_extras_and_files_that_exist() -> None:
    made = instructions()
    commands = {name: words for name, words in made if name in ("ENTRYPOINT", "CMD")}
    words = [*tomllib.loads(f"x = {commands['ENTRYPOINT']}")["x"]]
    words += tomllib.loads(f"x = {commands['CMD']}")["x"]
    check_command(words)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runs = " ".join(words for name, words in made if name == "RUN")
    (extras,) = re.findall(r"\.whl\)\[([\w,]+)\]", runs)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    (copied,) = [words for name, words in made if name == "COPY" and "--from" not in words]
    for source in copied.split()[:-1]:
        # The wheel is built into dist/ before; its name begins with the project's.
        assert (ROOT / source).exists() or source == f"dist/{project['name']}-*.whl", source


def test_the_quadlet_publishes_nothing_and_asks_a_command_of_ours() -> None:
    container = sections(SERVICE / "fedenclave-node.container")["Container"]
    assert not [key for key in container if "Port" in key or key == "Network"]
    assert container["ReadOnly"] == ["yes"]
    assert container["DropCapability"] == ["all"]
    assert container["NoNewPrivileges"] == ["yes"]
    (health,) = container["HealthCmd"]
    check_command(tomllib.loads(f"x = {health}")["x"])
    (user,) = [words for name, words in instructions() if name == "USER"]
    assert container["User"] == [user.split(":")[0]]


def test_alerts_are_on_metrics_and_reasons_that_there_are() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    pytest.importorskip("prometheus_client", reason="not installed")
    from fedenclave.client.refusals import Cause
    from fedenclave.node import metrics

    source = Path(metrics.__file__).read_text()
    (group,) = yaml.safe_load((SERVICE / "prometheus-alerts.yml").read_text())["groups"]
    assert len(group["rules"]) > 5
    for rule in group["rules"]:
        assert rule["annotations"]["summary"]
        names = re.findall(r"fedenclave_node_(\w+)", rule["expr"])
        assert names, rule
        for name in names:
            assert f'"{name.removesuffix("_total")}"' in source, name
        for reasons in re.findall(r'reason=~?"([^"]+)"', rule["expr"]):
            assert set(reasons.split("|")) <= set(Cause)


def test_the_page_explains_every_reason_and_names_metrics_that_there_are() -> None:
    pytest.importorskip("prometheus_client", reason="not installed")
    from fedenclave.client.refusals import Cause
    from fedenclave.node import metrics

    page = (SERVICE / "README.md").read_text()
    for cause in Cause:
        assert f"`{cause.value}`" in page, cause
    (named,) = re.findall(r"`fedenclave_node_up`,.*?and more", page, re.DOTALL)
    source = Path(metrics.__file__).read_text()
    names = re.findall(r"`(?:fedenclave_node)?_?(\w+?)(?:_total)?(?:\{\w+\})?`", named)
    assert len(names) > 8
    for name in names:
        assert f'"{name}"' in source, name
    for path in SERVICE.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert path.name in page, path
