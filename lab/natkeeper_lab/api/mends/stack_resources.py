"""Mends: the resources that moto's CloudFormation does not know, or makes with half of their properties.

Installed by `api.mends`. May not import boto3.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-template-resource-type-ref.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import moto.cloudformation.parsing as parsing
from moto.awslambda.models import LambdaFunction, Permission, lambda_backends
from moto.cloudwatch.models import Dimension, Metric, MetricDataQuery, MetricStat, cloudwatch_backends
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.ec2.models import ec2_backends
from moto.ec2.models.elastic_ip_addresses import ElasticAddress
from moto.ec2.models.security_groups import SecurityGroup
from moto.logs.models import LogGroup
from moto.scheduler.models import scheduler_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World

Make = Callable[[str, Mapping[str, Any], str, str], Any]
"""name, properties, account, region -> the resource."""
CREATE = "create_from_cloudformation_json"


@dataclass
class Made:
    """What moto's CloudFormation asks of a resource."""

    physical_resource_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    def is_created(self) -> bool:
        return True

    def get_cfn_attribute(self, name: str) -> str:
        return self.attributes[name]


class _Model:
    """What moto's CloudFormation asks of a resource type."""

    def __init__(self, make: Make) -> None:
        self._make = make

    def create_from_cloudformation_json(
        self, name: str, resource: Any, account: str, region: str, **_kwargs: Any
    ) -> Any:
        return self._make(name, resource.get("Properties", {}), account, region)

    def has_cfn_attr(self, _attribute: str) -> bool:
        return True


def install(patches: Patches, _world: World) -> None:
    added = {kind: _Model(make) for kind, make in MISSING.items()}
    patches.wrap(parsing, "get_model_map", lambda original: lambda: {**original(), **added})
    patches.replace(SecurityGroup, CREATE, _Model(security_group).create_from_cloudformation_json)
    patches.wrap(ElasticAddress, CREATE, with_tags)
    patches.wrap(Table, CREATE, with_time_to_live_and_backups)
    patches.wrap(LambdaFunction, CREATE, as_written)
    patches.wrap(LambdaFunction, "get_configuration", show_logging)
    patches.wrap(Permission, CREATE, with_a_name)
    patches.wrap(LogGroup, CREATE, with_numeric_retention)


def security_group(name: str, properties: Mapping[str, Any], account: str, region: str) -> Any:
    """Moto demands ports even of protocol -1, and ignores SecurityGroupEgress, which replaces the default rule."""
    backend = ec2_backends[account][region]
    tags = {each["Key"]: each["Value"] for each in properties.get("Tags", [])}
    made = backend.create_security_group(name, properties["GroupDescription"], properties.get("VpcId"), tags)
    for rule in properties.get("SecurityGroupIngress", []):
        backend.authorize_security_group_ingress(made.id, *_permission(rule))
    if egress := properties.get("SecurityGroupEgress"):
        backend.revoke_security_group_egress(made.id, "-1", None, None, [{"CidrIp": "0.0.0.0/0"}])
        for rule in egress:
            backend.authorize_security_group_egress(made.id, *_permission(rule))
    return made


def _permission(rule: Mapping[str, Any]) -> tuple[str, Any, Any, list[dict[str, str]]]:
    if "CidrIp" not in rule:
        raise NotImplementedError(f"the lab's security groups in templates know CidrIp only, not {rule}")
    ranges = {key: str(rule[key]) for key in ("CidrIp", "Description") if key in rule}
    return str(rule["IpProtocol"]), rule.get("FromPort"), rule.get("ToPort"), [ranges]


def with_tags(original: Any) -> Any:
    """Moto ignores an Elastic IP's tags."""

    def create(name: str, resource: Any, account: str, region: str, **kwargs: Any) -> Any:
        made = original(name, resource, account, region, **kwargs)
        made.add_tags({each["Key"]: each["Value"] for each in resource["Properties"].get("Tags", [])})
        return made

    return create


def with_time_to_live_and_backups(original: Any) -> Any:
    """Moto ignores a table's TimeToLiveSpecification and PointInTimeRecoverySpecification."""

    def create(name: str, resource: Any, account: str, region: str, **kwargs: Any) -> Any:
        made = original(name, resource, account, region, **kwargs)
        properties, backend = resource["Properties"], dynamodb_backends[account][region]
        if spec := properties.get("TimeToLiveSpecification"):
            backend.update_time_to_live(made.name, spec)
        if spec := properties.get("PointInTimeRecoverySpecification"):
            backend.update_continuous_backups(made.name, spec)
        return made

    return create


def as_written(original: Any) -> Any:
    """Moto drops a function's Architectures and LoggingConfig, and gives numbers where an environment has text."""

    def create(name: str, resource: Any, account: str, region: str, **kwargs: Any) -> Any:
        properties = resource["Properties"]
        variables = properties.get("Environment", {}).get("Variables", {})
        variables.update({key: str(value) for key, value in variables.items()})
        made = original(name, resource, account, region, **kwargs)
        if "Architectures" in properties:
            made.architectures = properties["Architectures"]
        if "LoggingConfig" in properties:
            made.lab_logging = properties["LoggingConfig"]
        return made

    return create


