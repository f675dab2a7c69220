"""CreateStack: what is refused before anything exists, and what the resources of a template become."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from tests.contract.scenery import Aws

TOPIC = {"Topic": {"Type": "AWS::SNS::Topic"}}
ASSUME = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
ROLE = {"Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": ASSUME}}}
SIZE = {
    "Size": {
        "Type": "Number",
        "Default": 2,
        "MinValue": 1,
        "MaxValue": 3,
        "ConstraintDescription": "Size must be 1 to 3.",
    }
}
CIDR = {"Cidr": {"Type": "String", "AllowedPattern": r"^10\..*$", "ConstraintDescription": "Cidr must begin with 10."}}


def function(**properties: Any) -> dict[str, Any]:
    return {
        **ROLE,
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Code": {"ZipFile": "def handler(event, context): pass"},
                "Handler": "module.handler",
                "Runtime": "python3.13",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                **properties,
            },
        },
    }


def create(aws: Aws, resources: dict[str, Any], given: dict[str, str] | None = None, **sections: Any) -> dict[str, str]:
    """A stack of these resources; the answer is each one's physical id and each output."""
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(
        StackName="stack",
        TemplateBody=json.dumps({"Resources": resources, **sections}),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in (given or {}).items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    found = cloudformation.describe_stack_resources(StackName="stack")["StackResources"]
    outputs = cloudformation.describe_stacks(StackName="stack")["Stacks"][0].get("Outputs", [])
    made = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found}
    return made | {each["OutputKey"]: each["OutputValue"] for each in outputs}


# -- refusals


@pytest.mark.parametrize("size", ["0", "4", "two"])
def test_number_out_of_range_is_refused_in_the_templates_words(aws: Aws, size: str) -> None:
    with pytest.raises(ClientError, match=r"Parameter Size failed to satisfy constraint: Size must be 1 to 3\."):
        create(aws, TOPIC, {"Size": size}, Parameters=SIZE)


def test_value_that_does_not_match_is_refused_in_the_templates_words(aws: Aws) -> None:
    with pytest.raises(ClientError, match=r"Parameter Cidr failed to satisfy constraint: Cidr must begin with 10\."):
        create(aws, TOPIC, {"Cidr": "192.168.0.0/24"}, Parameters=CIDR)


def test_parameter_without_a_value_is_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match=r"Parameters: \[Cidr\] must have values"):
        create(aws, TOPIC, Parameters=CIDR)


def test_parameter_that_the_template_does_not_have_is_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match=r"Parameters: \[Typo\] do not exist in the template"):
        create(aws, TOPIC, {"Typo": "1"})


def test_missing_ssm_parameter_is_refused(aws: Aws) -> None:
    declared = {"Ami": {"Type": "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>", "Default": "/nobody/made/this"}}
    with pytest.raises(ClientError, match="Unable to fetch parameters"):
        create(aws, TOPIC, Parameters=declared)


def test_subnet_that_is_not_there_is_refused(aws: Aws) -> None:
    declared = {"Subnet": {"Type": "AWS::EC2::Subnet::Id"}}
    with pytest.raises(ClientError, match="subnet-0123456789abcdef0 for parameter name Subnet does not exist"):
        create(aws, TOPIC, {"Subnet": "subnet-0123456789abcdef0"}, Parameters=declared)


def test_broken_rule_refuses_the_stack_in_its_own_words_and_leaves_nothing(aws: Aws) -> None:
    rule = {"Assertions": [{"Assert": {"Fn::Equals": [{"Ref": "Size"}, "3"]}, "AssertDescription": "Size must be 3."}]}
    with pytest.raises(ClientError, match=r"ValidationError.*Size must be 3\."):
        create(aws, TOPIC, Parameters=SIZE, Rules={"Rule": rule})
    assert aws.client("sns").list_topics()["Topics"] == []


def test_rule_whose_condition_does_not_hold_is_not_asked(ours: Aws) -> None:
    never = {"Fn::Equals": [{"Ref": "Size"}, "3"]}
    create(ours, TOPIC, Parameters=SIZE, Rules={"Rule": {"RuleCondition": never, "Assertions": [{"Assert": never}]}})


def test_rule_sees_which_vpc_a_subnet_is_in(aws: Aws) -> None:
    declared = {"Subnet": {"Type": "AWS::EC2::Subnet::Id"}, "Vpc": {"Type": "AWS::EC2::VPC::Id"}}
    inside = {
        "Fn::EachMemberIn": [{"Fn::ValueOfAll": ["AWS::EC2::Subnet::Id", "VpcId"]}, {"Fn::RefAll": "AWS::EC2::VPC::Id"}]
    }
    rules = {"Rule": {"Assertions": [{"Assert": inside, "AssertDescription": "Subnet is elsewhere."}]}}
    elsewhere = aws.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    with pytest.raises(ClientError, match="Subnet is elsewhere"):
        create(aws, TOPIC, {"Subnet": aws.subnet, "Vpc": elsewhere}, Parameters=declared, Rules=rules)
    create(aws, TOPIC, {"Subnet": aws.subnet, "Vpc": aws.vpc}, Parameters=declared, Rules=rules)


