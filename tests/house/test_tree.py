"""The tree's own rules: what lies where, how long a file is, what no file may name."""

import re

import pytest

from tests.house.tree import PACKAGE, ROOT, tracked_files

TOP_LEVEL = {
    "LICENSE",
    "Makefile",
    "README.md",
    "aggregator",
    "benchmarks",
    "clients",
    "constraints.txt",
    "fedenclave",
    "pyproject.toml",
    "tests",
}

MAX_LINES = 400

# Put together from halves, so that this file does not name what it forbids.
REGISTRY_HOSTS = [
    ".".join(labels)
    for labels in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("download", "pytorch", "org"),
        ("npmjs", "org"),
        ("crates", "io"),
        ("anaconda", "org"),
        ("proxy", "golang", "org"),
    ]
]
REGISTRY = re.compile(
    "|".join(re.escape(host) for host in REGISTRY_HOSTS)
    + r"|(?:index-url|find-links)[\s=]+[\"']?(?:https?|file):",
    re.IGNORECASE,
)
# Absolute paths of one machine. Let pass are a path inside a web address, which follows a letter,
# what every Linux machine has (/tmp, /root), and one name below /home or /tmp, as examples use.
MACHINE_PATH = re.compile(
    r"(?<![\w.~$}-])/(?:(?:home|Users|tmp|var/tmp)/[\w.-]+/|(?:root|work)/[\w.])"
)


def test_the_top_level_holds_only_what_it_is_meant_to_hold() -> None:
    entries = {path.parts[0] for path in tracked_files()}
    strangers = {name for name in entries if name not in TOP_LEVEL and not name.startswith(".")}
    assert not strangers, f"not among the fixed entries of the top level: {sorted(strangers)}"


@pytest.mark.parametrize(
    ("what", "pattern"), [("package registry", REGISTRY), ("machine's own path", MACHINE_PATH)]
)
def test_no_tracked_file_names_a_registry_or_a_machines_own_path(
    what: str, pattern: re.Pattern[str]
) -> None:
    findings = []
    for path in tracked_files():
        content = (ROOT / path).read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            if match := pattern.search(line):
                findings.append(f"{path}:{number} names a {what}: {match.group()}")
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(
    "text",
    [
        "see /home" + "/anna/notes",
        "file:///tmp" + "/x/y",
        "'/root" + "/.venv'",
        "cd /work" + "/main",
    ],
)
def test_the_path_rule_sees_a_machines_own_path(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "tmpfs on /tmp with size=64m",
        "write to /tmp/receipt.json",
        "https://example.org/home/news",
        "docs/work/plan.md",
        "$HOME/tmp/state",
        "the /root of the tree",
    ],
)
def test_the_path_rule_lets_ordinary_text_pass(text: str) -> None:
    assert not MACHINE_PATH.search(text)


def test_no_source_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
        if "_pb2" not in path.name
    }
    too_long = {str(path): lines for path, lines in lengths.items() if lines > MAX_LINES}
    assert not too_long, f"longer than {MAX_LINES} lines: {too_long}"


def test_every_make_command_in_the_readme_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    # A command stands at the start of a line or in back quotes; "make sure" in a sentence does not.
    commands = set(re.findall(r"(?:^\s*(?:\$ )?|`)make ([a-z]+)", readme, re.MULTILINE))
    assert {"demo", "test"} <= commands
    assert commands <= targets
