"""Builds the controller from its environment: settings, clients, adapters. Called by the handler, once per cold start.

May not decide anything. What is imported and made here is the init phase, which has a whole processor: what a failover
needs is made ready, and clients that most passes do not need are made on first use.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from botocore.config import Config

from natkeeper import nat_instance
from natkeeper.adapters import codec
from natkeeper.adapters.aws import CALL, LAUNCHING
from natkeeper.adapters.clients import Clients
from natkeeper.adapters.ec2 import Ec2, LaunchSettings
from natkeeper.adapters.ledger import DynamoLedger
from natkeeper.adapters.parallel import Threads
from natkeeper.adapters.prober import LambdaProber, ProbeSettings
from natkeeper.adapters.telemetry import CloudTelemetry
from natkeeper.core.incident import Memory
from natkeeper.core.model import Role
from natkeeper.nat_instance import NatProfile
from natkeeper.ports import Clock, OwnInstances, Ports
from natkeeper.probing import parse_targets, tls_context
from natkeeper.settings import Settings, parse

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_sns import SNSClient

VERIFYING = CALL.merge(Config(read_timeout=8, retries={"mode": "standard", "total_max_attempts": 1}))
"""A verification answers after 3 s at the latest, plus a cold start; asking twice would only make the pass late."""
LEDGER = CALL.merge(Config(read_timeout=1, retries={"mode": "standard", "total_max_attempts": 2}))
"""DynamoDB answers in ten milliseconds. A failover waits for the lease, and goes on without one when it does not come:
two tries of a second each, where the others' patience would keep egress down for ten."""


@dataclass(frozen=True)
class Controller:
    """Everything a wake-up needs but its clock and its ledger's holder, which belong to the invocation."""

    settings: Settings
    logger: Logger
    telemetry: CloudTelemetry
    _vpc: Ec2
    _prober: LambdaProber
    _together: Threads
    _own: OwnInstances

    def settle(self) -> None:
        """Reads what a control probe needs, once, when a pass is over: 20 ms of a processor on no failover's path."""
        if any(target.path for target in parse_targets(self.settings.targets, field="NATKEEPER_PROBE_TARGETS")):
            tls_context()

    def ports(self, clock: Clock, holder: str) -> Ports:
        """The ports of one invocation; `holder` names it in the lease."""
        return Ports(
            vpc=self._vpc,
            ledger=DynamoLedger(_dynamodb(), self.settings.ledger, holder, clock.now, clock.remaining),
            prober=self._prober,
            clock=clock,
            telemetry=self.telemetry,
            together=self._together,
            own=self._own,
        )


def build(env: Mapping[str, str] = os.environ) -> Controller:
    """A controller from `NATKEEPER_*`. Raises BadSettings before the first call to AWS."""
    settings = parse(env)
    together = Threads()
    logger = Logger(service="natkeeper", json_serializer=_log_line)
    _dynamodb()
    codec.learn(Memory)
    policy = settings.policy
    launches = LaunchSettings(
        template_id=settings.launch_template,
        template_version=settings.launch_template_version,
        security_group=settings.security_group,
        user_data=partial(user_data, settings),
        vpc_id=settings.vpc_id,
        instance_profile=settings.instance_profile,
    )
    probes = ProbeSettings(
        functions=settings.probers,
        targets=settings.targets,
        interval=policy.interval.total_seconds(),
        timeout=settings.timeout,
        rounds_to_fail=policy.rounds_to_fail,
        canary=policy.canary,
    )
    return Controller(
        settings=settings,
        logger=logger,
        telemetry=CloudTelemetry(logger, policy.stack, settings.topic, _sns),
        _vpc=Ec2(_clients().make("ec2", CALL, _look_and_move), policy, launches, together, _launching),
        _prober=LambdaProber(_clients().make("lambda", VERIFYING, _start), probes),
        _together=together,
        _own=OwnInstances(),
    )


def user_data(settings: Settings, group: str, role: Role) -> tuple[str, str]:
    """(boot script, generation) of a group's NAT or standby.

    A standby translates its own group's packets to its secondary address, as a neighbour would: that one is bare, while
    its primary keeps a public address for the canary.
    """
    policy = settings.policy
    own = (policy.group(group).cidr,)
    hosted = tuple((policy.group(each).cidr,) for each in policy.hosted_by(group))
    profile = NatProfile(
        group=group,
        own_cidrs=() if role is Role.STANDBY else own,
        hosted=(own,) if role is Role.STANDBY else hosted,
        egress_profile=settings.egress_profile,
        canary_address=policy.canary,
    )
    script = nat_instance.render_user_data(profile)
    return script, nat_instance.generation(profile, settings.launch_template_version)


def _log_line(record: Any) -> str:
    """One line of ASCII: JSON may bring half a surrogate pair, with which a line could not be written at all."""
    return json.dumps(record, default=str, separators=(",", ":"))


@cache
def _clients() -> Clients:
    return Clients()


@cache
def _dynamodb() -> DynamoDBClient:
    made: DynamoDBClient = _clients().make("dynamodb", LEDGER, _hold)
    return made


def _launching() -> EC2Client:
    made: EC2Client = _clients().make("ec2", LAUNCHING)
    return made


@cache
def _sns() -> SNSClient:
    made: SNSClient = _clients().make("sns", CALL)
    return made


# -- what a failover calls, for the rehearsal


def _look_and_move(ec2: Any) -> None:
    for operation in ("describe_instances", "describe_route_tables"):
        list(ec2.get_paginator(operation).paginate(Filters=[{"Name": "name", "Values": ["value"]}]))
    ec2.describe_addresses(Filters=[{"Name": "name", "Values": ["value"]}])
    ec2.associate_address(
        AllocationId="allocation", NetworkInterfaceId="interface", PrivateIpAddress="address", AllowReassociation=True
    )
    ec2.replace_route(RouteTableId="table", DestinationCidrBlock="destination", NetworkInterfaceId="interface")


def _hold(dynamodb: Any) -> None:
    key, values = {"pk": {"S": "key"}}, {":value": {"S": "value"}}
    dynamodb.query(TableName="table", KeyConditionExpression="pk = :value", ExpressionAttributeValues=values)
    dynamodb.update_item(
        TableName="table", Key=key, UpdateExpression="SET name = :value", ExpressionAttributeValues=values
    )
    dynamodb.put_item(TableName="table", Item=key)
    _ = dynamodb.exceptions.ConditionalCheckFailedException


def _start(functions: Any) -> None:
    functions.invoke(FunctionName="function", InvocationType="Event", Payload=b"{}")
