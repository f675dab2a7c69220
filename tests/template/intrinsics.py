"""A small CloudFormation: checks parameters, evaluates rules and conditions, resolves intrinsic functions.

Used by the tests of template.yaml, so that they talk about what a user's choice leads to and not about YAML. Knows only
the functions the template uses; anything else is a KeyError. References to resources resolve to made-up ids and ARNs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ACCOUNT, REGION, STACK = "111122223333", "us-east-1", "natkeeper-test"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
ABSENT = object()
VPC_ID = "vpc-0123456789abcdef0"
HEX = "0123456789abcdef0"
PUBLIC_ADDRESSES = {
    "ElasticIpA": "198.51.100.1",
    "ElasticIpB": "198.51.100.2",
    "ElasticIpC": "198.51.100.3",
    "ProvingElasticIp": "198.51.100.4",
}


def zone(letter: str, number: int, **others: str) -> dict[str, str]:
    """Good parameters for one zone."""
    parameters = {
        "PublicSubnetId": f"subnet-{number}a{HEX[2:]}",
        "PrivateSubnetId": f"subnet-{number}b{HEX[2:]}",
        "RouteTableIds": f"rtb-{number}{HEX[1:]}",
        "PrivateCidr": f"10.0.{2 * number}.0/24",
    } | others
    return {f"Zone{letter}{name}": value for name, value in parameters.items()}


ONE = {"VpcId": VPC_ID} | zone("A", 1)
TWO = ONE | zone("B", 2)
THREE = TWO | zone("C", 3)


class Stack:
    """The template with one user's parameters."""

    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self.template = template
        declared = template["Parameters"]
        unknown = set(parameters) - set(declared)
        assert not unknown, f"no such parameter: {unknown}"
        self.parameters = {
            name: str(parameters.get(name, declaration.get("Default", ""))) for name, declaration in declared.items()
        }
        self.subnets_elsewhere: set[str] = set()

    def refused_parameters(self) -> dict[str, str]:
        """Each parameter CloudFormation refuses, with the message it shows."""
        refused = {}
        for name, value in self.parameters.items():
            declaration = self.template["Parameters"][name]
            if not self._is_allowed(value, declaration):
                refused[name] = declaration.get("ConstraintDescription", "")
        return refused

    @staticmethod
    def _is_allowed(value: str, declaration: Mapping[str, Any]) -> bool:
        if "AllowedPattern" in declaration and not re.fullmatch(declaration["AllowedPattern"], value):
            return False
        if "AllowedValues" in declaration and value not in map(str, declaration["AllowedValues"]):
            return False
        if len(value) > declaration.get("MaxLength", 4096):
            return False
        if declaration["Type"] == "Number":
            return bool(declaration.get("MinValue", 0) <= float(value) <= declaration.get("MaxValue", float("inf")))
        return True

    def broken_rules(self) -> list[str]:
        """The descriptions of all assertions that do not hold."""
        broken = []
        for rule in self.template["Rules"].values():
            if "RuleCondition" in rule and not self.value(rule["RuleCondition"]):
                continue
            broken += [each["AssertDescription"] for each in rule["Assertions"] if not self.value(each["Assert"])]
        return broken

    def has(self, resource: Mapping[str, Any]) -> bool:
        name = resource.get("Condition")
        return name is None or bool(self.value(self.template["Conditions"][name]))

    def resources(self, kind: str | None = None) -> dict[str, Any]:
        """Logical id to resolved resource, of those this user gets."""
        return {
            name: self.value(each)
            for name, each in self.template["Resources"].items()
            if self.has(each) and kind in (None, each["Type"])
        }

    def properties(self, name: str) -> dict[str, Any]:
        resolved: dict[str, Any] = self.value(self.template["Resources"][name])["Properties"]
        return resolved

    def value(self, node: Any) -> Any:
        """`node` with every intrinsic function resolved."""
        if isinstance(node, list):
            return [each for each in map(self.value, node) if each is not ABSENT]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (name, argument), *_ = node.items()
            if name in ("Ref", "Condition") or name.startswith("Fn::"):
                return self._call(name.removeprefix("Fn::"), argument)
        return {key: found for key, each in node.items() if (found := self.value(each)) is not ABSENT}

    def _call(self, name: str, argument: Any) -> Any:
        if name == "If":
            condition, then, otherwise = argument
            return self.value(then if self.value(self.template["Conditions"][condition]) else otherwise)
        if name == "Ref":
            return self._reference(argument)
        if name == "GetAtt":
            return self._attribute(*(argument if isinstance(argument, list) else argument.split(".", 1)))
        if name == "Sub":
            return self._substitute(*(argument if isinstance(argument, list) else [argument, {}]))
        if name == "Condition":
            return self.value(self.template["Conditions"][argument])
        if name == "ValueOfAll":
            return sorted(
                {self._vpc_of(self.parameters[each]) for each in ("ZoneAPublicSubnetId", "ZoneAPrivateSubnetId")}
            )
        if name == "RefAll":
            return [self.parameters["VpcId"]]
        return _FUNCTIONS[name](self.value(argument))

    def _vpc_of(self, subnet: str) -> str:
        return "vpc-elsewhere" if subnet in self.subnets_elsewhere else self.parameters["VpcId"]

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return ABSENT
        return PSEUDO.get(name) or self.parameters.get(name) or ("" if name in self.parameters else self._made_up(name))

    def _made_up(self, name: str) -> str:
        resource = self.template["Resources"][name]
        assert self.has(resource), f"{name} is referenced but does not exist with these parameters"
        if resource["Type"] == "AWS::SNS::Topic":
            return f"arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}-{name}-{'X' * 12}"
        if resource["Type"] == "AWS::EC2::EIP":
            return PUBLIC_ADDRESSES[name]
        return f"{STACK}-{name}-{'X' * 12}"[:64]

    def _attribute(self, name: str, attribute: str) -> str:
        made_up = self._made_up(name)
        if attribute == "AllocationId":
            return f"eipalloc-{HEX[:-1]}{name[-1].lower()}"
        return f"arn:aws:any:{REGION}:{ACCOUNT}:{made_up}" if attribute.endswith("Arn") else f"{made_up}.{attribute}"

    def _substitute(self, text: str, variables: Mapping[str, Any]) -> str:
        def replace(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in variables:
                return str(self.value(variables[name]))
            return str(self._attribute(*name.split(".", 1)) if "." in name else self._reference(name))

        return re.sub(r"\$\{([^}]+)\}", replace, text)


_FUNCTIONS = {
    "Equals": lambda pair: pair[0] == pair[1],
    "Not": lambda each: not each[0],
    "And": all,
    "Or": any,
    "Join": lambda pair: pair[0].join(pair[1]),
    "Split": lambda pair: pair[1].split(pair[0]),
    "EachMemberIn": lambda pair: set(pair[0]) <= set(pair[1]),
}
