"""Intrinsic functions, conditions and rules, evaluated as far as they go without creating anything.

What only a created resource can tell (its Ref, its attributes) stays behind as Ref, Fn::GetAtt, Fn::Join, Fn::Split or
Fn::Select, which moto understands. Called by the CreateStack mend through `reduced` and `broken_rules`.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
May not import moto, boto3 or natkeeper.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from natkeeper_lab.cloudformation.parameters import Account, RefusedError

ABSENT = object()
"""What AWS::NoValue stands for: the member or the list's item is left out."""
PENDING = ("Ref", "Fn::GetAtt", "Fn::Join", "Fn::Split", "Fn::Select")
_VARIABLE = re.compile(r"\$\{(!?)([^}]+)\}")


class Reader:
    """One template with one user's parameter values and the pseudo parameters of its stack."""

    def __init__(self, template: Mapping[str, Any], values: Mapping[str, str], account: Account) -> None:
        self.template = template
        self._values = values
        self._account = account
        self._conditions: dict[str, bool] = {}

    def holds(self, condition: str) -> bool:
        """A named condition's value."""
        if condition not in self._conditions:
            declared = self.template.get("Conditions", {})
            if condition not in declared:
                raise RefusedError(f"Template error: unresolved condition dependency {condition}")
            self._conditions[condition] = bool(self.value(declared[condition]))
        return self._conditions[condition]

    def has(self, resource: str) -> bool:
        """Whether this user gets the resource."""
        declared = self.template["Resources"].get(resource)
        return declared is not None and ("Condition" not in declared or self.holds(declared["Condition"]))

    def value(self, node: Any) -> Any:
        """`node` with every function resolved that can be; ABSENT for AWS::NoValue."""
        if isinstance(node, list):
            return [each for each in map(self.value, node) if each is not ABSENT]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (name, argument), *_ = node.items()
            if name in ("Ref", "Condition") and isinstance(argument, str):
                return self._reference(argument) if name == "Ref" else self.holds(argument)
            if name.startswith("Fn::"):
                return self._call(name, argument)
        return {key: found for key, each in node.items() if (found := self.value(each)) is not ABSENT}

    def _call(self, name: str, argument: Any) -> Any:
        if name == "Fn::If":
            condition, then, otherwise = argument
            return self.value(then if self.holds(condition) else otherwise)
        if name == "Fn::GetAtt":
            return self._attribute(*(argument if isinstance(argument, list) else argument.split(".", 1)))
        if name == "Fn::Sub":
            return self._substitute(*(argument if isinstance(argument, list) else (argument, {})))
        if name == "Fn::FindInMap":
            return self._find(*self.value(argument))
        if name in ("Fn::ValueOf", "Fn::ValueOfAll", "Fn::RefAll"):
            return self._rule_value(name, argument)
        if name not in _FUNCTIONS:
            raise RefusedError(f"Template error: the lab does not know {name}")
        evaluated = self.value(argument)
        if name in PENDING and is_pending(evaluated):
            return {name: evaluated}
        return _FUNCTIONS[name](evaluated)

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return ABSENT
        if name in self._values:
            return self._values[name]
        if name.startswith("AWS::"):
            return {"Ref": name}
        self._demand(name)
        return {"Ref": name}

    def _attribute(self, resource: str, attribute: str) -> Any:
        self._demand(resource)
        return {"Fn::GetAtt": [resource, attribute]}

    def _demand(self, resource: str) -> None:
        if not self.has(resource):
            raise RefusedError(f"Template format error: Unresolved resource dependencies [{resource}] in the template")

    def _substitute(self, text: str, variables: Mapping[str, Any]) -> Any:
        parts: list[Any] = []
        position = 0
        for found in _VARIABLE.finditer(text):
            parts.append(text[position : found.start()])
            parts.append(self._variable(found, variables))
            position = found.end()
        parts.append(text[position:])
        if is_pending(parts):
            return {"Fn::Join": ["", [each for each in parts if each != ""]]}
        return "".join(map(str, parts))

    def _variable(self, found: re.Match[str], variables: Mapping[str, Any]) -> Any:
        is_literal, name = found.groups()
        if is_literal:
            return f"${{{name}}}"
        if name in variables:
            return self.value(variables[name])
        return self._attribute(*name.split(".", 1)) if "." in name else self._reference(name)

    def _find(self, name: str, first: str, second: str) -> Any:
        try:
            return self.template["Mappings"][name][first][second]
        except KeyError as error:
            raise RefusedError(f"Template error: Unable to get mapping for {name}::{first}::{second}") from error

    def _rule_value(self, name: str, argument: Any) -> Any:
        """https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-rules.html"""
        declared = self.template.get("Parameters", {})
        if name == "Fn::ValueOf":
            parameter, attribute = argument
            return self._account.attribute(declared[parameter]["Type"], self._values[parameter], attribute)
        kind = argument if name == "Fn::RefAll" else argument[0]
        values = [self._values[each] for each, one in declared.items() if one.get("Type") == kind]
        if name == "Fn::RefAll":
            return values
        return [self._account.attribute(kind, value, argument[1]) for value in values]


def is_pending(node: Any) -> bool:
    """Whether something in it waits for a resource."""
    if isinstance(node, list):
        return any(map(is_pending, node))
    return isinstance(node, dict) and (next(iter(node), None) in PENDING or any(map(is_pending, node.values())))


def broken_rules(reader: Reader) -> list[str]:
    """The descriptions of the assertions that do not hold, of every rule whose condition does."""
    broken = []
    for name, rule in reader.template.get("Rules", {}).items():
        if "RuleCondition" in rule and not reader.value(rule["RuleCondition"]):
            continue
        failed = [each for each in rule["Assertions"] if not reader.value(each["Assert"])]
        broken += [each.get("AssertDescription", f"an assertion of rule {name} does not hold") for each in failed]
    return broken


def reduced(reader: Reader) -> dict[str, Any]:
    """The template without rules, conditions and what they exclude."""
    kept = {key: each for key, each in reader.template.items() if key not in ("Rules", "Conditions", "Mappings")}
    resources = {name: each for name, each in reader.template["Resources"].items() if reader.has(name)}
    kept["Resources"] = {name: _resource(reader, each) for name, each in resources.items()}
    outputs = reader.template.get("Outputs", {})
    kept["Outputs"] = {
        name: reader.value({key: member for key, member in each.items() if key != "Condition"})
        for name, each in outputs.items()
        if "Condition" not in each or reader.holds(each["Condition"])
    }
    return kept


def _resource(reader: Reader, declared: Mapping[str, Any]) -> dict[str, Any]:
    """DependsOn a resource that this user does not get is no dependency."""
    resource = {key: each for key, each in declared.items() if key not in ("Condition", "DependsOn", "Metadata")}
    found: dict[str, Any] = reader.value(resource)
    named = declared.get("DependsOn", [])
    found["DependsOn"] = [each for each in ([named] if isinstance(named, str) else named) if reader.has(each)]
    return found


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "Fn::Equals": lambda pair: pair[0] == pair[1],
    "Fn::Not": lambda each: not each[0],
    "Fn::And": all,
    "Fn::Or": any,
    "Fn::Join": lambda pair: pair[0].join(map(str, pair[1])),
    "Fn::Split": lambda pair: pair[1].split(pair[0]),
    "Fn::Select": lambda pair: pair[1][int(pair[0])],
    "Fn::Contains": lambda pair: pair[1] in pair[0],
    "Fn::EachMemberEquals": lambda pair: all(each == pair[1] for each in pair[0]),
    "Fn::EachMemberIn": lambda pair: set(pair[0]) <= set(pair[1]),
}
