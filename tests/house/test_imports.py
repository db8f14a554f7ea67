"""Who may import whom: what import-linter's contracts cannot say, and that they bite.

import-linter knows third-party packages only by their first name. Two rules need more: the lists
of all that the protocol and the enclave may use, and the parts of `cryptography` that the host,
which must hold no key to an update, may not. ruff bans `pickle` and its kin everywhere, but cannot
look at the argument that keeps `numpy.load` from unpickling.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import PACKAGE, ROOT, pyproject, tracked_files

STDLIB = sys.stdlib_module_names
ALLOWED = {
    "protocol": {"cbor2", "cryptography", "numpy", "fedenclave"} | STDLIB,
    "enclave": {"cbor2", "cryptography", "numpy", "fedenclave"} | STDLIB,
}
KEY_MATERIAL = (
    "cryptography.fernet",
    "cryptography.hazmat.primitives.ciphers",
    "cryptography.hazmat.primitives.hpke",
)

# One breach of each contract, by the module that commits it. The second and the third go round
# a corner: it is not the named package itself that imports what is forbidden.
BREACHES = {
    "__init__": "import fedenclave.flower",
    "flower.__init__": "import flwr",
    "protocol.clock": "import pickle, time, fedenclave.host",
    "protocol.opening": "",
    "enclave.core": "import fedenclave.protocol.clock, fedenclave.attestation",
    "host.peek": "import fedenclave.protocol.opening, fedenclave.enclave.core, torch",
    "audit.served": "import grpc, urllib.request",
    "flower.trainer": "import torch",
    "datasets.borrowed": "import fedenclave.audit, fsspec, torch",
    "node.judge": "import fedenclave.attestation",
    "demo.play": "import fedenclave.attack_suite",
    "attack_suite.reader": "import fedenclave.protocol.opening",
    "cli.sums": "import numpy, flwr",
}


def imported_names(path: Path) -> set[str]:
    """Return every dotted name that `path` imports, `from a import b` as both `a` and `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_the_trusted_packages_use_only_what_is_listed(package: str) -> None:
    for path in (PACKAGE / package).rglob("*.py"):
        strangers = {name.partition(".")[0] for name in imported_names(path)} - ALLOWED[package]
        assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"


def test_the_host_imports_nothing_that_encrypts_or_decrypts() -> None:
    for path in (PACKAGE / "host").rglob("*.py"):
        found = {
            name
            for name in imported_names(path)
            for part in KEY_MATERIAL
            if name == part or name.startswith(part + ".")
        }
        assert not found, f"{path.relative_to(ROOT)} imports {sorted(found)}"


def loads_that_may_unpickle(source: str) -> list[int]:
    """Return the lines that call numpy's load without the literal `allow_pickle=False`."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if ast.unparse(call.func) in {"np.load", "numpy.load"}
        and "allow_pickle=False" not in [ast.unparse(keyword) for keyword in call.keywords]
    ]


def test_numpy_load_is_told_not_to_unpickle() -> None:
    assert loads_that_may_unpickle("np.load(path)") == [1]
    assert loads_that_may_unpickle("np.load(path, allow_pickle=False)") == []
    for path in tracked_files():
        if path.suffix == ".py":
            lines = loads_that_may_unpickle((ROOT / path).read_text(encoding="utf-8"))
            assert not lines, f"{path} calls numpy.load without allow_pickle=False: {lines}"


def test_every_contract_has_a_sentence_for_a_name() -> None:
    names = [contract["name"] for contract in pyproject()["tool"]["importlinter"]["contracts"]]
    assert len(names) == len(set(names))
    for name in names:
        assert name[0].isupper(), name
        assert len(name.split()) >= 5, name


def lint(tree: Path) -> str:
    """Run the project's contracts on the package under `tree`, and return the report."""
    (tree / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    # Beside this interpreter first: a bare name would find another environment's.
    tool = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [str(tool), "--no-cache"], cwd=tree, capture_output=True, text=True, check=False
    )
    return result.stdout + result.stderr


def write_package(tree: Path, modules: dict[str, str]) -> None:
    layers = pyproject()["tool"]["importlinter"]["contracts"][0]["layers"]
    packages = [name.strip() for layer in layers for name in layer.split("|")]
    empty = dict.fromkeys(["__init__", *(f"{name}.__init__" for name in packages)], "")
    for module, source in ({"protocol.opening": ""} | empty | modules).items():
        path = tree.joinpath("fedenclave", *module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source + "\n", encoding="utf-8")


def test_the_contracts_keep_a_clean_tree_and_each_catches_its_breach(tmp_path: Path) -> None:
    contracts = len(pyproject()["tool"]["importlinter"]["contracts"])
    clean, breached = tmp_path / "clean", tmp_path / "breached"
    write_package(clean, {})
    write_package(breached, BREACHES)
    assert f"Contracts: {contracts} kept, 0 broken." in lint(clean)
    assert f"Contracts: 0 kept, {contracts} broken." in lint(breached)
