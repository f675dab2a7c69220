"""What the project needs is said once, in pyproject.toml; what is made of that says the same."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from natkeeper_cli.main import LAB_MODULES
from natkeeper_lab.runtime.artefact import RUNTIME

ROOT = Path(__file__).resolve().parents[2]
DECLARED: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, GROUPS = DECLARED["project"], DECLARED["dependency-groups"]
MODULES = {"aws-sam-translator": "samtranslator", "pyyaml": "yaml"}
"""Imported under another name than they are installed by."""


def names(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[\[<>=;~! ]", each.strip())[0].lower() for each in requirements}


def locked(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return names(line for line in lines if "==" in line and not line.startswith(" "))


def test_what_ships_is_what_the_project_needs_but_for_what_lambdas_runtime_has() -> None:
    shipped = (ROOT / "src" / "requirements.txt").read_text().split("\n")[:-1]
    assert shipped == [each for each in PROJECT["dependencies"] if not names([each]) & set(RUNTIME)]


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.lock", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["lab"], *GROUPS["dev"]]),
        ("requirements-sam.lock", GROUPS["sam"]),
    ],
)
def test_a_lock_has_all_that_is_wanted_with_hashes(lock: str, wanted: list[str]) -> None:
    assert names(wanted) <= locked(lock), "make lock"
    text = (ROOT / lock).read_text()
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text


def test_the_command_knows_what_the_extra_brings() -> None:
    extra = names(PROJECT["optional-dependencies"]["lab"])
    assert {MODULES.get(each, each) for each in extra} == set(LAB_MODULES)