def test_roles_need_a_capability(aws: Aws) -> None:
    with pytest.raises(ClientError, match=r"InsufficientCapabilities.*CAPABILITY_IAM"):
        aws.client("cloudformation").create_stack(StackName="stack", TemplateBody=json.dumps({"Resources": ROLE}))


# -- functions of the template language


def test_no_value_in_a_list_is_left_out(aws: Aws) -> None:
    rules = [
        {"Fn::If": ["Never", {"IpProtocol": "-1"}, {"Ref": "AWS::NoValue"}]},
        {"IpProtocol": "-1", "CidrIp": "10.0.0.0/8"},
    ]
    group = {"GroupDescription": "nat", "VpcId": aws.vpc, "SecurityGroupIngress": rules}
    resources = {"Group": {"Type": "AWS::EC2::SecurityGroup", "Properties": group}}
    made = create(aws, resources, Conditions={"Never": {"Fn::Equals": ["a", "b"]}})
    (found,) = aws.ec2.describe_security_groups(GroupIds=[made["Group"]])["SecurityGroups"]
    assert [each["IpRanges"] for each in found["IpPermissions"]] == [[{"CidrIp": "10.0.0.0/8"}]]


def test_sub_keeps_literals_and_takes_variables_of_its_own(ours: Aws) -> None:
    text = "${!PROP('Dim.group')} ${Mine} ${AWS::StackName} ${Topic.TopicName}"
    value = {"Fn::Sub": [text, {"Mine": {"Fn::Join": ["-", ["a", "b"]]}}]}
    made = create(ours, TOPIC, Outputs={"Text": {"Value": value}})
    assert made["Text"] == f"${{PROP('Dim.group')}} a-b stack {made['Topic'].rsplit(':', 1)[-1]}"


def test_resource_without_its_condition_is_neither_made_nor_waited_for(ours: Aws) -> None:
    resources = {
        "Other": {"Type": "AWS::SNS::Topic", "Condition": "Never"},
        "Topic": {"Type": "AWS::SNS::Topic", "DependsOn": "Other"},
    }
    outputs = {"OtherArn": {"Condition": "Never", "Value": {"Ref": "Other"}}}
    made = create(ours, resources, Conditions={"Never": {"Fn::Equals": ["a", "b"]}}, Outputs=outputs)
    assert set(made) == {"Topic"}


def test_reference_to_a_resource_that_is_not_made_is_refused(aws: Aws) -> None:
    resources = {
        "Other": {"Type": "AWS::SNS::Topic", "Condition": "Never"},
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Ref": "Other"}}},
    }
    with pytest.raises(ClientError, match=r"Unresolved resource dependencies \[Other\]"):
        create(aws, resources, Conditions={"Never": {"Fn::Equals": ["a", "b"]}})


# -- resources


