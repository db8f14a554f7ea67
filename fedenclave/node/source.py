"""What an app's client code says of itself: read as a syntax tree, and never run.

It shows what honest code does. Code that sets out to hide what it does can do so from any reading
by a program, so this is where a person's reading begins, and not its replacement.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from fedenclave.protocol.errors import ConfigurationError

_MOD = "confidential"
_MOD_HOMES = ("fedenclave.flower", "fedenclave.flower.mod")
# What an app has from us: naming anything else of ours is pointed at.
_KNOWN = {
    ("fedenclave.flower", "Confidential"),
    ("fedenclave.flower", "LINEAGE"),
    ("fedenclave.flower", "lineage_record"),
    ("fedenclave.flower", "open_node_dataset"),
    ("fedenclave.flower", "plain_file"),
    ("fedenclave.datasets.lineage", "Lineage"),
    ("fedenclave.datasets.reader", "SealedDataset"),
    ("fedenclave.datasets.torch_loader", "SealedFiles"),
    ("fedenclave.datasets.torch_loader", "SealedRows"),
}
_APP = "ClientApp"
_APP_HOMES = ("flwr.clientapp", "flwr.client")
_TALKS = {"aiohttp", "asyncio", "ftplib", "grpc", "http", "httpx", "requests", "smtplib", "socket"}
_TALKS |= {"socketserver", "ssl", "telnetlib", "urllib", "urllib3", "websockets", "xmlrpc"}
_STARTS = {"_ctypes", "cffi", "ctypes", "imp", "importlib", "marshal", "multiprocessing", "pickle"}
_STARTS |= {"pty", "runpy", "shelve", "subprocess"}
_CALLS = {"__import__", "compile", "delattr", "eval", "exec", "getattr", "globals", "setattr"}
_CALLS |= {"vars"}
# Where Flower's ClientApp keeps what it runs, and in which order.
_REACHES = {"__dict__", "_call", "_lifespan", "_mods", "_registered_funcs"}
_OS_CALLS = {"execv", "execve", "execvp", "fork", "popen", "posix_spawn", "putenv", "system"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A place in an app's code that its owner is to look at."""

    file: str
    line: int
    what: str


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
    for name, homes in ((_MOD, _MOD_HOMES), (_APP, _APP_HOMES)):
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
        return f"{attribute} is not ClientApp(mods=[{_MOD}(), ...])"
    if _changed_later(tree, attribute):
        return f"{attribute} is changed after it was made"
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
    return bool(first) and ast.dump(first[0]) == ast.dump(ast.parse(f"{_MOD}()", mode="eval").body)


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


def _changed_later(tree: ast.Module, attribute: str) -> bool:
    """Return whether something of the app's own is set: `app._mods = []`."""
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == attribute
        and (not isinstance(node.ctx, ast.Load) or node.attr.startswith("_"))
        for node in ast.walk(tree)
    )


def has_lifespan(tree: ast.Module, attribute: str) -> bool:
    """Return whether the app has a function that Flower runs outside of every mod."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "lifespan"
        and isinstance(node.value, ast.Name)
        and node.value.id == attribute
        for node in ast.walk(tree)
    )


def notices(name: str, tree: ast.Module) -> list[Notice]:
    """Return the places where code talks to others, starts programs, or makes code."""
    found = []
    for node in ast.walk(tree):
        what = _noticed(node)
        if what:
            found.append(Notice(file=name, line=getattr(node, "lineno", 0), what=what))
    return sorted(found, key=lambda each: each.line)


def _noticed(node: ast.AST) -> str:
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = imported(ast.Module(body=[node], type_ignores=[]))
        if talks := sorted(names & _TALKS):
            return f"imports {', '.join(talks)}: can talk to others"
        if starts := sorted(names & _STARTS):
            return f"imports {', '.join(starts)}: can start programs or run other code"
        if any(_internal(node)):
            return "imports FedEnclave's inner parts, which it could change"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        return f"calls {node.func.id}: what it does cannot be read here"
    if isinstance(node, ast.Attribute) and node.attr in _REACHES:
        return f"uses .{node.attr}: could go round the mod"
    if isinstance(node, ast.Attribute) and node.attr in _OS_CALLS:
        return f"uses .{node.attr}: can start programs"
    return ""


def _internal(node: ast.Import | ast.ImportFrom) -> Iterator[bool]:
    if isinstance(node, ast.ImportFrom):
        inner = (node.module or "").startswith("fedenclave")
        known = _KNOWN | {(home, _MOD) for home in _MOD_HOMES}
        yield inner and not all((node.module, alias.name) in known for alias in node.names)
    else:
        yield any(alias.name.partition(".")[0] == "fedenclave" for alias in node.names)
