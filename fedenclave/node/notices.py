"""The places in an app's code that its owner is to look at: it talks, starts programs, makes code.

Names are followed through a file's imports: `from os import system as s` makes `s` a way to start
programs. Code that sets out to hide what it does can do so from any reading by a program, so this
is where a person's reading begins, and not its replacement.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fedenclave.node.source import MOD, MOD_HOMES


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What an app has from us: naming anything else of ours is pointed at.
_KNOWN = {
    "fedenclave.flower.Confidential",
    "fedenclave.flower.LINEAGE",
    "fedenclave.flower.lineage_record",
    "fedenclave.flower.open_node_dataset",
    "fedenclave.flower.plain_file",
    "fedenclave.datasets.lineage.Lineage",
    "fedenclave.datasets.reader.SealedDataset",
    "fedenclave.datasets.torch_loader.SealedFiles",
    "fedenclave.datasets.torch_loader.SealedRows",
    *(f"{home}.{MOD}" for home in MOD_HOMES),
}
# Modules, with all that is below them.
_TALKS = _words("""
adlfs aiohttp asyncio azure boto3 botocore comet_ml dns fsspec ftplib gcsfs google grpc h5pyd http
httpx huggingface_hub imaplib kafka kaggle logging.handlers mlflow neptune nntplib paramiko pika
poplib psycopg psycopg2 pycurl pymongo redis requests s3fs select selectors sentry_sdk smtplib
socket socketserver sqlalchemy ssl telnetlib tensorboard torch.distributed torch.hub
torch.utils.model_zoo torch.utils.tensorboard tornado transformers twisted urllib urllib3 wandb
webbrowser websocket websockets wsgiref xmlrpc zmq
""")
_STARTS = _words("""
_ctypes _posixsubprocess bdb builtins cProfile cffi cloudpickle code codeop
concurrent.futures.process ctypes dask dill gc imp importlib joblib marshal multiprocess
multiprocessing pdb pexpect pickle pip pkgutil posix profile pty ray runpy setuptools sh shelve
subprocess timeit torch.multiprocessing torch.utils.cpp_extension trace zipimport
""")
# Single names of modules that are harmless otherwise.
_NAMES_THAT_START = _words("""
concurrent.futures.ProcessPoolExecutor joblib.* numpy.DataSource os.exec* os.fork* os.popen*
os.posix_spawn* os.putenv os.spawn* os.startfile os.system pandas.eval pandas.read_pickle
sys.setprofile sys.settrace torch.jit.load torch.load torch.package.* torch.serialization.*
types.CodeType types.FunctionType types.MethodType
""")
_NAMES_THAT_REACH = _words("""
inspect.currentframe inspect.getmembers inspect.stack inspect.trace operator.attrgetter
operator.methodcaller operator.setitem sys._current_frames sys._getframe sys.meta_path sys.modules
sys.path sys.path_hooks sys.path_importer_cache unittest.mock.*
""")
_MAKES = _words("__import__ compile delattr eval exec getattr globals locals setattr vars")
# Where Flower's ClientApp keeps what it runs, and where Python keeps what things are made of.
_REACHES = _words(
    """
    __builtins__ __call__ __closure__ __code__ __defaults__ __dict__ __getattribute__ __globals__
    __kwdefaults__ __loader__ __path__ __reduce__ __reduce_ex__ __setattr__ __setstate__ __spec__
    __subclasses__ __wrapped__ _call _lifespan _mods _registered_funcs ag_frame cr_frame f_back
    f_builtins f_globals f_locals gi_frame tb_frame
    """
)
# Of objects whose class a reading does not know, so by their last name alone.
_METHODS = _words("to_pickle read_pickle to_sql to_gbq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A place in an app's code that its owner is to look at."""

    file: str
    line: int
    what: str


def notices(name: str, tree: ast.Module) -> list[Notice]:
    """Return the places of one file, in its order, each once."""
    known = _imports(tree)
    prose = _docstrings(tree)
    found = {
        (getattr(node, "lineno", 0), what)
        for node in ast.walk(tree)
        if id(node) not in prose
        for what in _noticed(node, known)
    }
    return [Notice(file=name, line=line, what=what) for line, what in sorted(found)]


def _imports(tree: ast.Module) -> dict[str, str]:
    """Return what a file's names stand for, by its imports, wherever they are."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                known[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                known[alias.asname or alias.name] = f"{_module(node)}.{alias.name}"
    return known


def _module(node: ast.ImportFrom) -> str:
    return "." * node.level + (node.module or "")


def _docstrings(tree: ast.Module) -> set[int]:
    """Return the texts that are nobody's value."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def _noticed(node: ast.AST, known: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _imported(alias.name)
            if alias.name.partition(".")[0] == "fedenclave":
                yield "imports FedEnclave's inner parts, which it could change"
    elif isinstance(node, ast.ImportFrom):
        names = [f"{_module(node)}.{alias.name}" for alias in node.names]
        for name in names:
            yield from _imported(name)
            yield from _named(name)
        if any(n.startswith("fedenclave") and n not in _KNOWN for n in names):
            yield "imports FedEnclave's inner parts, which it could change"
    elif isinstance(node, ast.Name | ast.Attribute):
        yield from _used(node, known)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from _text(node.value)


def _imported(name: str) -> Iterator[str]:
    for modules, what in (
        (_TALKS, "can talk to others"),
        (_STARTS, "can start programs or run other code"),
    ):
        for module in modules:
            if name == module or name.startswith(f"{module}."):
                yield f"imports {module}: {what}"


def _named(name: str) -> Iterator[str]:
    if any(fnmatchcase(name, each) for each in _NAMES_THAT_START):
        yield f"uses {name}: can start programs or run other code"
    if any(fnmatchcase(name, each) for each in _NAMES_THAT_REACH):
        yield f"uses {name}: could go round what is read here"
    module, _, last = name.rpartition(".")
    if module == "builtins" and last in _MAKES:
        yield f"uses {last}: what it does cannot be read here"


def _used(node: ast.Name | ast.Attribute, known: dict[str, str]) -> Iterator[str]:
    last = node.id if isinstance(node, ast.Name) else node.attr
    if last in _REACHES:
        yield f"uses .{last}: could go round the mod"
    if isinstance(node, ast.Attribute) and last in _METHODS:
        yield f"uses .{last}: can run other code, or write elsewhere"
    if isinstance(node, ast.Name) and last in _MAKES and last not in known:
        yield f"uses {last}: what it does cannot be read here"
    if name := _dotted(node, known):
        yield from _named(name)
        # Below what was imported: `torch.hub` of `import torch`.
        if isinstance(node, ast.Attribute) and "." in name:
            yield from _imported(name) if name in {*_TALKS, *_STARTS} else ()


def _dotted(node: ast.expr, known: dict[str, str]) -> str:
    """Return what a name stands for, with dots; "" for what is no name of names."""
    if isinstance(node, ast.Name):
        return known.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value, known)):
        return f"{base}.{node.attr}"
    return ""


def _text(value: str) -> Iterator[str]:
    if "://" in value:
        yield f"names the address {value[:80]!r}"
    for part in value.split("."):
        if part in _REACHES - {"__call__", "_call"}:
            yield f"names {part}: could go round the mod"
