"""Deploys template.yaml as `sam deploy` would, and reads back what it became.

`stack` calls it; so may whoever needs a stack in the lab's AWS. Talks to AWS through boto3 alone, so it needs the
endpoint and credentials in the environment. May not import natkeeper or lab.api: the template alone says what there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3

from natkeeper_lab.shipped import TEMPLATE

CAPABILITIES = ("CAPABILITY_IAM",)
"""samconfig.toml's."""


@dataclass(frozen=True)
class Function:
    """A Lambda function as AWS describes it. Destinations are ARNs; `retries` and `maximum_age` (seconds) are those of
    asynchronous invocations, `reserved` the reserved concurrency."""

    logical_id: str
    name: str
    arn: str
    handler: str
    runtime: str
    environment: Mapping[str, str]
    memory_mb: int
    timeout_seconds: float
    log_group: str
    subnets: tuple[str, ...] = ()
    on_success: str | None = None
    on_failure: str | None = None
    retries: int = 2
    maximum_age: float = 21600.0
    reserved: int | None = None
    is_recursion_allowed: bool = False


@dataclass(frozen=True)
class Deployment:
    """A created stack. `resources` and `types` are by logical id: the physical id and the type."""

    stack: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    resources: Mapping[str, str]
    types: Mapping[str, str]
    functions: Mapping[str, Function]

    def of_type(self, kind: str) -> dict[str, str]:
        """Logical to physical ids of the resources of one type."""
        return {name: self.resources[name] for name, each in self.types.items() if each == kind}


@cache
def expand(text: str) -> str:
    """The CloudFormation template, as JSON, that AWS makes of a SAM template."""
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator
    from samtranslator.yaml_helper import yaml_parse

    template = yaml_parse(text)
    # Packaging has not happened: the translator only takes code that is already in a bucket.
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    session = boto3.session.Session(region_name="us-east-1")
    return json.dumps(Translator({}, Parser(), boto_session=session).translate(template, {}))


def deploy(stack: str, parameters: Mapping[str, str], template: Path = TEMPLATE) -> Deployment:
    """Create the stack. botocore's ClientError with the template's own words when a parameter is refused."""
    cloudformation: Any = boto3.client("cloudformation")
    cloudformation.create_stack(
        StackName=stack,
        TemplateBody=expand(template.read_text("utf-8")),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=list(CAPABILITIES),
    )
    return read_back(stack)


def read_back(stack: str) -> Deployment:
    """What the stack is made of, asked of the services themselves."""
    cloudformation: Any = boto3.client("cloudformation")
    described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    resources = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
    functions = [each for each in resources if each["ResourceType"] == "AWS::Lambda::Function"]
    client: Any = boto3.client("lambda")
    # The one thing not asked of its own service: moto has no GetFunctionRecursionConfig.
    written = cloudformation.get_template(StackName=stack)["TemplateBody"]["Resources"]
    return Deployment(
        stack=stack,
        parameters={each["ParameterKey"]: each["ParameterValue"] for each in described["Parameters"]},
        outputs={each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]},
        resources={each["LogicalResourceId"]: each["PhysicalResourceId"] for each in resources},
        types={each["LogicalResourceId"]: each["ResourceType"] for each in resources},
        functions={
            each["LogicalResourceId"]: replace(
                _function(client, each["LogicalResourceId"], each["PhysicalResourceId"]),
                is_recursion_allowed=written[each["LogicalResourceId"]]["Properties"].get("RecursiveLoop") == "Allow",
            )
            for each in functions
        },
    )


def _function(client: Any, logical_id: str, name: str) -> Function:
    found = client.get_function_configuration(FunctionName=name)
    try:
        asynchronous = client.get_function_event_invoke_config(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        asynchronous = {}
    destinations = asynchronous.get("DestinationConfig", {})
    return Function(
        logical_id=logical_id,
        name=name,
        arn=found["FunctionArn"],
        handler=found["Handler"],
        runtime=found["Runtime"],
        environment=found.get("Environment", {}).get("Variables", {}),
        memory_mb=found["MemorySize"],
        timeout_seconds=found["Timeout"],
        log_group=found.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{name}"),
        subnets=tuple(found.get("VpcConfig", {}).get("SubnetIds", [])),
        on_success=destinations.get("OnSuccess", {}).get("Destination"),
        on_failure=destinations.get("OnFailure", {}).get("Destination"),
        retries=asynchronous.get("MaximumRetryAttempts", 2),
        maximum_age=asynchronous.get("MaximumEventAgeInSeconds", 21600),
        reserved=client.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions"),
    )


def set_triggers(deployment: Deployment, is_on: bool) -> None:
    """Enable or disable the stack's rules and schedules, as a person would in the console."""
    events: Any = boto3.client("events")
    for name in deployment.of_type("AWS::Events::Rule").values():
        (events.enable_rule if is_on else events.disable_rule)(Name=name)
    set_schedules(deployment, is_on)


def set_schedules(deployment: Deployment, is_on: bool) -> None:
    """Enable or disable the minute's tick alone."""
    scheduler: Any = boto3.client("scheduler")
    for name in deployment.of_type("AWS::Scheduler::Schedule").values():
        found = scheduler.get_schedule(Name=name)
        kept = ("Name", "Description", "ScheduleExpression", "FlexibleTimeWindow", "Target")
        state = "ENABLED" if is_on else "DISABLED"
        scheduler.update_schedule(**{key: found[key] for key in kept}, State=state)
