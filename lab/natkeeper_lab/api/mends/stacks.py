"""Mends: CreateStack validates what the user passes and knows every function of a template.

Installed by `api.mends`; `stack_resources` makes the resources that moto's CloudFormation cannot. May not import
boto3. https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import moto.awslambda.models as lambda_models
from moto.cloudformation.exceptions import CloudFormationError, ValidationError
from moto.cloudformation.models import CloudFormationBackend, Stack
from moto.cloudformation.responses import CloudFormationResponse
from moto.ssm.models import ssm_backends

from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import ACCOUNT, World
from natkeeper_lab.cloudformation import Reader, RefusedError, broken_rules, reduced, resolve


class InsufficientCapabilitiesError(CloudFormationError):  # type: ignore[misc]
    code = "InsufficientCapabilitiesException"


class _Account:
    """What CloudFormation looks up in this account while it validates."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ssm(self, name: str) -> str | None:
        """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-supplied-parameter-types.html"""
        found = ssm_backends[ACCOUNT][self._world.options.region].get_parameter(name)
        return None if found is None else str(found.value)

    def attribute(self, kind: str, identifier: str, name: str) -> str | None:
        ec2 = self._world.ec2
        if kind == "AWS::EC2::VPC::Id":
            vpc = ec2.vpcs.get(identifier)
            return identifier if vpc is not None and name == "Id" else None
        subnets = [each for zones in ec2.subnets.values() for each in zones.values() if each.id == identifier]
        members = {"Id": "id", "VpcId": "vpc_id", "AvailabilityZone": "availability_zone"}
        return str(getattr(subnets[0], members[name])) if subnets and name in members else None


def install(patches: Patches, world: World) -> None:
    patches.replace(Stack, "parse_template", staticmethod(parse_json_first(Stack.parse_template)))
    patches.wrap(CloudFormationBackend, "create_stack", partial(create_what_the_user_gets, world))
    patches.wrap(CloudFormationResponse, "create_stack", refuse_without_capabilities)
    # The lab runs the source tree: there is no bucket with an artefact that a function's code could be missing from.
    patches.replace(lambda_models, "do_validate_s3", lambda: False)


def parse_json_first(original: Any) -> Any:
    """Moto reads JSON with a YAML parser in pure Python, which takes seconds for a template of this size."""

    def parse(template: str) -> Any:
        try:
            return json.loads(template)
        except ValueError:
            return original(template)

    return parse


def create_what_the_user_gets(world: World, original: Any) -> Any:
    """Moto checks no constraint, ignores Rules, and leaves null in lists for AWS::NoValue. A stack that is refused
    leaves nothing behind.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html
    """

    def create_stack(self: Any, name: str, template: str, parameters: dict[str, Any], **kwargs: Any) -> Any:
        parsed = Stack.parse_template(template)
        account = _Account(world)
        try:
            values = resolve(parsed, parameters, account)
            reader = Reader(parsed, {**_pseudo(self, name), **values}, account)
            if broken := broken_rules(reader):
                raise RefusedError(f"Template validation error: {' '.join(broken)}")
            plain = reduced(reader)
        except RefusedError as refusal:
            raise ValidationError(message=str(refusal)) from refusal
        stack = original(self, name, json.dumps(plain), parameters, **kwargs)
        stack.template = template  # what GetTemplate answers
        return stack

    return create_stack


def _pseudo(backend: Any, name: str) -> dict[str, str]:
    """AWS::StackId stays for moto, which makes it."""
    return {
        "AWS::AccountId": backend.account_id,
        "AWS::Region": backend.region_name,
        "AWS::StackName": name,
        "AWS::Partition": "aws",
        "AWS::URLSuffix": "amazonaws.com",
    }


def refuse_without_capabilities(original: Any) -> Any:
    """Moto makes roles without having been allowed to (same page as above: Capabilities)."""

    def create_stack(self: Any) -> Any:
        resources = Stack.parse_template(self._get_param("TemplateBody") or "{}").get("Resources", {}).values()
        iam = [each.get("Properties", {}) for each in resources if str(each.get("Type")).startswith("AWS::IAM::")]
        is_named = any(key in each for each in iam for key in ("RoleName", "InstanceProfileName", "UserName"))
        granted = set(self._get_param("Capabilities") or [])
        enough = {"CAPABILITY_NAMED_IAM"} | (set() if is_named else {"CAPABILITY_IAM"})
        if iam and not granted & enough:
            wanted = "CAPABILITY_NAMED_IAM" if is_named else "CAPABILITY_IAM"
            raise InsufficientCapabilitiesError(f"Requires capabilities : [{wanted}]")
        return original(self)

    return create_stack
