"""What a function process runs: the artefact that `sam build` made, or the same layout made here.

`stack` asks for a function's artefact, `runtime.host` for Lambda's runtime. Both are folders that need no
network and nothing of this repository; they are made once for each state of the sources, compiled (a run of the lab
starts many processes on few cores, and Lambda's own is not this machine's to measure), and shared by all runs after.
https://docs.aws.amazon.com/lambda/latest/dg/python-package.html
"""

from __future__ import annotations

import atexit
import compileall
import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from natkeeper_lab import sandbox
from natkeeper_lab.shipped import CHECKOUT, IS_CHECKOUT, SOURCE

BUILD = CHECKOUT / ".aws-sam" / "build"
CACHE = CHECKOUT / ".aws-sam" / "lab" if IS_CHECKOUT else Path.home() / ".cache" / "natkeeper"
RUNTIME = ("awslambdaric", "boto3")
"""What Lambda's python runtime has beside the interpreter.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html"""
DAY, HALF_MADE = 86400.0, 600.0
"""Seconds; making one takes a few at most."""
_FRESH = "new-"
_NAME = re.compile(r"\s*([A-Za-z0-9._-]+)")
_SKIPPED = ("__pycache__", "*.pyc", "*.egg-info")


def artefact_of(logical_id: str, source: Path = SOURCE, build: Path = BUILD) -> Path:
    """The function's artefact: of `sam build` if that was made from this source, else made here from `source`."""
    built = build / logical_id
    return _copy_of(built) if _is_built_from(built, source) else assemble(source)


def assemble(source: Path = SOURCE) -> Path:
    """The layout of `sam build`: the source and, beside it, the packages of its requirements.txt."""
    requirements = source / "requirements.txt"
    wanted = _packages(requirements.read_text().splitlines()) if requirements.exists() else []

    def fill(folder: Path) -> None:
        _copy(source, folder)
        _link(folder, wanted)

    return _made((*_contents(source), *_versions(wanted)), fill)


@cache
def runtime_folder() -> Path:
    """LAMBDA_RUNTIME_DIR: Amazon's runtime client and boto3, without the rest of this environment."""
    wanted = _packages(RUNTIME)
    return _made(_versions(wanted), lambda folder: _link(folder, wanted))


def _is_built_from(built: Path, source: Path) -> bool:
    """Not by time stamps, which a checkout changes: file by file."""
    wanted = {path.relative_to(source): path.read_bytes() for path in _files(source)}
    have = {path.relative_to(built) for path in _files(built / "natkeeper")}
    is_whole = have == {path for path in wanted if path.parts[0] == "natkeeper"}
    return is_whole and bool(have) and all((built / path).read_bytes() == wanted[path] for path in have)


def _copy_of(built: Path) -> Path:
    """Compiled elsewhere: what `sam deploy` uploads must stay as it is."""

    return _made(_contents(built), lambda folder: _copy(built, folder))


def _copy(source: Path, folder: Path) -> None:
    """Compiled. It is young, though copytree gives it the age of what it copies: another run would clear it away."""
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_SKIPPED))
    os.utime(folder)
    compileall.compile_dir(folder, quiet=2)


def _made(state: Iterable[bytes], fill: Callable[[Path], None]) -> Path:
    """The folder for this state, filled now if it is not there; whole or not at all, however many ask at once."""
    digest = hashlib.sha256(f"{sys.implementation.cache_tag} {sys.prefix}".encode())
    for each in state:
        digest.update(len(each).to_bytes(8, "big") + each)
    folder = _cache() / digest.hexdigest()[:16]
    if folder.is_dir():
        os.utime(folder)
        return folder
    fresh = Path(tempfile.mkdtemp(prefix=_FRESH, dir=folder.parent))
    try:
        fill(fresh)
        fresh.chmod(0o755)
        _forget_old(folder.parent)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


@cache
def _cache() -> Path:
    """Beside sam's own build; for this process alone where that cannot be written."""
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        if os.access(CACHE, os.W_OK):
            return CACHE
    except OSError:
        pass
    private = "/run" if sandbox.is_inside() else None  # goes with the sandbox, even if the lab is killed
    own = Path(tempfile.mkdtemp(prefix="natkeeper-lab-artefacts-", dir=private))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _forget_old(cache: Path) -> None:
    """Not used for a day, or left half made by a run that was killed."""
    for folder in cache.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another run was quicker
            age = time.time() - folder.stat().st_mtime
            if age > (HALF_MADE if folder.name.startswith(_FRESH) else DAY):
                shutil.rmtree(folder, ignore_errors=True)


def _contents(folder: Path) -> Iterator[bytes]:
    for path in _files(folder):
        yield str(path.relative_to(folder)).encode()
        yield path.read_bytes()


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sorted(path for path in found if not any(part.endswith(".egg-info") for part in path.parts))


# -- packages that are installed where the lab is


def _packages(requirements: Iterable[str]) -> list[Distribution]:
    """The distributions that these requirements name, and those that they need. RuntimeError names what is missing.

    A requirement with a condition is met when it is installed: pip has judged the condition.
    """
    found: dict[str, Distribution] = {}
    pending = list(requirements)
    while pending:
        line = pending.pop().split("#", 1)[0]
        name = _NAME.match(line)
        if name is None or "extra ==" in line or name[1].lower() in found:
            continue
        try:
            found[name[1].lower()] = distribution(name[1])
        except PackageNotFoundError:
            if ";" in line:
                continue
            raise RuntimeError(f"The Python package {name[1]} is missing: pip install {name[1]}.") from None
        pending += found[name[1].lower()].requires or ()
    return [found[name] for name in sorted(found)]


def _versions(packages: Iterable[Distribution]) -> list[bytes]:
    return [f"{each.metadata['Name']} {each.version} {each.locate_file('')}".encode() for each in packages]


def _link(folder: Path, packages: Iterable[Distribution]) -> None:
    """Packages as links, which brings their .pyc along; single modules as copies, compiled here."""
    for each in packages:
        for top in {Path(str(file)).parts[0] for file in each.files or ()} - {"..", "__pycache__"}:
            origin = Path(str(each.locate_file(top)))
            if origin.is_dir():
                (folder / top).symlink_to(origin)
            elif origin.is_file():
                shutil.copy2(origin, folder / top)
    compileall.compile_dir(folder, maxlevels=0, quiet=2)
