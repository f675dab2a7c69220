"""What each role may do, and above all what it may not.

`allowed` is a small IAM: enough of the condition operators to ask the roles about single calls, as AWS would.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import botocore.session
import pytest

from tests.template.intrinsics import ACCOUNT, HEX, ONE, REGION, STACK, THREE, VPC_ID, Stack

TAGGED = {"ec2:ResourceTag/natkeeper:stack": STACK}
FOREIGN = {"ec2:ResourceTag/natkeeper:stack": "another-stack"}
EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}"
INSTANCE, INTERFACE, VOLUME = f"{EC2}:instance/i-{HEX}", f"{EC2}:network-interface/eni-{HEX}", f"{EC2}:volume/vol-{HEX}"
TEMPLATE = f"{EC2}:launch-template/{STACK}-NatLaunchTemplate-{'X' * 12}"
PROFILE = f"arn:aws:any:{REGION}:{ACCOUNT}:{STACK}-NatInstanceProfile-{'X' * 12}"
OWN_INSTANCE = TAGGED | {"ec2:InstanceProfile": PROFILE}
OWN_INTERFACE = TAGGED | {"ec2:Vpc": f"{EC2}:vpc/{VPC_ID}"}
NOT_OURS = {
    INSTANCE: (
        FOREIGN | {"ec2:InstanceProfile": PROFILE},
        TAGGED,
        TAGGED | {"ec2:InstanceProfile": f"{PROFILE}-2"},
        {},
    ),
    INTERFACE: (FOREIGN | {"ec2:Vpc": f"{EC2}:vpc/{VPC_ID}"}, TAGGED, TAGGED | {"ec2:Vpc": f"{EC2}:vpc/vpc-2"}, {}),
}
"""Of another stack, or with the stack's tags and nothing else of its NATs."""
LAUNCH_TAGS = {
    "aws:RequestTag/natkeeper:stack": STACK,
    "aws:RequestTag/natkeeper:group": "a",
    "aws:RequestTag/natkeeper:role": "nat",
}

# Actions whose name is not that of an API operation.
RENAMED = {"lambda:InvokeFunction": "Invoke"}
PERMISSION_ONLY = {"iam:PassRole"}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(stack: Stack, role: str | None = None) -> Iterator[dict[str, Any]]:
    """Every identity statement of the stack, or of one role."""
    for name, each in stack.resources("AWS::IAM::Role").items():
        if role in (None, name):
            for policy in each["Properties"].get("Policies", []):
                yield from policy["PolicyDocument"]["Statement"]
    for each in stack.resources("AWS::IAM::Policy").values():
        attached = [found.split("-")[-2] for found in each["Properties"]["Roles"]]
        if role is None or role in attached:
            yield from each["Properties"]["PolicyDocument"]["Statement"]


