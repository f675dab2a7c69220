"""The template as written, and as AWS sees it after the SAM transform."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def linter() -> ModuleType:
    """tools/lint-template, which knows how to expand the template."""
    loader = importlib.machinery.SourceFileLoader("lint_template", str(ROOT / "tools" / "lint-template"))
    spec = importlib.util.spec_from_loader("lint_template", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def template() -> dict[str, Any]:
    from samtranslator.yaml_helper import yaml_parse

    parsed: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text("utf-8"))
    return parsed


@pytest.fixture(scope="session")
def expanded(linter: ModuleType) -> dict[str, Any]:
    found: dict[str, Any] = linter.expand((ROOT / "template.yaml").read_text("utf-8"))
    return found
