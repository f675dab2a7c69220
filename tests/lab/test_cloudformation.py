"""The lab's reading of a template agrees with the template tests' own, and knows the functions they do not need."""

from __future__ import annotations

from typing import Any

import pytest

from natkeeper_lab.cloudformation import Reader, RefusedError, broken_rules, reduced, resolve


class Account:
    """An account with one SSM parameter and one subnet."""

    def ssm(self, name: str) -> str | None:
        return {"/ami": "ami-1"}.get(name)

    def attribute(self, kind: str, identifier: str, name: str) -> str | None:
        if identifier != "subnet-1":
            return None
        return {"Id": identifier, "VpcId": "vpc-1", "Kind": kind}.get(name)


def value(node: Any, **sections: Any) -> Any:
    template = {"Resources": {"Made": {"Type": "T"}, "Not": {"Type": "T", "Condition": "Never"}}, **sections}
    template.setdefault(
        "Conditions", {"Never": {"Fn::Equals": [1, 2]}, "Always": {"Fn::Not": [{"Condition": "Never"}]}}
    )
    return Reader(template, {"Zone": "a,b", "AWS::Region": "us-east-1"}, Account()).value(node)


@pytest.mark.parametrize(
    ("node", "found"),
    [
        ({"Ref": "Zone"}, "a,b"),
        ({"Fn::Split": [",", {"Ref": "Zone"}]}, ["a", "b"]),
        ({"Fn::Select": ["1", {"Fn::Split": [",", {"Ref": "Zone"}]}]}, "b"),
        ({"Fn::Join": ["-", ["x", {"Ref": "AWS::Region"}]]}, "x-us-east-1"),
        ({"Fn::Sub": "${AWS::Region}/${!Literal}"}, "us-east-1/${Literal}"),
        ({"Fn::Sub": "${Zone}-${Made.Arn}"}, {"Fn::Join": ["", ["a,b", "-", {"Fn::GetAtt": ["Made", "Arn"]}]]}),
        ({"Fn::Sub": ["${Mine}", {"Mine": {"Ref": "Made"}}]}, {"Fn::Join": ["", [{"Ref": "Made"}]]}),
        ({"Fn::GetAtt": "Made.Some.Thing"}, {"Fn::GetAtt": ["Made", "Some.Thing"]}),
        ({"Fn::If": ["Never", 1, {"Fn::If": ["Always", 2, 3]}]}, 2),
        ([1, {"Fn::If": ["Never", 1, {"Ref": "AWS::NoValue"}]}], [1]),
        ({"kept": 1, "gone": {"Ref": "AWS::NoValue"}}, {"kept": 1}),
        ({"Fn::And": [{"Condition": "Always"}, {"Condition": "Never"}]}, False),
        ({"Fn::Or": [{"Condition": "Always"}, {"Condition": "Never"}]}, True),
        ({"Ref": "AWS::StackId"}, {"Ref": "AWS::StackId"}),
        ({"Condition": {"StringEquals": {"a": "b"}}}, {"Condition": {"StringEquals": {"a": "b"}}}),
        ({"Fn::Contains": [["a", "b"], "b"]}, True),
        ({"Fn::EachMemberEquals": [["a", "b"], "b"]}, False),
    ],
)
def test_functions(node: Any, found: Any) -> None:
    assert value(node) == found


def test_mappings() -> None:
    mappings = {"M": {"us-east-1": {"ami": "x"}}}
    assert value({"Fn::FindInMap": ["M", {"Ref": "AWS::Region"}, "ami"]}, Mappings=mappings) == "x"
    with pytest.raises(RefusedError, match="M::nowhere::ami"):
        value({"Fn::FindInMap": ["M", "nowhere", "ami"]}, Mappings=mappings)


@pytest.mark.parametrize(
    "node", [{"Ref": "Nobody"}, {"Ref": "Not"}, {"Fn::GetAtt": ["Not", "Arn"]}, {"Fn::Cidr": []}, {"Condition": "Typo"}]
)
def test_what_cannot_be_known_is_refused(node: Any) -> None:
    with pytest.raises(RefusedError):
        value(node)


def test_rule_functions_see_the_parameters_of_a_type() -> None:
    declared = {"Subnet": {"Type": "AWS::EC2::Subnet::Id"}, "Other": {"Type": "String", "Default": ""}}
    asserted = [
        {"Fn::Equals": [{"Fn::ValueOf": ["Subnet", "VpcId"]}, "vpc-1"]},
        {"Fn::Equals": [{"Fn::RefAll": "AWS::EC2::Subnet::Id"}, ["subnet-1"]]},
        {"Fn::EachMemberIn": [{"Fn::ValueOfAll": ["AWS::EC2::Subnet::Id", "VpcId"]}, ["vpc-2"]]},
    ]
    rules = {"R": {"Assertions": [{"Assert": each, "AssertDescription": str(at)} for at, each in enumerate(asserted)]}}
    template = {"Parameters": declared, "Rules": rules, "Resources": {}}
    values = resolve(template, {"Subnet": "subnet-1"}, Account())
    assert broken_rules(Reader(template, values, Account())) == ["2"]


def test_parameter_of_a_type_that_is_looked_up_becomes_what_was_found() -> None:
    kind = "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>"
    template = {"Parameters": {"Ami": {"Type": kind, "Default": "/ami"}}, "Resources": {}}
    assert resolve(template, {}, Account()) == {"Ami": "ami-1"}


def test_number_without_a_description_is_refused_with_its_limits() -> None:
    template = {"Parameters": {"N": {"Type": "Number", "MaxValue": 3}}, "Resources": {}}
    with pytest.raises(RefusedError, match="Parameter N failed to satisfy constraint: MaxValue 3"):
        resolve(template, {"N": "4"}, Account())


def test_reduced_template_has_nothing_that_this_user_does_not_get() -> None:
    template = {
        "Conditions": {"Never": {"Fn::Equals": [1, 2]}},
        "Rules": {},
        "Resources": {
            "Not": {"Type": "T", "Condition": "Never", "Properties": {"Name": {"Ref": "Nobody"}}},
            "Made": {"Type": "T", "DependsOn": ["Not", "Also"]},
            "Also": {"Type": "T", "DependsOn": "Not"},
        },
        "Outputs": {"No": {"Condition": "Never", "Value": {"Ref": "Not"}}, "Yes": {"Value": {"Ref": "Made"}}},
    }
    plain = reduced(Reader(template, {}, Account()))
    assert plain == {
        "Resources": {"Made": {"Type": "T", "DependsOn": ["Also"]}, "Also": {"Type": "T", "DependsOn": []}},
        "Outputs": {"Yes": {"Value": {"Ref": "Made"}}},
    }
