"""What a user passes as parameters: defaults filled in, constraints checked, SSM parameters and ids looked up.

Called by the CreateStack mend. Refusals carry CloudFormation's words and the template's own ConstraintDescription.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html
May not import moto, boto3 or natkeeper.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

SSM = "AWS::SSM::Parameter::Value<"
EC2_IDS = ("AWS::EC2::VPC::Id", "AWS::EC2::Subnet::Id")
MAX_LENGTH = 4096


class RefusedError(Exception):
    """CloudFormation's ValidationError: nothing has been created. The text is its message."""


class Account(Protocol):
    """What CloudFormation looks up while it validates."""

    def ssm(self, name: str) -> str | None:
        """The value of an SSM parameter, None when there is none."""
        ...

    def attribute(self, kind: str, identifier: str, name: str) -> str | None:
        """A member of an EC2 resource (`Id` is always one), None when the resource is not there."""
        ...


def resolve(template: Mapping[str, Any], passed: Mapping[str, str], account: Account) -> dict[str, str]:
    """Every parameter's value as `Ref` sees it. RefusedError for the first that is missing, unknown or wrong."""
    declared = template.get("Parameters", {})
    if unknown := sorted(set(passed) - set(declared)):
        raise RefusedError(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    if missing := sorted(name for name, each in declared.items() if name not in passed and "Default" not in each):
        raise RefusedError(f"Parameters: [{', '.join(missing)}] must have values")
    values = {}
    for name, declaration in declared.items():
        value = str(passed.get(name, declaration.get("Default")))
        if not is_allowed(value, declaration):
            raise RefusedError(_constraint(name, declaration))
        values[name] = _looked_up(name, value, str(declaration.get("Type", "String")), account)
    return values


def is_allowed(value: str, declaration: Mapping[str, Any]) -> bool:
    """Whether a value keeps its declaration's constraints. Patterns match the whole value."""
    if "AllowedPattern" in declaration and not re.fullmatch(declaration["AllowedPattern"], value):
        return False
    if "AllowedValues" in declaration and value not in [str(each) for each in declaration["AllowedValues"]]:
        return False
    if not int(declaration.get("MinLength", 0)) <= len(value) <= int(declaration.get("MaxLength", MAX_LENGTH)):
        return False
    return declaration.get("Type") != "Number" or _is_in_range(value, declaration)


def _is_in_range(value: str, declaration: Mapping[str, Any]) -> bool:
    try:
        number = float(value)
    except ValueError:
        return False
    return bool(float(declaration.get("MinValue", "-inf")) <= number <= float(declaration.get("MaxValue", "inf")))


def _constraint(name: str, declaration: Mapping[str, Any]) -> str:
    described = declaration.get("ConstraintDescription")
    if described:
        return f"Parameter {name} failed to satisfy constraint: {described}"
    limits = [
        key for key in ("AllowedPattern", "AllowedValues", "MinValue", "MaxValue", "MaxLength") if key in declaration
    ]
    told = ", ".join(f"{key} {declaration[key]}" for key in limits) or declaration.get("Type")
    return f"Parameter {name} failed to satisfy constraint: {told}"


def _looked_up(name: str, value: str, kind: str, account: Account) -> str:
    if kind.startswith(SSM):
        found = account.ssm(value)
        if found is None:
            raise RefusedError(
                f"Unable to fetch parameters [{value}] from parameter store for this account (parameter {name})"
            )
        return found
    if kind in EC2_IDS and account.attribute(kind, value, "Id") is None:
        raise RefusedError(
            f"Parameter validation failed: parameter value {value} for parameter name {name} does not exist"
        )
    return value
