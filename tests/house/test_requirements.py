"""pyproject.toml says what is needed, constraints.txt what was tested; they must agree."""

import re

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.house.tree import ROOT, pyproject

PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;]+)")
GRPC_FAMILY = ["grpcio", "grpcio-health-checking", "grpcio-reflection", "grpcio-tools"]


def pin_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins() -> dict[str, Version]:
    matches = [PIN.fullmatch(line) for line in pin_lines()]
    return {canonicalize_name(m["name"]): Version(m["version"]) for m in matches if m}


def direct_requirements() -> list[Requirement]:
    config = pyproject()
    project = config["project"]
    texts = [*config["build-system"]["requires"], *project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        texts += extra
    requirements = [Requirement(text) for text in texts]
    return [item for item in requirements if item.name != project["name"]]


def test_every_constraint_is_one_exact_public_version() -> None:
    lines = pin_lines()
    assert [line for line in lines if not PIN.fullmatch(line)] == []
    assert [name for name, version in pins().items() if version.local] == []
    assert len(pins()) == len(lines), "a package is pinned twice"
    assert lines == sorted(lines, key=str.casefold)


def test_every_direct_requirement_has_a_pin_within_its_range() -> None:
    pinned = pins()
    for requirement in direct_requirements():
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} has no pin"
        assert version in requirement.specifier, f"{version} is outside {requirement}"


def test_the_grpc_packages_are_pinned_to_one_version() -> None:
    pinned = pins()
    assert len({pinned[name] for name in GRPC_FAMILY}) == 1
