"""What an app's client code says of itself: read as a syntax tree, and never run.

It shows what honest code does: whether an app is made in the one form that is documented. What an
app does that hides what it is, no reading by a program can tell (notices.py).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from fedenclave.protocol.errors import ConfigurationError

MOD = "confidential"
MOD_HOMES = ("fedenclave.flower", "fedenclave.flower.mod")
_APP = "ClientApp"
_APP_HOMES = ("flwr.clientapp", "flwr.client")


def module_file(files: Mapping[str, bytes], module: str) -> str | None:
    """Return which file of an app a module is, or None."""
    base = module.replace(".", "/")
    found = [name for name in (f"{base}.py", f"{base}/__init__.py") if name in files]
    # Python takes the package where there are both; a reader might look at the other.
    return found[0] if len(found) == 1 else None


def syntax(name: str, content: bytes) -> ast.Module:
    """Return a source file's syntax tree.

    Raises:
        ConfigurationError: it is not Python that this interpreter reads.
    """
    try:
        return ast.parse(content, filename=name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigurationError(
            f"app's {name[:100]} is not Python that can be read",
            hint="an app that cannot be read cannot be approved",
        ) from error


def imported(tree: ast.Module) -> set[str]:
    """Return the first names of all that a module imports, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def top_names(files: Mapping[str, bytes]) -> set[str]:
    """Return the modules that an app puts before all installed ones."""
    tops = {PurePosixPath(name).parts[0] for name in files}
    return {top.removesuffix(".py") for top in tops if "." not in top or top.endswith(".py")}


def mod_is_first(tree: ast.Module, attribute: str) -> str:
    """Return why it cannot be seen that `attribute` has the confidential mod first; "" if it can.

    Seen is one form only, the documented one: `from fedenclave.flower import confidential`, and
    `NAME = ClientApp(mods=[confidential(), ...])`, both at the top of the module and both once.
    """
    for name, homes in ((MOD, MOD_HOMES), (_APP, _APP_HOMES)):
        if not _comes_from(tree, name, homes):
            return f"it does not import {name} from {homes[0]}, once and under its own name"
    if _times_bound(tree, attribute) != 1:
        return f"{attribute} is not set exactly once"
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and [t.id for t in node.targets if isinstance(t, ast.Name)] == [attribute]
    ]
    if len(values) != 1 or not _first_is_ours(values[0]):
        return f"{attribute} is not ClientApp(mods=[{MOD}(), ...])"
    for name in (attribute, MOD, _APP):
        if _changed_later(tree, name):
            return f"{name} is changed after it was made"
    return ""


def _comes_from(tree: ast.Module, name: str, homes: tuple[str, ...]) -> bool:
    imports = [
        node
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        and node.module in homes
        and any(alias.name == name and alias.asname is None for alias in node.names)
    ]
    return len(imports) == 1 and _times_bound(tree, name) == 1


def _first_is_ours(value: ast.expr) -> bool:
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name)):
        return False
    mods = [word.value for word in value.keywords if word.arg == "mods"]
    if value.func.id != _APP or not mods or not isinstance(mods[0], ast.List):
        return False
    first = mods[0].elts[:1]
    return bool(first) and ast.dump(first[0]) == ast.dump(ast.parse(f"{MOD}()", mode="eval").body)


def _times_bound(tree: ast.Module, name: str) -> int:
    return sum(bound == name for bound in _bindings(tree))


def _bindings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.ExceptHandler) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest


def _changed_later(tree: ast.Module, attribute: str) -> bool:
    """Return whether something of the name's own is set or reached for: `app._mods = []`."""
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == attribute
        and (not isinstance(node.ctx, ast.Load) or node.attr.startswith("_"))
        for node in ast.walk(tree)
    )


def lifespan_lines(tree: ast.Module) -> list[int]:
    """Return the lines that name a lifespan, of whatever object: an app has many names."""
    return sorted(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "lifespan"
    )


def star_lines(tree: ast.Module) -> list[int]:
    """Return the lines with `import *`, which gives names that are not written there."""
    return sorted(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    )