def allowed(stack: Stack, role: str, action: str, resource: str, **context: str) -> bool:
    effects = {
        each["Effect"]
        for each in statements(stack, role)
        if any(fnmatchcase(action.lower(), pattern.lower()) for pattern in listed(each["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in listed(each["Resource"]))
        and all(holds(operator, test, context) for operator, test in each.get("Condition", {}).items())
    }
    return effects == {"Allow"}


def holds(operator: str, test: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    for key, wanted in test.items():
        if key not in context:
            if operator.endswith("IfExists"):
                continue
            return False
        match operator.removesuffix("IfExists"):
            case "StringEquals" | "Bool":
                good = context[key] in listed(wanted)
            case "StringEqualsIgnoreCase":
                good = context[key].lower() in [each.lower() for each in listed(wanted)]
            case "ArnEquals" | "ArnLike":
                good = any(fnmatchcase(context[key], each) for each in listed(wanted))
            case unknown:
                raise AssertionError(f"teach this test the operator {unknown}")
        if not good:
            return False
    return True


@cache
def operations(service: str) -> frozenset[str]:
    return frozenset(botocore.session.get_session().get_service_model(service).operation_names)


@pytest.fixture(scope="module")
def stack(template: dict[str, Any]) -> Stack:
    return Stack(template, THREE)


@pytest.fixture(scope="module")
def may(stack: Stack) -> Any:
    def ask(action: str, resource: str, context: Mapping[str, str] | None = None) -> bool:
        return allowed(stack, "ControllerRole", action, resource, **(context or {}))

    return ask


def test_every_action_is_an_api_operation(stack: Stack) -> None:
    for each in statements(stack):
        for action in listed(each["Action"]):
            if each["Effect"] == "Deny" and action == "*":
                continue
            service, name = action.split(":")
            assert action in PERMISSION_ONLY or RENAMED.get(action, name) in operations(service), action


def test_the_controller_may_make_every_call_it_makes_and_no_other(stack: Stack) -> None:
    actions = {action for each in statements(stack, "ControllerRole") for action in listed(each["Action"])}
    assert actions == {
        "ec2:DisassociateAddress",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "ec2:AssociateAddress",
        "ec2:CreateRoute",
        "ec2:CreateTags",
        "ec2:DescribeAddresses",
        "ec2:DescribeInstances",
        "ec2:DescribeInstanceStatus",
        "ec2:DescribeRouteTables",
        "ec2:DescribeSpotInstanceRequests",
        "ec2:ModifyInstanceAttribute",
        "ec2:ModifyNetworkInterfaceAttribute",
        "ec2:ReplaceRoute",
        "ec2:RunInstances",
        "ec2:StartInstances",
        "ec2:StopInstances",
        "ec2:TerminateInstances",
        "iam:PassRole",
        "lambda:InvokeFunction",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "sns:Publish",
        "sqs:SendMessage",
    }


def test_no_write_on_a_wildcard_is_without_a_condition(stack: Stack) -> None:
    for each in statements(stack):
        is_read = all(":Describe" in action for action in listed(each["Action"]))
        is_open = any("*" in resource for resource in listed(each["Resource"]))
        # IfExists does not count: it holds where the key is missing.
        is_bound = any(not operator.endswith("IfExists") for operator in each.get("Condition", {}))
        if each["Effect"] == "Allow" and is_open and not is_read and not is_bound:
            # Lambda itself attaches the function to the VPC with this role; the function's own code is denied.
            assert each["Sid"] == "AttachToTheSubnet"


def test_the_probers_code_may_do_nothing_and_lambda_attaches_logs_and_delivers(stack: Stack) -> None:
    """Code that could invoke the controller could order failovers."""
    code = {"lambda:SourceFunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:prober"}
    (controller,) = (
        each["Resource"]
        for each in statements(stack, "ProberRole")
        if "lambda:InvokeFunction" in listed(each["Action"])
    )
    (logs, *_) = next(each["Resource"] for each in statements(stack, "ProberRole") if each["Sid"] == "Log")
    for action, resource in (
        ("ec2:CreateNetworkInterface", INTERFACE),
        ("lambda:InvokeFunction", controller),
        ("logs:PutLogEvents", logs),
    ):
        assert allowed(stack, "ProberRole", action, resource), action
        assert not allowed(stack, "ProberRole", action, resource, **code), action


def test_the_probers_role_attaches_logs_and_delivers_and_no_more(stack: Stack) -> None:
    granted = {
        action
        for each in statements(stack, "ProberRole")
        if each["Effect"] == "Allow"
        for action in listed(each["Action"])
    }
    assert {each for each in granted if not each.startswith("ec2:")} == {
        "lambda:InvokeFunction",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }


ITEM_WRITES = (
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "BatchWriteItem",
    "PartiQLInsert",
    "PartiQLUpdate",
    "PartiQLDelete",
)


def denied(stack: Stack, action: str, **context: str) -> bool:
    """By the ledger's own policy, whatever the caller's role allows."""
    (statement,) = stack.properties("LedgerTable")["ResourcePolicy"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    is_about_it = action in listed(statement["Action"])
    controller = statement["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]
    is_stranger = context["aws:PrincipalArn"] != controller
    is_service = context.get("aws:PrincipalIsAWSService", "false") == "true"
    assert set(statement["Condition"]) == {"ArnNotEquals", "BoolIfExists"}
    assert statement["Condition"]["BoolIfExists"] == {"aws:PrincipalIsAWSService": "false"}
    return is_about_it and is_stranger and not is_service


@pytest.mark.parametrize("name", ITEM_WRITES)
def test_only_the_controller_writes_to_the_ledger(stack: Stack, name: str) -> None:
    """Whoever could would lock a zone, or make natkeeper believe what is not so."""
    admin = {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/admin"}
    controller = {"aws:PrincipalArn": f"arn:aws:any:{REGION}:{ACCOUNT}:{STACK}-ControllerRole-{'X' * 12}"}
    assert denied(stack, f"dynamodb:{name}", **admin)
    assert not denied(stack, f"dynamodb:{name}", **controller)


@pytest.mark.parametrize(
    "name",
    ["Query", "GetItem", "UpdateTable", "DeleteTable", "PutResourcePolicy", "DeleteResourcePolicy", "TagResource"],
)
def test_whoever_deploys_can_read_and_manage_the_ledger(stack: Stack, name: str) -> None:
    assert not denied(stack, f"dynamodb:{name}", **{"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/deployer"})


def test_the_ledger_is_protected_from_being_deleted_and_stays_when_the_stack_goes(expanded: dict[str, Any]) -> None:
    """Either without the other would make a stack's deletion fail half-way, or lose its incidents."""
    ledger = expanded["Resources"]["LedgerTable"]
    assert ledger["Properties"]["DeletionProtectionEnabled"] is True
    assert (ledger["DeletionPolicy"], ledger["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_the_prober_may_start_nothing_but_the_controller(stack: Stack) -> None:
    invoked = [
        resource
        for each in statements(stack, "ProberRole")
        if "lambda:InvokeFunction" in listed(each["Action"])
        for resource in listed(each["Resource"])
    ]
    assert [each.split(":")[-1] for each in invoked] == [f"{STACK}-ControllerFunction-{'X' * 12}"]


@pytest.mark.parametrize("action", ["ec2:ReplaceRoute", "ec2:CreateRoute"])
def test_only_the_given_route_tables_can_be_written(may: Any, action: str) -> None:
    vpc = {"ec2:Vpc": f"{EC2}:vpc/{VPC_ID}"}
    for zone in "ABC":
        assert may(action, f"{EC2}:route-table/{THREE[f'Zone{zone}RouteTableIds']}", vpc)
    assert not may(action, f"{EC2}:route-table/rtb-99999999", vpc)
    assert not may(action, f"{EC2}:route-table/{THREE['ZoneARouteTableIds']}", {"ec2:Vpc": f"{EC2}:vpc/vpc-99999999"})


def test_a_stack_of_one_zone_writes_only_its_own_tables(template: dict[str, Any]) -> None:
    one = Stack(template, ONE | {"ZoneARouteTableIds": "rtb-00000001,rtb-00000002"})
    routes = next(each for each in statements(one, "ControllerRole") if each["Sid"] == "MoveRoutes")
    assert routes["Resource"] == ["arn:*:ec2:*:*:route-table/rtb-00000001", "arn:*:ec2:*:*:route-table/rtb-00000002"]


@pytest.mark.parametrize("action", ["ec2:TerminateInstances", "ec2:StopInstances", "ec2:StartInstances"])
def test_only_this_stacks_instances_can_be_stopped_started_or_terminated(may: Any, action: str) -> None:
    """A machine of another VPC with the tags was terminated: the launch template's profile is asked for too."""
    assert may(action, INSTANCE, OWN_INSTANCE)
    assert not any(may(action, INSTANCE, each) for each in NOT_OURS[INSTANCE])


def allocation(letter: str) -> str:
    return f"{EC2}:elastic-ip/eipalloc-{HEX[:-1]}{letter}"


def test_an_address_only_moves_between_this_stacks_interfaces(may: Any) -> None:
    for resource, own in ((INTERFACE, OWN_INTERFACE), (INSTANCE, OWN_INSTANCE)):
        assert may("ec2:AssociateAddress", resource, own)
        assert not any(may("ec2:AssociateAddress", resource, each) for each in NOT_OURS[resource])


def test_only_the_stacks_own_addresses_move_whatever_tags_others_have(template: dict[str, Any], may: Any) -> None:
    assert all(may("ec2:AssociateAddress", allocation(each)) for each in "abcp")
    assert not may("ec2:AssociateAddress", f"{EC2}:elastic-ip/eipalloc-99999999", TAGGED)
    one = Stack(template, ONE | {"ProvingAddress": "no"})
    found = [allowed(one, "ControllerRole", "ec2:AssociateAddress", allocation(each)) for each in "abcp"]
    assert found == [True, False, False, False]


def test_only_the_proving_address_can_be_taken_off(may: Any, expanded: dict[str, Any]) -> None:
    """Taking a zone's own off would take its traffic down."""
    assert may("ec2:DisassociateAddress", allocation("p"))
    assert not any(may("ec2:DisassociateAddress", allocation(each), TAGGED) for each in "abc")
    assert may("ec2:DisassociateAddress", INTERFACE, OWN_INTERFACE)
    assert not any(may("ec2:DisassociateAddress", INTERFACE, each) for each in NOT_OURS[INTERFACE])
    without = Stack(expanded, THREE | {"ProvingAddress": "no"})
    assert not allowed(without, "ControllerRole", "ec2:DisassociateAddress", allocation("p"))


@pytest.mark.parametrize("spelling", [{}, {"ec2:Attribute": "SourceDestCheck"}, {"ec2:Attribute": "sourceDestCheck"}])
def test_source_dest_check_can_be_set_on_this_stacks_instances(may: Any, spelling: dict[str, str]) -> None:
    assert may("ec2:ModifyInstanceAttribute", INSTANCE, OWN_INSTANCE | spelling)
    assert may("ec2:ModifyNetworkInterfaceAttribute", INTERFACE, OWN_INTERFACE | spelling)
    assert not any(may("ec2:ModifyInstanceAttribute", INSTANCE, each | spelling) for each in NOT_OURS[INSTANCE])
    for resource in (INSTANCE, INTERFACE):
        assert not any(
            may("ec2:ModifyNetworkInterfaceAttribute", resource, each | spelling) for each in NOT_OURS[resource]
        )


def test_the_public_address_can_be_taken_away(may: Any) -> None:
    named = OWN_INTERFACE | {"ec2:Attribute": "AssociatePublicIpAddress"}
    assert may("ec2:ModifyNetworkInterfaceAttribute", INTERFACE, named)
    # AWS authorizes the attached instance too, without the attribute.
    assert may("ec2:ModifyNetworkInterfaceAttribute", INSTANCE, OWN_INSTANCE)


@pytest.mark.parametrize("attribute", ["userData", "GroupSet", "instanceType", "DisableApiTermination"])
def test_no_other_attribute_can_be_changed(may: Any, attribute: str) -> None:
    assert not may("ec2:ModifyInstanceAttribute", INSTANCE, OWN_INSTANCE | {"ec2:Attribute": attribute})
    assert not may("ec2:ModifyNetworkInterfaceAttribute", INTERFACE, OWN_INTERFACE | {"ec2:Attribute": attribute})


def test_tags_can_only_be_given_at_launch(may: Any) -> None:
    for resource in (INSTANCE, INTERFACE, VOLUME):
        assert may("ec2:CreateTags", resource, LAUNCH_TAGS | {"ec2:CreateAction": "RunInstances"})
        assert not may("ec2:CreateTags", resource, LAUNCH_TAGS)
        assert not may("ec2:CreateTags", resource, LAUNCH_TAGS | {"ec2:CreateAction": "CreateVolume"})


LAUNCH = LAUNCH_TAGS | {
    "ec2:LaunchTemplate": TEMPLATE,
    "ec2:InstanceProfile": PROFILE,
    "ec2:MetadataHttpTokens": "required",
    "ec2:IsLaunchTemplateResource": "false",
}


@pytest.mark.parametrize("role", ["nat", "standby"])
def test_an_instance_can_be_launched_the_way_the_controller_does(may: Any, role: str) -> None:
    context = LAUNCH | {"aws:RequestTag/natkeeper:role": role}
    for resource in (INSTANCE, INTERFACE, VOLUME, TEMPLATE):
        assert may("ec2:RunInstances", resource, context), resource
    assert may("ec2:RunInstances", f"{EC2}:subnet/{THREE['ZoneCPublicSubnetId']}", context)
    assert may("ec2:RunInstances", f"{EC2}:security-group/{STACK}-NatSecurityGroup-{'X' * 12}.GroupId", context)
    image = f"arn:aws:ec2:{REGION}::image/ami-{HEX}"
    assert may("ec2:RunInstances", image, context | {"ec2:IsLaunchTemplateResource": "true"})
    assert not may("ec2:RunInstances", image, context)


@pytest.mark.parametrize(
    "change",
    [
        {"ec2:LaunchTemplate": f"{EC2}:launch-template/lt-99999999"},
        {"ec2:InstanceProfile": f"arn:aws:iam::{ACCOUNT}:instance-profile/admin"},
        {"ec2:MetadataHttpTokens": "optional"},
        {"aws:RequestTag/natkeeper:stack": "another-stack"},
        {"aws:RequestTag/natkeeper:group": "d"},
        {"aws:RequestTag/natkeeper:role": "bastion"},
    ],
)
def test_no_other_instance_can_be_launched(may: Any, change: dict[str, str]) -> None:
    assert not may("ec2:RunInstances", INSTANCE, LAUNCH | change)


def test_no_instance_can_be_launched_in_a_private_subnet(may: Any) -> None:
    assert not may("ec2:RunInstances", f"{EC2}:subnet/{THREE['ZoneAPrivateSubnetId']}", LAUNCH)


def test_only_the_nats_role_can_be_passed_and_only_to_ec2(may: Any) -> None:
    nat_role = f"arn:aws:any:{REGION}:{ACCOUNT}:{STACK}-NatRole-{'X' * 12}"
    assert may("iam:PassRole", nat_role, {"iam:PassedToService": "ec2.amazonaws.com"})
    assert not may("iam:PassRole", nat_role, {"iam:PassedToService": "lambda.amazonaws.com"})
    assert not may("iam:PassRole", nat_role.replace("NatRole", "Other"), {"iam:PassedToService": "ec2.amazonaws.com"})


def test_a_nat_instance_has_no_permissions(stack: Stack) -> None:
    role = stack.properties("NatRole")
    assert not role.get("Policies")
    assert not role.get("ManagedPolicyArns")
    assert not list(statements(stack, "NatRole"))


def test_no_role_has_a_managed_policy_or_a_name(stack: Stack) -> None:
    for each in stack.resources("AWS::IAM::Role").values():
        assert not {"ManagedPolicyArns", "RoleName"} & set(each["Properties"])


def test_the_policies_stay_under_iams_limit_with_twenty_tables_per_zone(template: dict[str, Any]) -> None:
    tables = {
        f"Zone{zone}RouteTableIds": ",".join(f"rtb-{zone.lower()}{number:016x}" for number in range(20))
        for zone in "ABC"
    }
    widest = Stack(template, THREE | tables)
    size = len(re.sub(r"\s", "", str(list(statements(widest, "ControllerRole")))))
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: 10,240 characters inline per role.
    assert size < 10_240