def test_security_groups_egress_replaces_the_default_rule(aws: Aws) -> None:
    egress = [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0"}]
    group = {"GroupDescription": "nat", "VpcId": aws.vpc, "SecurityGroupEgress": egress}
    made = create(aws, {"Group": {"Type": "AWS::EC2::SecurityGroup", "Properties": group}})
    (found,) = aws.ec2.describe_security_groups(GroupIds=[made["Group"]])["SecurityGroups"]
    assert [(each["IpProtocol"], each.get("FromPort")) for each in found["IpPermissionsEgress"]] == [("tcp", 443)]


def test_elastic_ip_is_tagged(aws: Aws) -> None:
    tags = [{"Key": "natkeeper:group", "Value": "a"}]
    made = create(aws, {"Address": {"Type": "AWS::EC2::EIP", "Properties": {"Domain": "vpc", "Tags": tags}}})
    (found,) = aws.ec2.describe_addresses(PublicIps=[made["Address"]])["Addresses"]
    assert tags[0] in found["Tags"]


def test_table_has_time_to_live_and_recovery(aws: Aws) -> None:
    table = {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
    }
    name = create(aws, {"Table": {"Type": "AWS::DynamoDB::Table", "Properties": table}})["Table"]
    dynamodb = aws.client("dynamodb")
    lives = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert (lives["TimeToLiveStatus"], lives["AttributeName"]) == ("ENABLED", "expires_at")
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


def test_function_is_made_as_written_and_its_environment_is_text(aws: Aws) -> None:
    written = {"Architectures": ["arm64"], "Environment": {"Variables": {"SIZE": {"Ref": "Size"}, "ONE": 1}}}
    logging = {"LogGroup": "/aws/lambda/mine", "LogFormat": "Text"}
    made = create(aws, function(**written, LoggingConfig=logging), Parameters=SIZE)
    found = aws.client("lambda").get_function_configuration(FunctionName=made["Function"])
    assert found["Environment"]["Variables"] == {"SIZE": "2", "ONE": "1"}
    assert found["Architectures"] == ["arm64"]
    assert found["LoggingConfig"] == logging


def test_functions_artefact_need_not_be_in_a_bucket(aws: Aws) -> None:
    code = {"S3Bucket": "nobody-made-this", "S3Key": "key"}
    with contextlib.suppress(ResponseParserError):  # moto answers a query in JSON
        create(aws, function(Code=code))
    assert len(aws.client("lambda").list_functions()["Functions"]) == 1


def test_permission_has_a_physical_id(aws: Aws) -> None:
    properties = {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": "Function"},
        "Principal": "events.amazonaws.com",
    }
    made = create(aws, {**function(), "Permission": {"Type": "AWS::Lambda::Permission", "Properties": properties}})
    assert made["Permission"]


def test_invoke_config_is_the_functions(aws: Aws) -> None:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:other"
    properties = {
        "FunctionName": {"Ref": "Function"},
        "Qualifier": "$LATEST",
        "MaximumRetryAttempts": 0,
        "DestinationConfig": {"OnSuccess": {"Destination": arn}},
    }
    config = {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": properties}
    made = create(aws, {**function(), "Config": config})
    found = aws.client("lambda").get_function_event_invoke_config(FunctionName=made["Function"])
    assert found["MaximumRetryAttempts"] == 0
    assert found["DestinationConfig"]["OnSuccess"]["Destination"] == arn


def test_log_group_keeps_for_a_number_of_days(ours: Aws) -> None:
    group = {"LogGroupName": "/aws/lambda/mine", "RetentionInDays": {"Ref": "Size"}}
    create(ours, {"Group": {"Type": "AWS::Logs::LogGroup", "Properties": group}}, Parameters=SIZE)
    assert ours.client("logs").describe_log_groups()["logGroups"][0]["retentionInDays"] == 2


def test_alarm_of_one_metric_and_of_a_formula(aws: Aws) -> None:
    metric = {"Namespace": "n", "MetricName": "Passes", "Dimensions": [{"Name": "stack", "Value": "s"}]}
    common = {"ComparisonOperator": "LessThanThreshold", "EvaluationPeriods": 1, "Threshold": 1}
    formula = [
        {"Id": "all", "Expression": "SUM(METRICS())", "ReturnData": True},
        {"Id": "a", "ReturnData": False, "MetricStat": {"Period": 60, "Stat": "Sum", "Metric": metric}},
    ]
    resources = {
        "One": {"Type": "AWS::CloudWatch::Alarm", "Properties": {**common, **metric, "Statistic": "Sum", "Period": 60}},
        "All": {"Type": "AWS::CloudWatch::Alarm", "Properties": {**common, "AlarmName": "all", "Metrics": formula}},
    }
    made = create(aws, resources)
    alarms = {each["AlarmName"]: each for each in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]}
    assert alarms[made["One"]]["Dimensions"] == metric["Dimensions"]
    assert [each["Id"] for each in alarms["all"]["Metrics"]] == ["all", "a"]


def test_policies_and_subscriptions_reach_topic_and_queue(aws: Aws) -> None:
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "Mine", "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}],
    }
    resources = {
        **TOPIC,
        "Queue": {"Type": "AWS::SQS::Queue"},
        "P1": {"Type": "AWS::SNS::TopicPolicy", "Properties": {"Topics": [{"Ref": "Topic"}], "PolicyDocument": policy}},
        "P2": {"Type": "AWS::SQS::QueuePolicy", "Properties": {"Queues": [{"Ref": "Queue"}], "PolicyDocument": policy}},
        "Mail": {
            "Type": "AWS::SNS::Subscription",
            "Properties": {"TopicArn": {"Ref": "Topic"}, "Protocol": "email", "Endpoint": "oncall@example.com"},
        },
    }
    made = create(aws, resources)
    sns, sqs = aws.client("sns"), aws.client("sqs")
    assert "Mine" in sns.get_topic_attributes(TopicArn=made["Topic"])["Attributes"]["Policy"]
    assert "Mine" in sqs.get_queue_attributes(QueueUrl=made["Queue"], AttributeNames=["Policy"])["Attributes"]["Policy"]
    (found,) = sns.list_subscriptions_by_topic(TopicArn=made["Topic"])["Subscriptions"]
    assert found["Endpoint"] == "oncall@example.com"


def test_schedule_is_made_with_its_target(aws: Aws) -> None:
    target = {"Arn": "arn:aws:lambda:us-east-1:123456789012:function:f", "RoleArn": "arn:aws:iam::123456789012:role/r"}
    properties = {"ScheduleExpression": "rate(1 minute)", "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": target}
    made = create(aws, {"Tick": {"Type": "AWS::Scheduler::Schedule", "Properties": properties}})
    found = aws.client("scheduler").get_schedule(Name=made["Tick"])
    assert (found["ScheduleExpression"], found["Target"]["Arn"]) == ("rate(1 minute)", target["Arn"])


@pytest.mark.parametrize(
    "name",
    [
        "/aws/service/debian/release/12/latest/arm64",
        "/aws/service/debian/release/13/latest/arm64",
        "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id",
    ],
)
def test_the_images_of_debian_and_ubuntu_have_public_parameters(aws: Aws, name: str) -> None:
    assert aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"].startswith("ami-")
