"""A Flower app bundle (FAB): its files, its hash, what its pyproject.toml names.

Nothing of an app is run or imported here, and nothing is written.

Rules:
  * The hash is Flower's: SHA-256 of the bundle's bytes, not of what is unpacked from them.
  * Every file is listed in the bundle's own list, with its hash, and every listed file is there.
    (Flower looks at those that are listed and unpacks the others unseen.)
  * A name means one place: relative, no `..`, no backslash, not twice, also where a file system
    does not tell upper case from lower.
  * Only kinds of files that Flower packs: no compiled code, whose source nobody could read.

Source: flwr 1.41, flwr/cli/build.py and flwr/cli/install.py.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fedenclave.client.files import read_file
from fedenclave.protocol.errors import ConfigurationError, printable
from fedenclave.protocol.toml_table import parse

PROJECT_FILE = "pyproject.toml"
LIST_FILE = ".info/CONTENT"
KINDS = frozenset({".py", ".toml", ".md", ".yaml", ".yml", ".json", ".jsonl"})
MAX_BYTES = 10 * 1024 * 1024  # Flower's own limit of a bundle
MAX_UNPACKED = (
    64 * 1024 * 1024
)  # source and settings of any app; a few hundred bytes can hold gigabytes
MAX_FILES = 2000
MAX_PROJECT = 1024 * 1024  # names and settings; reading TOML takes many times its size
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
_READ_AGAIN = "have the app built again with `flwr build`, and sent again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An app as it would be sent: `data` is the bundle, `files` what it holds, by path."""

    data: bytes
    files: Mapping[str, bytes]
    app_id: str
    version: str
    client_app: str
    dependencies: tuple[str, ...]
    run_config: tuple[str, ...]
    manifest: str | None

    @property
    def fab_hash(self) -> str:
        """The app's hash as Flower writes it: 64 hexadecimal digits."""
        return fab_hash(self.data)


def fab_hash(data: bytes) -> str:
    """Return a bundle's hash, as Flower writes it."""
    return hashlib.sha256(data).hexdigest()


def read_app(path: Path) -> Bundle:
    """Return the app in a folder, bundled as `flwr run` would send it, or in a bundle.

    Raises:
        ConfigurationError: it is neither, or the bundle breaks a rule of this module.
    """
    if path.is_dir():
        return read_bundle(_build(path))
    if path.exists() and path.stat().st_size > MAX_BYTES:
        raise ConfigurationError(
            f"{path} has more than {MAX_BYTES} bytes, want a Flower app bundle"
        )
    return read_bundle(read_file(path, "app"))


def _build(folder: Path) -> bytes:
    if not (folder / PROJECT_FILE).is_file():
        raise ConfigurationError(
            f"{folder} holds no {PROJECT_FILE}", hint="name the folder of a Flower app, or a .fab"
        )
    try:
        from flwr.cli.build import build_fab_from_disk
    except ImportError as error:
        raise ConfigurationError(
            "a folder is bundled by Flower, which is not installed here",
            hint="pip install 'fedenclave[flower]', or name a built bundle (.fab)",
        ) from error
    try:
        with warnings.catch_warnings():
            # About Flower's own use of another package, which is no business of a data owner's.
            warnings.simplefilter("ignore", DeprecationWarning)
            return build_fab_from_disk(folder)
    except Exception as error:
        # Flower tells its user by exceptions of several kinds, some of which are click's.
        text = " ".join(str(error).split())[:500]
        raise ConfigurationError(
            f"Flower does not bundle {folder}: {text}", hint=f"look at its {PROJECT_FILE}"
        ) from error


def read_bundle(data: bytes) -> Bundle:
    """Return the app in a bundle's bytes.

    Raises:
        ConfigurationError: it breaks a rule of this module.
    """
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"app bundle has {len(data)} bytes, want at most {MAX_BYTES}")
    files = _unpacked(data)
    listed = _listed(files.pop(LIST_FILE, b""))
    if set(listed) != set(files):
        odd = sorted(set(listed) ^ set(files))[0]
        raise _refused(f"list of files and files differ, first in {odd[:100]!r}")
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != listed[name]:
            raise _refused(f"file {name[:100]!r} has another hash than its list says")
    return _described(data, files)


def _unpacked(data: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    seen: set[str] = set()
    left = MAX_UNPACKED
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
            if len(members) > MAX_FILES:
                raise _refused(f"it holds {len(members)} files, want at most {MAX_FILES}")
            for member in members:
                _check_name(member.filename, seen)
                with archive.open(member) as stream:
                    content = stream.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise _refused(f"it unpacks to more than {MAX_UNPACKED} bytes")
                files[member.filename] = content
    # What zipfile says of broken archives, each of which comes from a line of its own.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _refused("it is no zip archive, or a broken one") from error
    except (OSError, ValueError, OverflowError) as error:
        raise _refused("it is no zip archive, or a broken one") from error
    return files


def _check_name(name: str, seen: set[str]) -> None:
    path = PurePosixPath(name)
    plain = name.isprintable() and "\\" not in name and ":" not in name and str(path) == name
    if not plain or path.is_absolute() or ".." in path.parts or len(name) > 200:
        raise _refused(f"it holds a file with an unusable name: {name[:100]!r}")
    if name.casefold() in seen:
        raise _refused(f"it holds {name[:100]!r} twice")
    seen.add(name.casefold())
    if name != LIST_FILE and path.suffix not in KINDS and name != "LICENSE":
        raise _refused(f"it holds {name[:100]!r}, which is no source or settings file")


def _listed(data: bytes) -> dict[str, str]:
    try:
        lines = [line.rsplit(",", 2) for line in data.decode().strip().split("\n")]
        listed = {name: digest for name, digest, _ in lines}
    except ValueError as error:
        raise _refused("its list of files is missing or not right") from error
    if len(listed) != len(lines):
        raise _refused("its list names a file twice")
    return listed


def _described(data: bytes, files: Mapping[str, bytes]) -> Bundle:
    if PROJECT_FILE not in files:
        raise _refused(f"it holds no {PROJECT_FILE}")
    if len(files[PROJECT_FILE]) > MAX_PROJECT:
        raise _refused(f"its {PROJECT_FILE} has more than {MAX_PROJECT} bytes")
    project = parse(files[PROJECT_FILE], f"app's {PROJECT_FILE}")
    about = project.take_table("project")
    tool = project.take_table("tool")
    app = tool.take_table("flwr").take_table("app")
    publisher, name = app.take_text("publisher"), about.take_text("name")
    version = about.take_text("version")
    for what, text in (("publisher", publisher), ("name", name), ("version", version)):
        if not _NAME.fullmatch(text):
            raise _refused(f"its {what} is {text[:100]!r}, want letters, digits, '.', '_', '-'")
    reference = app.take_table("components").take_text("clientapp")
    if not _REFERENCE.fullmatch(reference):
        raise _refused(f"its clientapp is {reference[:100]!r}, want module:name")
    ours = tool.take_table("fedenclave") if "fedenclave" in tool else None
    return Bundle(
        data=data,
        files=dict(sorted(files.items())),
        app_id=f"{publisher}/{name}",
        version=version,
        client_app=reference,
        dependencies=about.take_texts("dependencies") if "dependencies" in about else (),
        run_config=tuple(app.take_plain("config")) if "config" in app else (),
        manifest=ours.take_text("manifest") if ours is not None and "manifest" in ours else None,
    )


def _refused(what: str) -> ConfigurationError:
    return ConfigurationError(f"app bundle is refused: {printable(what)}", hint=_READ_AGAIN)
