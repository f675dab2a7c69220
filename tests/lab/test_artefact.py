"""What function processes run is what `sam build` makes: its own, or the same layout."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from natkeeper_lab.runtime import FunctionHost, artefact

FUNCTION = "ControllerFunction"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty, and this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(artefact, "CACHE", folder)
    artefact._cache.cache_clear()
    yield folder
    artefact._cache.cache_clear()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    (folder / "natkeeper").mkdir(parents=True)
    (folder / "natkeeper" / "__init__.py").write_text("def handler(event, context):\n    return __file__\n")
    (folder / "natkeeper" / "rules.nft").write_text("table ip nat {}\n")
    (folder / "requirements.txt").write_text("aws-lambda-powertools>=3.20,<4\n")
    return folder


@pytest.fixture
def build(tmp_path: Path, source: Path) -> Path:
    """As `sam build` leaves it: the source and the installed packages in one folder."""
    folder = tmp_path / "build"
    shutil.copytree(source, folder / FUNCTION)
    (folder / FUNCTION / "aws_lambda_powertools").mkdir()
    (folder / FUNCTION / "aws_lambda_powertools" / "__init__.py").write_text("BUILT = True\n")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_assembled_artefact_has_the_source_and_its_packages_in_one_folder() -> None:
    made = artefact.assemble()
    for path in artefact.SOURCE.rglob("*"):
        if path.is_file() and path.suffix != ".pyc" and ".egg-info" not in str(path):
            assert (made / path.relative_to(artefact.SOURCE)).read_bytes() == path.read_bytes()
    assert {"natkeeper", "aws_lambda_powertools", "jmespath", "typing_extensions.py"} <= {
        each.name for each in made.iterdir()
    }
    assert not (made / "boto3").exists()  # comes with Lambda's runtime


def test_assembled_artefact_is_compiled_and_no_link_to_the_source(cache: Path, source: Path) -> None:
    made = artefact.assemble(source)
    assert made.parent == cache
    assert not (made / "natkeeper").is_symlink()
    assert list((made / "natkeeper" / "__pycache__").glob("__init__.*.pyc"))
    assert list((made / "__pycache__").glob("typing_extensions.*.pyc"))
    assert not list(source.rglob("*.pyc"))


def test_artefact_is_made_once_for_each_state_of_the_source(cache: Path, source: Path) -> None:
    first = artefact.assemble(source)
    assert artefact.assemble(source) == first
    (source / "natkeeper" / "rules.nft").write_text("table ip other {}\n")
    second = artefact.assemble(source)
    assert second != first
    assert (second / "natkeeper" / "rules.nft").read_text() == "table ip other {}\n"
    assert {each.name for each in cache.iterdir()} == {first.name, second.name}


def test_build_of_this_source_is_used_and_left_as_it_is(cache: Path, source: Path, build: Path) -> None:
    before = files(build)
    made = artefact.artefact_of(FUNCTION, source, build)
    assert (made / "aws_lambda_powertools" / "__init__.py").read_text() == "BUILT = True\n"
    assert files(build) == before
    assert made.parent == cache


@pytest.mark.parametrize(
    ("path", "text"),
    [("natkeeper/__init__.py", "changed = 1\n"), ("natkeeper/more.py", "added = 1\n"), ("natkeeper/rules.nft", None)],
)
@pytest.mark.usefixtures("cache")
def test_build_of_another_source_is_not_used(path: str, text: str | None, source: Path, build: Path) -> None:
    if text is None:
        (source / path).unlink()
    else:
        (source / path).write_text(text)
    made = artefact.artefact_of(FUNCTION, source, build)
    assert "BUILT" not in (made / "aws_lambda_powertools" / "__init__.py").read_text()
    assert files(made / "natkeeper").items() >= files(source / "natkeeper").items()


def test_what_nobody_used_for_a_day_and_what_was_left_half_made_is_forgotten(cache: Path, source: Path) -> None:
    kept = artefact.assemble(source)
    for name, hours in (("0123456789abcdef", 25), ("fedcba9876543210", 1), ("new-a", 1), ("new-b", 0)):
        (cache / name).mkdir()
        then = time.time() - hours * 3600
        os.utime(cache / name, (then, then))
    (source / "requirements.txt").write_text("")
    made = artefact.assemble(source)
    assert {each.name for each in cache.iterdir()} == {kept.name, made.name, "fedcba9876543210", "new-b"}


@pytest.mark.usefixtures("cache")
def test_missing_package_is_named(source: Path) -> None:
    (source / "requirements.txt").write_text("a-package-nobody-has\n")
    with pytest.raises(RuntimeError, match="a-package-nobody-has is missing: pip install"):
        artefact.assemble(source)


def test_artefact_is_made_elsewhere_where_the_checkout_cannot_be_written(cache: Path, source: Path) -> None:
    cache.write_text("in the way")
    made = artefact.assemble(source)
    assert (made / "natkeeper" / "rules.nft").exists()
    assert cache.read_text() == "in the way"


def test_function_runs_from_its_artefact() -> None:
    code = artefact.artefact_of("ProberAFunction")
    host = FunctionHost("prober", "natkeeper.handlers.prober.handler", code=code)
    try:
        body = json.loads(host.invoke(b"{}").payload)
    finally:
        host.stop()
    assert body["errorType"] == "BadRequest"
    assert all(f'File "{code}/natkeeper' in line for line in body["stackTrace"])
