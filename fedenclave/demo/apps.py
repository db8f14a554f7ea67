"""Where the Flower apps that come with FedEnclave lie: in the installed package or the checkout.

And the benchmarks, which are no Flower app, but lie and run in the same way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import fedenclave
from fedenclave.demo.errors import DeploymentError


def app_folder(name: str) -> Path:
    """Return the folder of the app `name` (it holds the app's pyproject.toml).

    Raises:
        DeploymentError: it is not there.
    """
    package = Path(fedenclave.__file__).parent
    for folder in (package / "apps" / name, package.parent / "clients" / name):
        if (folder / "pyproject.toml").is_file():
            return folder
    raise DeploymentError(
        f"the app {name} is not installed", hint="reinstall the package: pip install fedenclave"
    )


def run_module(app: str, module: str, arguments: Sequence[str]) -> str:
    """Run `python -m module` of an app in a process of its own and return what it prints.

    In its own process, because the framework itself must not load torch or matplotlib.

    Raises:
        DeploymentError: it failed; the message is the module's own.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=_environment(app),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise _failure(module, done.stderr)
    return done.stdout


def benchmarks_folder() -> Path:
    """Return the folder in which the package `benchmarks` lies.

    Raises:
        DeploymentError: it is not there.
    """
    package = Path(fedenclave.__file__).parent
    for folder in (package / "apps" / "suite", package.parent):
        if (folder / "benchmarks" / "suite.py").is_file():
            return folder
    raise DeploymentError(
        "the benchmarks are not installed", hint="reinstall the package: pip install fedenclave"
    )


def become_benchmarks(arguments: Sequence[str]) -> NoReturn:
    """Go on as `python -m benchmarks`: its output, signals and exit status are then our own.

    Raises:
        DeploymentError: the benchmarks are not there.
    """
    # -P: a folder called benchmarks where the user stands must not be taken for them.
    command = [sys.executable, "-P", "-m", "benchmarks", *arguments]
    path = _path(benchmarks_folder())
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": path})  # noqa: S606 - this interpreter


def run_module_json(app: str, module: str, arguments: Sequence[str]) -> dict[str, object]:
    """Return the JSON object that `run_module` prints with `--json`.

    Raises:
        DeploymentError: it failed or printed something else.
    """
    return _json_object(module, run_module(app, module, [*arguments, "--json"]))


def run_module_lines(app: str, module: str, arguments: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that a long-running module prints, one a line, as they come.

    The process is ended where the caller stops before its end.

    Raises:
        DeploymentError: it failed or printed something else.
    """
    # A file, not a pipe: nobody reads what it writes to stderr before it has ended.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=_environment(app),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            for line in process.stdout or ():
                yield _json_object(module, line)
            status = process.wait()
        finally:
            process.terminate()
            process.communicate()
        if status != 0:
            errors.seek(0)
            raise _failure(module, errors.read())


def python_path(app: str) -> str:
    """Return the PYTHONPATH with which an app's modules are found, before all others.

    Raises:
        DeploymentError: the app is not there.
    """
    return _path(app_folder(app))


def _environment(app: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": python_path(app)}


def _json_object(module: str, printed: str) -> dict[str, Any]:
    try:
        value = json.loads(printed)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise DeploymentError(f"{module} printed no JSON object")
    return value


def _path(folder: Path) -> str:
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def _failure(module: str, stderr: str) -> DeploymentError:
    lines = stderr.strip().splitlines() or ["it said nothing"]
    message = next((ln.removeprefix("error: ") for ln in lines if ln.startswith("error: ")), "")
    hint = next((ln.removeprefix("hint: ") for ln in lines if ln.startswith("hint: ")), "")
    if not message and "No module named" in lines[-1]:
        message, hint = lines[-1], "install what the demonstration needs: fedenclave[demo]"
    return DeploymentError(message or f"{module} failed: {lines[-1]}", hint=hint)
