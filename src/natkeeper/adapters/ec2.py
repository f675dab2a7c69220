"""EC2: one look in one round trip, and one call for each action. Implements `ports.Vpc`; built by `wiring`.

The only reader of EC2's answers. Filters are used instead of ids, because a single id that no longer exists makes EC2
refuse the whole call, and one deleted table must not blind the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, assert_never, cast

from natkeeper.adapters.attempts import attend, certain_refusals, while_it
from natkeeper.adapters.aws import typed_errors
from natkeeper.adapters.ec2_facts import (
    GENERATION_TAG,
    GROUP_TAG,
    ROLE_TAG,
    STACK_TAG,
    Marks,
    differs,
    instance,
    named_by,
    route_table,
)
from natkeeper.adapters.tokens import client_token
from natkeeper.core.model import (
    ElasticIp,
    Instance,
    Network,
    Role,
    RouteTable,
    Stranger,
)
from natkeeper.core.plan import (
    Action,
    DisableSourceDestCheck,
    GivePublicAddress,
    LaunchInstance,
    MoveAddress,
    PointRoute,
    ReleaseAddress,
    StartInstance,
    StartWatch,
    StopInstance,
    TakePublicAddress,
    TerminateInstance,
)
from natkeeper.core.policy import Policy
from natkeeper.errors import Refused, Stale, Trouble
from natkeeper.ports import Together

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

ADDRESSES_PER_INTERFACE = {"nano": 2, "micro": 2, "small": 4, "medium": 6}
"""Private IPv4 addresses per interface of the t4g sizes (docs/aws.md); other types are asked for two."""
MOST_ASKED = 100
"""Instance ids of one DescribeInstanceStatus (EC2 API reference: "Maximum 100 explicitly specified instance
IDs")."""
SPOT_ENDING = frozenset({"marked-for-termination", "marked-for-stop", "instance-terminated-by-price"})
_MISSING_ROUTE = frozenset({"InvalidRoute.NotFound", "InvalidParameterValue"})
"""ReplaceRoute on a destination without a route answers with either of the two (docs/aws.md)."""


@dataclass(frozen=True)
class LaunchSettings:
    """What every NAT of the stack is launched with. `user_data` renders the boot script of a group's role."""

    template_id: str
    template_version: str
    security_group: str
    user_data: Callable[[str, Role], tuple[str, str]]
    """(script, generation) of the group and role."""
    vpc_id: str
    instance_profile: str
    """Its ARN; the launch template names it."""


class Ec2:
    """`ports.Vpc` on a boto3 client."""

    def __init__(
        self,
        client: EC2Client,
        policy: Policy,
        launches: LaunchSettings,
        together: Together,
        launching: Callable[[], EC2Client] | None = None,
    ) -> None:
        """`launching`: the client that starts machines, with its own patience (`aws.LAUNCHING`), made when it is first
        wanted. None: the same client."""
        self._client = client
        self._make_launching = launching
        self._launching: EC2Client | None = None
        self._making = Lock()
        self._policy = policy
        self._launches = launches
        self._together = together
        subnets = {each.name: each.subnet_id for each in policy.groups}
        self._marks = Marks(launches.vpc_id, launches.security_group, launches.instance_profile, subnets)
        self._unnamed: frozenset[str] = frozenset()
        """Probers' subnets that none of their group's tables named when this process last looked."""
        attend(client.meta.events)

    def _patient(self) -> EC2Client:
        """For starting machines. Groups start theirs side by side, and boto3 must not make two clients at once."""
        if self._make_launching is None:
            return self._client
        with self._making:
            if self._launching is None:
                self._launching = self._make_launching()
                attend(self._launching.meta.events)
            return self._launching

    # -- looking

    def look(self, insists: Callable[[], bool] = lambda: False, goes_on: Callable[[], bool] = lambda: True) -> Network:
        """Instances, tables and addresses at the same time; raises the first trouble, for half a look is none.

        While it `insists`, what was throttled is asked for again and the rest kept: a look is three calls with a bucket
        each, and when an account's buckets are empty, dropping all for one's sake spends the others for nothing. Each
        attempt leaves only while it `goes_on`: raises Stale if not.

        A fourth call says which table a prober's subnet uses where none of its group's names it: without that nobody
        knows which path its packets take. It goes beside the others, and behind them only where this process did not
        know yet that it is wanted.
        """
        asked = [self._instances, self._tables, self._addresses]
        before = self._unnamed
        calls: list[Callable[[], object]] = [partial(_held, goes_on, each) for each in asked]
        beside = [partial(_held, goes_on, partial(self._associations, before))] if before else []
        found = self._together([*calls, *beside])
        named = found.pop() if beside else None
        while (at := _next_throttled(found)) is not None and insists():
            # One at a time: who holds none of the first kind yet should not take the others' tokens of the next.
            found[at] = self._together([calls[at]])[0]
        shown, tables, addresses = _untroubled(found)
        instances, strangers = cast(tuple[list[Instance], list[Stranger]], shown)
        network = Network(
            instances=tuple(instances),
            tables=cast(dict[str, RouteTable], tables),
            addresses=cast(dict[str, ElasticIp], addresses),
            strangers=tuple(strangers),
        )
        self._unnamed = unnamed = _unnamed(self._policy, network.tables)
        if not unnamed:
            return network
        named = named if unnamed <= before else None
        while named is None or (isinstance(named, Trouble) and named.is_throttle and insists()):
            named = self._together([partial(_held, goes_on, partial(self._associations, unnamed))])[0]
        # Where EC2 does not answer, the rest of the look stays known, and of these subnets' paths nothing is.
        return network if isinstance(named, Trouble) else replace(network, associations=cast(Any, named))

    def stops(self, instance_ids: frozenset[str], goes_on: Callable[[], bool] = lambda: True) -> Mapping[str, datetime]:
        """What AWS Health's notices and spot warnings announced, as EC2 itself confirms it: the earliest of each.

        Asked for after the look, which says which instances are the stack's: EC2 answers for at most 100 ids, and has
        no use for an account's. Raises the first trouble.
        """
        ids = sorted(instance_ids)
        batches = [frozenset(ids[at : at + MOST_ASKED]) for at in range(0, len(ids), MOST_ASKED)]
        asked = [partial(ask, each) for each in batches for ask in (self._scheduled_stops, self._spot_stops)]
        found = _untroubled(self._together([partial(_held, goes_on, each) for each in asked]))
        stops: dict[str, datetime] = {}
        for answer in found:
            for key, at in cast(dict[str, datetime], answer).items():
                stops[key] = min(at, stops.get(key, at))
        return stops

    def _instances(self) -> tuple[list[Instance], list[Stranger]]:
        """The stack's own, and what only carries its tags."""
        filters = [{"Name": f"tag:{STACK_TAG}", "Values": [self._policy.stack]}]
        known = {each.name for each in self._policy.groups}
        with typed_errors("DescribeInstances"):
            pages = self._client.get_paginator("describe_instances").paginate(Filters=cast(Any, filters))
            found = [item for page in pages for each in page["Reservations"] for item in each["Instances"]]
        own, strangers = [], []
        for raw in cast(list[Mapping[str, Any]], found):
            parsed = instance(raw)
            if parsed is None or parsed.group not in known:
                continue
            if not (text := differs(raw, parsed.group, self._marks)):
                own.append(parsed)
            elif not parsed.state.is_gone:
                strangers.append(Stranger(parsed.instance_id, parsed.group, text))
        return own, strangers

    def _tables(self) -> dict[str, RouteTable]:
        wanted = [table for each in self._policy.groups for table in each.table_ids]
        return {each.table_id: each for each in self._route_tables("route-table-id", wanted)}

    def _associations(self, subnet_ids: frozenset[str]) -> dict[str, str | None]:
        """The tables that name these subnets, whosesoever they are."""
        return named_by(self._route_tables("association.subnet-id", sorted(subnet_ids)), subnet_ids)

    def _route_tables(self, name: str, values: list[str]) -> list[RouteTable]:
        with typed_errors("DescribeRouteTables"):
            pages = self._client.get_paginator("describe_route_tables").paginate(
                Filters=[{"Name": name, "Values": values}]
            )
            found = [item for page in pages for item in page["RouteTables"]]
        return [route_table(cast(Mapping[str, Any], each)) for each in found]

    def _addresses(self) -> dict[str, ElasticIp]:
        wanted = [each.allocation_id for each in self._policy.groups]
        if self._policy.proving is not None:
            wanted.append(self._policy.proving.allocation_id)
        with typed_errors("DescribeAddresses"):
            answer = self._client.describe_addresses(Filters=[{"Name": "allocation-id", "Values": wanted}])
        return {
            each["AllocationId"]: ElasticIp(
                each["AllocationId"],
                each["PublicIp"],
                each.get("NetworkInterfaceId") or None,
                each.get("PrivateIpAddress") or None,
                each.get("AssociationId") or None,
            )
            for each in answer["Addresses"]
        }

    def _scheduled_stops(self, suspects: frozenset[str]) -> dict[str, datetime]:
        """AWS Health's notices. EC2 refuses a call that names an instance that is gone: then each is asked for by
        itself."""
        try:
            with typed_errors("DescribeInstanceStatus"):
                answer = self._client.describe_instance_status(InstanceIds=sorted(suspects), IncludeAllInstances=True)
        except Stale:
            if len(suspects) == 1:
                return {}
            return self._stops_one_by_one(suspects)
        stops: dict[str, datetime] = {}
        for each in answer["InstanceStatuses"]:
            for event in each.get("Events", []):
                is_over = str(event.get("Description", "")).startswith("[Completed]")
                if event.get("Code") in ("instance-retirement", "instance-stop", "system-maintenance") and not is_over:
                    at = event["NotBefore"]
                    stops[each["InstanceId"]] = min(at, stops.get(each["InstanceId"], at))
        return stops

    def _stops_one_by_one(self, suspects: frozenset[str]) -> dict[str, datetime]:
        found = _untroubled(self._together([partial(self._scheduled_stops, frozenset({each})) for each in suspects]))
        return {key: at for answer in found for key, at in cast(dict[str, datetime], answer).items()}

    def _spot_stops(self, suspects: frozenset[str]) -> dict[str, datetime]:
        """A spot warning as EC2 itself confirms it: the request's status says that the instance is going."""
        with typed_errors("DescribeSpotInstanceRequests"):
            answer = self._client.describe_spot_instance_requests(
                Filters=[{"Name": "instance-id", "Values": sorted(suspects)}]
            )
        return {
            each["InstanceId"]: each["Status"].get("UpdateTime", datetime.now(UTC))
            for each in answer["SpotInstanceRequests"]
            if each.get("Status", {}).get("Code") in SPOT_ENDING
        }

    # -- acting

    def do(self, action: Action, goes_on: Callable[[], bool] = lambda: True) -> str | None:
        """One action, one call. A route that turns out to be missing costs another, and botocore tries again what was
        throttled or not answered. Each of these leaves only while it `goes_on`, for a lease may have ended since:
        raises Stale if not (simulation: two launches by a pass that was frozen; a second try of botocore's, seed
        667150466)."""
        with while_it(goes_on):
            if isinstance(action, LaunchInstance):
                return self._launch(action)
            self._do(action)
            return None

    def _do(self, action: Action) -> None:
        match action:
            case PointRoute():
                self._point(action)
            case MoveAddress():
                with typed_errors("AssociateAddress"):
                    self._client.associate_address(
                        AllocationId=action.allocation_id,
                        NetworkInterfaceId=action.interface_id,
                        PrivateIpAddress=action.private,
                        AllowReassociation=True,
                    )
            case ReleaseAddress():
                with typed_errors("DisassociateAddress"):
                    self._client.disassociate_address(AssociationId=action.association_id)
            case DisableSourceDestCheck():
                with typed_errors("ModifyNetworkInterfaceAttribute"):
                    self._client.modify_network_interface_attribute(
                        NetworkInterfaceId=action.interface_id, SourceDestCheck={"Value": False}
                    )
            case GivePublicAddress() | TakePublicAddress():
                with typed_errors("ModifyNetworkInterfaceAttribute"):
                    self._client.modify_network_interface_attribute(
                        NetworkInterfaceId=action.interface_id,
                        AssociatePublicIpAddress=isinstance(action, GivePublicAddress),
                    )
            case StartInstance():
                with typed_errors("StartInstances"):
                    self._patient().start_instances(InstanceIds=[action.instance_id])
            case StopInstance():
                with typed_errors("StopInstances"):
                    self._client.stop_instances(InstanceIds=[action.instance_id])
            case TerminateInstance():
                with typed_errors("TerminateInstances"):
                    self._client.terminate_instances(InstanceIds=[action.instance_id])
            case LaunchInstance() | StartWatch():
                raise Refused(
                    type(action).__name__, "NotHere", "a launch has an answer; a run is the prober's to start"
                )
            case _:
                assert_never(action)

    def _point(self, action: PointRoute) -> None:
        if action.is_missing:
            try:
                return self._create_route(action)
            except Trouble as trouble:
                if trouble.code != "RouteAlreadyExists":
                    raise
        try:
            with typed_errors("ReplaceRoute"):
                self._client.replace_route(
                    RouteTableId=action.table_id, DestinationCidrBlock=action.destination, **_route_target(action)
                )
        except Trouble as trouble:
            if action.is_missing or trouble.code not in _MISSING_ROUTE:
                raise
            return self._create_route(action)

    def _create_route(self, action: PointRoute) -> None:
        with typed_errors("CreateRoute"):
            self._client.create_route(
                RouteTableId=action.table_id, DestinationCidrBlock=action.destination, **_route_target(action)
            )

    def _launch(self, action: LaunchInstance) -> str:
        """The new instance's id."""
        group = self._policy.group(action.group)
        script, generation = self._launches.user_data(action.group, action.role)
        spare = ADDRESSES_PER_INTERFACE.get(action.instance_type.rpartition(".")[2], 2) - 1
        hosted = 1 if action.role is Role.STANDBY else len(self._policy.hosted_by(action.group))
        interface: dict[str, Any] = {
            "DeviceIndex": 0,
            "SubnetId": group.subnet_id,
            "Groups": [self._launches.security_group],
            "AssociatePublicIpAddress": True,
            "DeleteOnTermination": True,
        }
        if min(spare, hosted):
            interface["SecondaryPrivateIpAddressCount"] = min(spare, hosted)
        tags = {
            STACK_TAG: self._policy.stack,
            GROUP_TAG: action.group,
            ROLE_TAG: action.role.value,
            GENERATION_TAG: generation,
            "Name": f"{self._policy.stack} {action.role.value} {action.group}",
        }
        pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
        kinds = ("instance", "network-interface", "volume")
        client = self._patient()
        with certain_refusals(), typed_errors("RunInstances"):
            answer = client.run_instances(
                LaunchTemplate={
                    "LaunchTemplateId": self._launches.template_id,
                    "Version": self._launches.template_version,
                },
                InstanceType=cast(Any, action.instance_type),
                MinCount=1,
                MaxCount=1,
                ClientToken=client_token(self._policy.stack, action),
                NetworkInterfaces=[cast(Any, interface)],
                UserData=script,
                TagSpecifications=cast(Any, [{"ResourceType": kind, "Tags": pairs} for kind in kinds]),
            )
        return answer["Instances"][0]["InstanceId"]


def _unnamed(policy: Policy, tables: Mapping[str, RouteTable]) -> frozenset[str]:
    """Probers' subnets that none of their group's tables names."""
    named = {group: [tables[each] for each in group.table_ids if each in tables] for group in policy.groups}
    return frozenset(
        group.private_subnet_id
        for group, own in named.items()
        if not any(group.private_subnet_id in each.subnet_ids for each in own)
    )


def _held(goes_on: Callable[[], bool], call: Callable[[], object]) -> object:
    with while_it(goes_on):
        return call()


def _untroubled(found: Sequence[object]) -> Sequence[object]:
    """Raises the first trouble among what calls answered."""
    for each in found:
        if isinstance(each, Trouble):
            raise each
    return found


def _next_throttled(found: Sequence[object]) -> int | None:
    """The first part of a look that was only throttled; None when all are there, or one failed for another reason."""
    troubles = [each for each in found if isinstance(each, Trouble)]
    if not troubles or not all(each.is_throttle for each in troubles):
        return None
    return next(number for number, each in enumerate(found) if isinstance(each, Trouble))


def _route_target(action: PointRoute) -> dict[str, Any]:
    if action.target.startswith("eni-"):
        return {"NetworkInterfaceId": action.target}
    if action.target.startswith("nat-"):
        return {"NatGatewayId": action.target}
    raise Refused("ReplaceRoute", "BadTarget", f"{action.target} is neither an interface nor a NAT gateway")