def show_logging(original: Any) -> Any:
    """https://docs.aws.amazon.com/lambda/latest/api/API_FunctionConfiguration.html (LoggingConfig)"""

    def get_configuration(self: Any, *args: Any, **kwargs: Any) -> Any:
        shown = original(self, *args, **kwargs)
        if logging := getattr(self, "lab_logging", None):
            shown["LoggingConfig"] = logging
        return shown

    return get_configuration


def with_a_name(original: Any) -> Any:
    """Moto's permissions have no physical id, which every resource has."""

    def create(name: str, resource: Any, account: str, region: str, **kwargs: Any) -> Any:
        original(name, resource, account, region, **kwargs)
        return Made(name)

    return create


def with_numeric_retention(original: Any) -> Any:
    """A Number parameter is text to Ref; CloudFormation makes a number of it where the property is one."""

    def create(name: str, resource: Any, account: str, region: str, **kwargs: Any) -> Any:
        if (days := resource["Properties"].get("RetentionInDays")) is not None:
            resource["Properties"]["RetentionInDays"] = int(days)
        return original(name, resource, account, region, **kwargs)

    return create


# -- types that moto's CloudFormation does not have


def event_invoke_config(_name: str, properties: Mapping[str, Any], account: str, region: str) -> Made:
    kept = ("DestinationConfig", "MaximumEventAgeInSeconds", "MaximumRetryAttempts")
    config = {key: properties[key] for key in kept if key in properties}
    lambda_backends[account][region].put_function_event_invoke_config(properties["FunctionName"], config)
    return Made(f"{properties['FunctionName']}|{properties['Qualifier']}")


def schedule(name: str, properties: Mapping[str, Any], account: str, region: str) -> Made:
    made = scheduler_backends[account][region].create_schedule(
        name=properties.get("Name", name),
        group_name=properties.get("GroupName"),
        description=properties.get("Description"),
        schedule_expression=properties["ScheduleExpression"],
        schedule_expression_timezone=properties.get("ScheduleExpressionTimezone"),
        flexible_time_window=properties["FlexibleTimeWindow"],
        target=dict(properties["Target"]),
        state=properties.get("State"),
        kms_key_arn=None,
        start_date=properties.get("StartDate"),
        end_date=properties.get("EndDate"),
        action_after_completion=None,
    )
    return Made(made.name, {"Arn": made.arn})


def topic_policy(name: str, properties: Mapping[str, Any], account: str, region: str) -> Made:
    for topic in properties["Topics"]:
        sns_backends[account][region].set_topic_attribute(topic, "_policy_json", properties["PolicyDocument"])
    return Made(name)


def subscription(_name: str, properties: Mapping[str, Any], account: str, region: str) -> Made:
    backend = sns_backends[account][region]
    made = backend.subscribe(properties["TopicArn"], properties["Endpoint"], properties["Protocol"])
    return Made(made.arn)


def queue_policy(name: str, properties: Mapping[str, Any], account: str, region: str) -> Made:
    backend = sqs_backends[account][region]
    for url in properties["Queues"]:
        queue = backend.get_queue(url.rsplit("/", 1)[-1])
        queue._set_attributes({"Policy": json.dumps(properties["PolicyDocument"])})
    return Made(name)


def alarm(name: str, properties: Mapping[str, Any], account: str, region: str) -> Made:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-cloudwatch-alarm.html"""
    queries = [_query(each) for each in properties.get("Metrics", [])]
    made = cloudwatch_backends[account][region].put_metric_alarm(
        name=properties.get("AlarmName", name),
        namespace=properties.get("Namespace"),
        metric_name=properties.get("MetricName"),
        comparison_operator=properties["ComparisonOperator"],
        evaluation_periods=int(properties["EvaluationPeriods"]),
        period=properties.get("Period"),
        threshold=float(properties["Threshold"]),
        statistic=properties.get("Statistic"),
        description=properties.get("AlarmDescription"),
        dimensions=list(properties.get("Dimensions", [])),
        alarm_actions=properties.get("AlarmActions", []),
        ok_actions=properties.get("OKActions", []),
        metric_data_queries=queries or None,
        treat_missing_data=properties.get("TreatMissingData"),
    )
    return Made(made.name, {"Arn": made.alarm_arn})


def _query(query: Mapping[str, Any]) -> Any:
    stat = query.get("MetricStat")
    metric = stat and Metric(stat["Metric"]["MetricName"], stat["Metric"]["Namespace"], _dimensions(stat["Metric"]))
    return MetricDataQuery(
        query_id=query["Id"],
        label=query.get("Label"),
        period=query.get("Period"),
        return_data=query.get("ReturnData"),
        expression=query.get("Expression"),
        metric_stat=stat and MetricStat(metric=metric, period=stat["Period"], stat=stat["Stat"], unit=None),
    )


def _dimensions(properties: Mapping[str, Any]) -> list[Any]:
    return [Dimension(each["Name"], each["Value"]) for each in properties.get("Dimensions", [])]


MISSING: Mapping[str, Make] = {
    "AWS::CloudWatch::Alarm": alarm,
    "AWS::Lambda::EventInvokeConfig": event_invoke_config,
    "AWS::SNS::Subscription": subscription,
    "AWS::SNS::TopicPolicy": topic_policy,
    "AWS::SQS::QueuePolicy": queue_policy,
    "AWS::Scheduler::Schedule": schedule,
}
