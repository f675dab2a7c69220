"""What SAM makes of the template is clean, and the lint would notice if it were not."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest


def test_the_expanded_template_is_clean(linter: ModuleType, expanded: dict[str, Any]) -> None:
    assert linter.lint("the expanded template", json.dumps(expanded, indent=1))


def test_a_misspelt_iam_action_fails_the_lint(
    linter: ModuleType, expanded: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    misspelt = json.dumps(expanded, indent=1).replace('"ec2:ReplaceRoute"', '"ec2:ReplaceRout"')
    assert not linter.lint("misspelt", misspelt)
    assert "replacerout" in capsys.readouterr().out


def test_a_reference_to_nothing_fails_the_lint(linter: ModuleType, expanded: dict[str, Any]) -> None:
    assert not linter.lint("dangling", json.dumps(expanded).replace('"Ref": "NatRole"', '"Ref": "NatRoll"'))


def test_the_template_needs_no_language_extensions(template: dict[str, Any]) -> None:
    assert template["Transform"] == "AWS::Serverless-2016-10-31"
    assert "Fn::ForEach" not in json.dumps(template)
