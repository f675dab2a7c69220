"""The table of AWS's limits: whole, as botocore's own models say, and enforced by the simulated services."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from natkeeper import adapters
from natkeeper_lab.simulation.api import DESCRIBES
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.limits import ITEM, LIMITS, Limit, check, check_item

SERVICES = ("ec2", "dynamodb", "lambda", "sns")
MODELS = {name: botocore.session.get_session().get_service_model(name) for name in SERVICES}
METHODS = {
    botocore.xform_name(operation): operation for model in MODELS.values() for operation in model.operation_names
}
EVERY = [(operation, limit) for operation, limits in LIMITS.items() for limit in limits]


def called() -> set[str]:
    """The operations that the adapters' source calls by their boto3 names, paginators included."""
    found = set()
    for path in Path(adapters.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            names = [node.func.attr]
            if node.func.attr == "get_paginator" and isinstance(node.args[0], ast.Constant):
                names = [str(node.args[0].value)]
            owner = ast.unparse(node.func.value)
            if re.search(r"client|patient|sns", owner):
                found |= {METHODS[each] for each in names if each in METHODS}
    return found


def shape(operation: str, path: str) -> Any:
    """botocore's own shape of the parameter."""
    service = next(name for name in SERVICES if operation in MODELS[name].operation_names)
    found: Any = MODELS[service].operation_model(operation).input_shape
    for each in path.split("."):
        found = found.member if each == "[]" else found.members[each]
    return found


def test_every_operation_that_the_adapters_call_is_in_the_table_and_no_other() -> None:
    assert called() == set(LIMITS)
    assert set(DESCRIBES) < called()


@pytest.mark.parametrize(("operation", "limit"), EVERY, ids=lambda each: getattr(each, "path", each))
def test_no_limit_is_kinder_than_botocores_model(operation: str, limit: Limit) -> None:
    found = shape(operation, limit.path)
    assert limit.most <= found.metadata.get("max", limit.most)
    assert limit.least >= found.metadata.get("min", limit.least)
    if limit.says is not None:
        assert limit.says in re.sub(r"<[^>]+>", "", found.documentation)


def sized(path: list[str], value: Any) -> dict[str, Any]:
    """Parameters with the value at the path."""
    for each in reversed(path):
        value = [value] if each == "[]" else {each: value}
    found: dict[str, Any] = value
    return found


def value_of(limit: Limit, measured: int) -> Any:
    """Something that measures so much."""
    return ["x"] * measured if limit.measure is len and limit.path.split(".")[-1][-1] == "s" else "x" * measured


@pytest.mark.parametrize(("operation", "limit"), EVERY, ids=lambda each: getattr(each, "path", each))
def test_what_is_beyond_a_limit_is_refused_as_aws_does(operation: str, limit: Limit) -> None:
    path = limit.path.split(".")
    check(operation, sized(path, value_of(limit, limit.most)))
    with pytest.raises(ApiError, match=limit.path.replace("[", r"\[").replace("]", r"\]")) as caught:
        check(operation, sized(path, value_of(limit, limit.most + 1)))
    assert caught.value.code == limit.code
    if limit.least:
        with pytest.raises(ApiError):
            check(operation, sized(path, value_of(limit, limit.least - 1)))


def test_an_operation_that_is_not_in_the_table_is_not_answered() -> None:
    with pytest.raises(KeyError):
        check("DescribeVpcs", {})


def test_an_update_cannot_make_an_item_larger_than_dynamodb_keeps() -> None:
    check_item({"memory": {"S": "x" * (ITEM - 100)}})
    with pytest.raises(ApiError, match="Item size"):
        check_item({"memory": {"S": "x" * ITEM}})
