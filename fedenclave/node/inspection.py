"""What an app is, what speaks against it, and what would leave the machine if it ran.

Rules:
  * Against an app speaks: a name of its own before an installed package (`fedenclave/` before all),
    a client app whose first mod cannot be seen to be ours, anything of the name `lifespan`,
    `import *`, files that a reader would see otherwise than Python (disguises.py), and that it
    names another manifest than the owner approved. Such an app cannot be approved.
  * All else is shown, and the owner decides.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from dataclasses import dataclass
from importlib import metadata

from fedenclave.node.bundle import Bundle
from fedenclave.node.disguises import disguises, odd_names
from fedenclave.node.notices import Notice, notices
from fedenclave.node.source import (
    imported,
    lifespan_lines,
    mod_is_first,
    module_file,
    star_lines,
    syntax,
    top_names,
)
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.manifest import Manifest

OURS = frozenset({"fedenclave", "flwr"})
# Imported by Python itself at its start, where they can be found.
_CUSTOMIZE = frozenset({"sitecustomize", "usercustomize"})
_DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was seen. `objections` is empty where the app can be approved."""

    bundle: Bundle
    mod_is_first: bool
    objections: tuple[str, ...]
    imports: tuple[str, ...]
    dependencies: tuple[str, ...]
    notices: tuple[Notice, ...]
    leaves: tuple[str, ...]

    def plain(self) -> dict[str, object]:
        """Return it for a program."""
        bundle = self.bundle
        return {
            "app": bundle.app_id,
            "version": bundle.version,
            "fab_hash": bundle.fab_hash,
            "client_app": bundle.client_app,
            "files": {n: hashlib.sha256(c).hexdigest() for n, c in bundle.files.items()},
            "imports": list(self.imports),
            "dependencies": list(self.dependencies),
            "run_config": list(bundle.run_config),
            "names_manifest": bundle.manifest or "none",
            "confidential_mod_first": self.mod_is_first,
            "look_at": [f"{n.file}:{n.line} {n.what}" for n in self.notices],
            "leaves_this_machine": list(self.leaves),
            "objections": list(self.objections),
        }


def inspect(bundle: Bundle, manifest: Manifest | None) -> Inspection:
    """Look at an app.

    Args:
        bundle: the app.
        manifest: the one that the owner approved; None where there is none yet.

    Raises:
        ConfigurationError: a source file of the app is no Python.
    """
    trees = {n: syntax(n, c) for n, c in bundle.files.items() if n.endswith(".py")}
    names = {name for tree in trees.values() for name in imported(tree)}
    own = top_names(bundle.files)
    no_mod = _client_app(bundle)
    return Inspection(
        bundle=bundle,
        mod_is_first=not no_mod,
        objections=(
            *_shadowing(own),
            *no_mod,
            *(each for name, tree in trees.items() for each in _anywhere(name, tree)),
            *disguises(bundle.files),
            *_other_manifest(bundle, manifest),
        ),
        imports=tuple(sorted(names - own - sys.stdlib_module_names)),
        dependencies=tuple(_installed(each) for each in bundle.dependencies),
        notices=tuple(
            each for name, tree in trees.items() for each in _to_look_at(bundle, name, tree)
        ),
        leaves=_leaves(manifest),
    )


def _shadowing(own: set[str]) -> list[str]:
    taken = OURS | _CUSTOMIZE | sys.stdlib_module_names | set(metadata.packages_distributions())
    return [
        f"its {name} would take the place of the installed one"
        for name in sorted({each for each in own if each.casefold() in taken or each in taken})
    ]


def _client_app(bundle: Bundle) -> list[str]:
    module, _, attribute = bundle.client_app.partition(":")
    file = module_file(bundle.files, module)
    if file is None:
        return [f"that its first mod is ours cannot be seen: {module} is no one file of it"]
    tree = syntax(file, bundle.files[file])
    why = mod_is_first(tree, attribute)
    return [f"that its first mod is ours cannot be seen in {file}: {why}"] if why else []


def _anywhere(name: str, tree: ast.Module) -> list[str]:
    return [
        *(
            f"{name}:{line} names a lifespan function, which Flower runs outside every mod"
            for line in lifespan_lines(tree)
        ),
        *(
            f"{name}:{line} has import *: what a name stands for cannot be seen"
            for line in star_lines(tree)
        ),
    ]


def _to_look_at(bundle: Bundle, name: str, tree: ast.Module) -> list[Notice]:
    odd = odd_names(bundle.files[name])
    found = [Notice(file=name, line=line, what=what) for line, what in odd]
    return sorted([*found, *notices(name, tree)], key=lambda each: each.line)


def _other_manifest(bundle: Bundle, manifest: Manifest | None) -> list[str]:
    if bundle.manifest is None:
        return []
    held = "none" if manifest is None else to_text(manifest.digest)
    if bundle.manifest == held:
        return []
    return [f"it is made for manifest {bundle.manifest[:100]!r}, and this folder's is {held}"]


def _installed(requirement: str) -> str:
    """Return a requirement with the version that is here: nothing is installed for an app."""
    found = _DISTRIBUTION.match(requirement)
    try:
        here = metadata.version(found.group()) if found else "unreadable"
    except metadata.PackageNotFoundError:
        here = "not installed"
    return f"{requirement} (here: {here}; nothing is installed for an app)"


def _leaves(manifest: Manifest | None) -> tuple[str, ...]:
    """Return what an app that is run through the mod can let leave, in words."""
    if manifest is None:
        return ("nothing: no manifest is approved in this folder, and the mod refuses every offer",)
    reported = ", ".join(manifest.rules.reported) or "none"
    return (
        "the update, sealed to the enclave that the manifest names, with its number of examples",
        f"metrics that the manifest names, sealed with it: {reported}",
        "fedenclave.lineage, where the app sets it: 32 bytes that everybody can read",
        "nothing else",
    )
