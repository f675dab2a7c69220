"""The EC2 and prober adapters against the lab's API: what is read, and which call each action becomes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from natkeeper.adapters.ec2 import Ec2, LaunchSettings
from natkeeper.adapters.ec2_facts import route_table
from natkeeper.adapters.tokens import client_token
from natkeeper.core.model import DEFAULT_ROUTE, InstanceState, Network, Role, Route
from natkeeper.core.plan import (
    DisableSourceDestCheck,
    GivePublicAddress,
    LaunchInstance,
    MoveAddress,
    PointRoute,
    StartInstance,
    StartWatch,
    StopInstance,
    TakePublicAddress,
    TerminateInstance,
)
from natkeeper.errors import NoCapacity, Refused, Stale, TryAgain
from natkeeper.nat_instance import MAX_USER_DATA_BYTES
from natkeeper_lab.api import ApiOptions, FunctionResult
from tests.support.cloud import CANARY, STACK, Cloud, deploying, do_not_wait_between_attempts, probe_result

Deploy = Callable[..., Cloud]


@pytest.fixture
def deploy() -> Iterator[Deploy]:
    with deploying() as deploy:
        yield lambda *args, **settings: deploy(*args, **{"is_seeded": False, **settings})


@pytest.fixture
def cloud(deploy: Deploy) -> Cloud:
    return deploy(2, 2)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    do_not_wait_between_attempts(monkeypatch)


def look(cloud: Cloud) -> Network:
    return cloud.ports().vpc.look()


def stops(cloud: Cloud, *instance_ids: str) -> Mapping[str, datetime]:
    return cloud.ports().vpc.stops(frozenset(instance_ids))


def do(cloud: Cloud, action: Any) -> list[str]:
    """The operations that the action became, in order."""
    cloud.forget()
    cloud.ports().vpc.do(action)
    return [each.operation for each in cloud.calls()]


STATES = ("associating", "associated", "disassociating", "disassociated", "failed")

# -- looking


def test_look_is_one_round_trip_of_three_calls(cloud: Cloud) -> None:
    cloud.api.faults.delay(0.1)
    cloud.forget()
    look(cloud)
    calls = cloud.calls()
    assert sorted(each.operation for each in calls) == ["DescribeAddresses", "DescribeInstances", "DescribeRouteTables"]
    assert max(each.started_at for each in calls) < min(each.ended_at for each in calls)


def test_running_nat_is_read_with_its_addresses_and_its_check(cloud: Cloud) -> None:
    zone = cloud.zones["a"]
    found = {each.instance_id: each for each in look(cloud).instances}
    assert set(found) == {each.instance for each in cloud.zones.values()}
    nat = found[zone.instance]
    assert (nat.group, nat.role, nat.state, nat.interruption_at) == ("a", Role.NAT, InstanceState.RUNNING, None)
    assert nat.launched_at.tzinfo is not None
    assert nat.interface is not None
    assert nat.interface.interface_id == zone.interface
    assert not nat.interface.is_source_dest_checked
    assert nat.interface.primary.public == zone.address
    assert [(each.address, each.public) for each in nat.interface.secondaries] == [(cloud.spare_address("a"), None)]


def test_source_dest_check_is_read_as_it_is(cloud: Cloud) -> None:
    cloud.set_source_dest_check(cloud.zones["a"].interface, is_on=True)
    owner = look(cloud).owner_of(cloud.zones["a"].interface)
    assert owner is not None
    assert owner.interface is not None
    assert owner.interface.is_source_dest_checked


def test_public_address_of_a_secondary_is_seen(cloud: Cloud) -> None:
    cloud.make_spare_public("a")
    owner = look(cloud).owner_of(cloud.zones["a"].interface)
    assert owner is not None
    assert owner.interface is not None
    assert owner.interface.secondaries[0].public not in (None, cloud.zones["a"].address)


def test_instances_of_other_stacks_groups_and_roles_are_not_ours(cloud: Cloud) -> None:
    for key, value in {"natkeeper:stack": "another", "natkeeper:group": "z", "natkeeper:role": "bastion"}.items():
        made = cloud.launch_nat("a")
        cloud.ec2.create_tags(Resources=[made["InstanceId"]], Tags=[{"Key": key, "Value": value}])
    assert {each.instance_id for each in look(cloud).instances} == {each.instance for each in cloud.zones.values()}


def test_stopping_and_terminated_nats_are_read(cloud: Cloud) -> None:
    cloud.stop_nat("a", until="stopped")
    cloud.terminate_nat("b")
    states = {each.group: each.state for each in look(cloud).instances}
    assert states == {"a": InstanceState.STOPPED, "b": InstanceState.TERMINATED}


def test_routes_are_read_with_targets_and_blackholes(cloud: Cloud) -> None:
    zone = cloud.zones["a"]
    assert look(cloud).tables[zone.tables[0]].routes[DEFAULT_ROUTE] == Route(zone.interface)
    cloud.terminate_nat("a")
    tables = look(cloud).tables
    assert all(tables[each].routes[DEFAULT_ROUTE] == Route(zone.interface, is_blackhole=True) for each in zone.tables)
    assert tables[cloud.zones["b"].tables[0]].routes[DEFAULT_ROUTE] == Route(cloud.zones["b"].interface)


def test_table_without_a_default_route_is_read_without_it(cloud: Cloud) -> None:
    first, second = cloud.zones["a"].tables
    cloud.ec2.delete_route(RouteTableId=first, DestinationCidrBlock=DEFAULT_ROUTE)
    tables = look(cloud).tables
    assert DEFAULT_ROUTE not in tables[first].routes
    assert DEFAULT_ROUTE in tables[second].routes


def test_deleted_table_does_not_blind_the_others(cloud: Cloud) -> None:
    _, second = cloud.zones["a"].tables
    cloud.ec2.delete_route_table(RouteTableId=second)
    seen = set(look(cloud).tables)
    assert seen == {table for each in cloud.zones.values() for table in each.tables} - {second}


def test_released_address_does_not_blind_the_others(cloud: Cloud) -> None:
    gone, kept = cloud.zones["a"], cloud.zones["b"]
    association = cloud.ec2.describe_addresses(AllocationIds=[gone.allocation])["Addresses"][0]["AssociationId"]
    cloud.ec2.disassociate_address(AssociationId=association)
    cloud.ec2.release_address(AllocationId=gone.allocation)
    addresses = look(cloud).addresses
    assert set(addresses) == {kept.allocation}
    assert addresses[kept.allocation].interface_id == kept.interface


def test_address_that_is_on_nothing_is_read_so(cloud: Cloud) -> None:
    zone = cloud.zones["a"]
    association = cloud.ec2.describe_addresses(AllocationIds=[zone.allocation])["Addresses"][0]["AssociationId"]
    cloud.ec2.disassociate_address(AssociationId=association)
    found = look(cloud).addresses[zone.allocation]
    assert (found.public, found.interface_id, found.private) == (zone.address, None, None)


def test_address_is_read_with_the_private_address_it_is_on(cloud: Cloud) -> None:
    zone = cloud.zones["a"]
    found = look(cloud).addresses[zone.allocation]
    assert (found.interface_id, found.private) == cloud.address_on("a")


def test_the_table_of_the_probers_subnet_is_told_by_its_association(cloud: Cloud) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RouteTableAssociation.html: a main one has none."""
    zone = cloud.zones["a"]
    assert look(cloud).tables[zone.tables[0]].subnet_ids == {zone.private}
    assert {cloud.controller.settings.policy.group("a").private_subnet_id} == {zone.private}
    main = {"RouteTableId": "rtb-1", "Routes": [], "Associations": [{"Main": True}, {"SubnetId": "subnet-1"}]}
    assert (route_table(main).subnet_ids, route_table(main).is_main) == ({"subnet-1"}, True)
    none = route_table({"RouteTableId": "rtb-1", "Routes": []})
    assert (none.subnet_ids, none.is_main) == (frozenset(), False)
    going = [{"SubnetId": f"subnet-{each}", "AssociationState": {"State": each}} for each in STATES]
    found = route_table({"RouteTableId": "rtb-1", "Routes": [], "Associations": going}).subnet_ids
    assert found == {"subnet-associating", "subnet-associated"}


def test_pages_are_followed_to_the_end(cloud: Cloud) -> None:
    """The lab answers in one page; EC2 need not."""
    instance = cloud.ec2.describe_instances(InstanceIds=[cloud.zones["a"].instance])["Reservations"][0]
    other = cloud.ec2.describe_instances(InstanceIds=[cloud.zones["b"].instance])["Reservations"][0]
    filters = {"Filters": [{"Name": "tag:natkeeper:stack", "Values": [STACK]}]}
    policy = cloud.controller.settings.policy
    tables = [table for each in policy.groups for table in each.table_ids]
    wanted = {"Filters": [{"Name": "route-table-id", "Values": tables}]}
    client = boto3.client("ec2")
    with Stubber(client) as stub:
        stub.add_response("describe_instances", {"Reservations": [instance], "NextToken": "more"}, filters)
        stub.add_response("describe_instances", {"Reservations": [other]}, {**filters, "NextToken": "more"})
        for number, table in enumerate(tables):
            asked = {**wanted, **({"NextToken": str(number)} if number else {})}
            named = [{"SubnetId": each.private} for each in cloud.zones.values() if each.tables[0] == table]
            page: dict[str, Any] = {"RouteTables": [{"RouteTableId": table, "Routes": [], "Associations": named}]}
            more = {"NextToken": str(number + 1)} if number + 1 < len(tables) else {}
            stub.add_response("describe_route_tables", {**page, **more}, asked)
        stub.add_response("describe_addresses", {"Addresses": []})
        found = Ec2(client, policy, launches_of(cloud), one_after_the_other).look()
    assert {each.group for each in found.instances} == {"a", "b"}
    assert set(found.tables) == set(tables)


def launches_of(cloud: Cloud) -> LaunchSettings:
    return LaunchSettings("lt-1", "1", cloud.security_group, lambda *_: ("", ""), cloud.vpc, cloud.instance_profile)


def one_after_the_other(calls: Sequence[Callable[[], object]]) -> list[object]:
    return [each() for each in calls]


def test_announced_retirement_is_confirmed_by_ec2(cloud: Cloud) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    cloud.api.schedule_retirement(cloud.zones["a"].instance, at)
    assert all(each.interruption_at is None for each in look(cloud).instances)  # nobody asked
    found = stops(cloud, cloud.zones["a"].instance, cloud.zones["b"].instance)
    assert found == {cloud.zones["a"].instance: at}
    assert {each.group: each.interruption_at for each in look(cloud).with_stops(found).instances} == {
        "a": at,
        "b": None,
    }


def test_retirement_is_confirmed_beside_instances_that_no_longer_exist(cloud: Cloud) -> None:
    """EC2 refuses a call that names one that is gone, as an own one may be since the look."""
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    cloud.api.schedule_retirement(cloud.zones["a"].instance, at)
    found = stops(cloud, cloud.zones["a"].instance, "i-0123456789abcdef0", "i-0fedcba9876543210")
    assert found == {cloud.zones["a"].instance: at}


def test_an_instance_that_no_longer_exists_is_not_about_to_be_stopped(cloud: Cloud) -> None:
    assert stops(cloud, "i-0123456789abcdef0") == {}


def test_spot_warning_is_confirmed_by_ec2(cloud: Cloud) -> None:
    instance = cloud.launch_nat("a", InstanceMarketOptions={"MarketType": "spot"})["InstanceId"]
    assert stops(cloud, instance, cloud.zones["b"].instance) == {}
    cloud.api.mark_spot(instance, "marked-for-termination")
    assert list(stops(cloud, instance, cloud.zones["b"].instance)) == [instance]


def test_no_status_call_names_more_instances_than_ec2_takes(cloud: Cloud) -> None:
    """EC2 API reference, DescribeInstanceStatus: at most 100 ids."""
    cloud.api.faults.clear()
    cloud.forget()
    client = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    asked: list[int] = []
    client.meta.events.register(
        "provide-client-params.ec2.DescribeInstanceStatus",
        lambda params, **_: asked.append(len(params["InstanceIds"])),
    )
    adapter = Ec2(client, cloud.controller.settings.policy, launches_of(cloud), _each)
    with Stubber(client) as stubber:
        for _ in range(3):
            stubber.add_response("describe_instance_status", {"InstanceStatuses": []})
            stubber.add_response("describe_spot_instance_requests", {"SpotInstanceRequests": []})
        assert adapter.stops(frozenset(f"i-{number:017x}" for number in range(201))) == {}
    assert sorted(asked) == [1, 100, 100]


def _each(calls: Sequence[Callable[[], object]]) -> list[object]:
    return [call() for call in calls]


@pytest.mark.parametrize("operation", ["DescribeInstances", "DescribeRouteTables", "DescribeAddresses"])
def test_half_a_look_is_none(operation: str, cloud: Cloud) -> None:
    cloud.api.faults.fail(operation, "UnauthorizedOperation", times=None)
    with pytest.raises(Refused, match=f"{operation}: UnauthorizedOperation"):
        look(cloud)


# -- routes


def point(cloud: Cloud, *, is_missing: bool = False, target: str | None = None) -> PointRoute:
    return PointRoute(cloud.zones["a"].tables[0], DEFAULT_ROUTE, target or cloud.zones["b"].interface, is_missing)


def test_existing_route_is_replaced(cloud: Cloud) -> None:
    assert do(cloud, point(cloud)) == ["ReplaceRoute"]
    assert cloud.targets("a") == [cloud.zones["b"].interface, cloud.zones["a"].interface]


def test_missing_route_is_created(cloud: Cloud) -> None:
    cloud.ec2.delete_route(RouteTableId=cloud.zones["a"].tables[0], DestinationCidrBlock=DEFAULT_ROUTE)
    assert do(cloud, point(cloud, is_missing=True)) == ["CreateRoute"]
    assert cloud.targets("a")[0] == cloud.zones["b"].interface


def test_route_that_came_back_meanwhile_is_replaced(cloud: Cloud) -> None:
    assert do(cloud, point(cloud, is_missing=True)) == ["CreateRoute", "ReplaceRoute"]
    assert cloud.targets("a")[0] == cloud.zones["b"].interface


@pytest.mark.parametrize("code", [None, "InvalidRoute.NotFound", "InvalidParameterValue"])
def test_route_that_went_missing_meanwhile_is_created(code: str | None, cloud: Cloud) -> None:
    """The lab's own refusal, and both that EC2 is known for."""
    cloud.ec2.delete_route(RouteTableId=cloud.zones["a"].tables[0], DestinationCidrBlock=DEFAULT_ROUTE)
    if code is not None:
        cloud.api.faults.fail("ReplaceRoute", code)
    assert do(cloud, point(cloud)) == ["ReplaceRoute", "CreateRoute"]
    assert cloud.targets("a")[0] == cloud.zones["b"].interface


def test_nat_gateway_is_a_target(cloud: Cloud) -> None:
    made = cloud.ec2.create_nat_gateway(
        SubnetId=cloud.zones["a"].subnet, AllocationId=cloud.ec2.allocate_address(Domain="vpc")["AllocationId"]
    )
    gateway = made["NatGateway"]["NatGatewayId"]
    assert do(cloud, point(cloud, target=gateway)) == ["ReplaceRoute"]
    assert look(cloud).tables[cloud.zones["a"].tables[0]].routes[DEFAULT_ROUTE].target == gateway


def test_target_of_another_kind_is_refused_without_a_call(cloud: Cloud) -> None:
    cloud.forget()
    with pytest.raises(Refused, match="neither an interface nor a NAT gateway"):
        cloud.ports().vpc.do(point(cloud, target=cloud.zones["b"].instance))
    assert cloud.calls() == []


# -- addresses, checks, instances


def test_address_moves_to_a_secondary_of_another_zone(cloud: Cloud) -> None:
    zone, spare = cloud.zones["b"], cloud.spare_address("b")
    move = MoveAddress(cloud.zones["a"].allocation, zone.interface, spare)
    for _ in range(2):  # a repeat is harmless
        assert do(cloud, move) == ["AssociateAddress"]
        assert cloud.address_on("a") == (zone.interface, spare)


def test_source_dest_check_is_turned_off_on_the_interface(cloud: Cloud) -> None:
    interface = cloud.zones["a"].interface
    cloud.set_source_dest_check(interface, is_on=True)
    assert do(cloud, DisableSourceDestCheck(interface)) == ["ModifyNetworkInterfaceAttribute"]
    assert cloud.interface("a")["SourceDestCheck"] is False


def test_public_address_is_given_and_taken(cloud: Cloud) -> None:
    made = cloud.launch_nat("a")
    cloud.wait_for(made["InstanceId"], "running")
    interface = made["NetworkInterfaces"][0]["NetworkInterfaceId"]

    def public() -> str | None:
        owner = look(cloud).owner_of(interface)
        assert owner is not None
        assert owner.interface is not None
        return owner.interface.primary.public

    assert public() is None
    assert do(cloud, GivePublicAddress(interface)) == ["ModifyNetworkInterfaceAttribute"]
    assert public() is not None
    assert do(cloud, TakePublicAddress(interface)) == ["ModifyNetworkInterfaceAttribute"]
    assert public() is None


def test_instance_is_stopped_started_and_terminated(cloud: Cloud) -> None:
    instance = cloud.zones["a"].instance
    assert do(cloud, StopInstance(instance)) == ["StopInstances"]
    cloud.wait_for(instance, "stopped")
    assert do(cloud, StartInstance(instance)) == ["StartInstances"]
    cloud.wait_for(instance, "running")
    assert do(cloud, TerminateInstance(instance)) == ["TerminateInstances"]
    cloud.wait_for(instance, "terminated")


def test_starting_what_is_not_stopped_is_stale(deploy: Deploy) -> None:
    cloud = deploy(1, 1, options=ApiOptions(boot_seconds=0.02, stop_seconds=30))
    cloud.ec2.stop_instances(InstanceIds=[cloud.zones["a"].instance])
    with pytest.raises(Stale, match="StartInstances: IncorrectInstanceState"):
        cloud.ports().vpc.do(StartInstance(cloud.zones["a"].instance))


def test_watch_run_is_not_ec2s_to_start(cloud: Cloud) -> None:
    with pytest.raises(Refused, match="StartWatch"):
        cloud.ports().vpc.do(StartWatch("a", "run-1", timedelta(seconds=55)))


# -- launching


def launched(cloud: Cloud, action: LaunchInstance) -> Mapping[str, Any]:
    """What was asked of EC2."""
    cloud.forget()
    cloud.ports().vpc.do(action)
    return cloud.calls("RunInstances")[-1].params


def test_launch_asks_for_what_the_template_leaves_open(cloud: Cloud) -> None:
    asked = launched(cloud, LaunchInstance("a", Role.NAT, "repair-nat-1", "t4g.nano"))
    assert asked["ClientToken"] == f"{STACK}/repair-nat-1/t4g.nano"
    assert (asked["MinCount"], asked["MaxCount"], asked["InstanceType"]) == (1, 1, "t4g.nano")
    assert asked["LaunchTemplate"] == {"LaunchTemplateId": cloud.launch_template, "Version": "1"}
    (interface,) = asked["NetworkInterfaces"]
    assert interface["SubnetId"] == cloud.zones["a"].subnet
    assert interface["Groups"] == [cloud.security_group]
    assert interface["AssociatePublicIpAddress"] is True
    assert interface["DeleteOnTermination"] is True
    assert interface["SecondaryPrivateIpAddressCount"] == 1
    assert "KeyName" not in asked


def test_launched_instance_is_ours_at_the_next_look(cloud: Cloud) -> None:
    launched(cloud, LaunchInstance("a", Role.STANDBY, "standby-1", "t4g.nano"))
    (standby,) = [each for each in look(cloud).instances if each.role is Role.STANDBY]
    assert standby.group == "a"
    tags = cloud.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [standby.instance_id]}])["Tags"]
    named = {each["Key"]: each["Value"] for each in tags}
    assert named["natkeeper:stack"] == STACK
    assert named["natkeeper:role"] == "standby"
    assert len(named["natkeeper:generation"]) == 12
    assert named["Name"] == f"{STACK} standby a"


def test_interface_of_a_launch_is_tagged_too(cloud: Cloud) -> None:
    """The role may move addresses and routes to tagged interfaces only."""
    launched(cloud, LaunchInstance("a", Role.NAT, "repair-nat-1", "t4g.nano"))
    kinds = {each["ResourceType"] for each in cloud.calls("RunInstances")[-1].params["TagSpecifications"]}
    assert kinds == {"instance", "network-interface", "volume"}
    (made,) = cloud.nats("a").keys() - {cloud.zones["a"].instance}
    filters = [{"Name": "attachment.instance-id", "Values": [made]}]
    (interface,) = cloud.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
    assert {"Key": "natkeeper:stack", "Value": STACK} in interface["TagSet"]


def test_launch_boots_our_own_script(cloud: Cloud) -> None:
    launched(cloud, LaunchInstance("a", Role.NAT, "repair-nat-1", "t4g.nano"))
    (made,) = cloud.nats("a").keys() - {cloud.zones["a"].instance}
    cloud.wait_for(made, "running")
    script = cloud.packets.guests[made][1]
    assert script.startswith("#!/bin/bash\nGROUP=a\n")
    assert cloud.zones["b"].cidr in script  # the neighbour it may host
    assert CANARY in script
    assert len(script) < MAX_USER_DATA_BYTES


def test_repeated_launch_returns_the_first_instance(cloud: Cloud) -> None:
    launch = LaunchInstance("a", Role.NAT, "repair-nat-1", "t4g.nano")
    for _ in range(2):
        launched(cloud, launch)
    assert len(cloud.nats("a")) == 2
    launched(cloud, replace(launch, token="repair-nat-2"))
    assert len(cloud.nats("a")) == 3


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        ("InsufficientInstanceCapacity", NoCapacity),
        ("VcpuLimitExceeded", NoCapacity),
        ("InsufficientFreeAddressesInSubnet", NoCapacity),
        ("Unsupported", NoCapacity),
        ("UnauthorizedOperation", Refused),
    ],
)
def test_a_launch_asks_for_its_own_type_and_no_other(code: str, trouble: type[Exception], cloud: Cloud) -> None:
    launch = LaunchInstance("a", Role.NAT, "repair-nat-1", "t4g.micro", has_alternative=True)
    cloud.api.faults.fail("RunInstances", code, times=None)
    with pytest.raises(trouble, match=f"RunInstances: {code}"):
        launched(cloud, launch)
    assert {each.params["InstanceType"] for each in cloud.calls("RunInstances")} == {"t4g.micro"}
    assert len(cloud.nats("a")) == 1
    cloud.api.faults.clear()
    asked = launched(cloud, launch)
    assert (asked["InstanceType"], asked["ClientToken"]) == ("t4g.micro", f"{STACK}/repair-nat-1/t4g.micro")


@pytest.mark.parametrize(("kind", "zones", "spare"), [("t4g.nano", 3, 1), ("t4g.small", 3, 2), ("c7gn.medium", 2, 1)])
def test_launch_asks_for_an_address_for_each_group_it_may_host_as_far_as_the_type_allows(
    kind: str, zones: int, spare: int, deploy: Deploy
) -> None:
    cloud = deploy(zones, 1, INSTANCE_TYPES=kind)
    asked = launched(cloud, LaunchInstance("a", Role.NAT, "repair-nat-1", kind))
    assert asked["NetworkInterfaces"][0]["SecondaryPrivateIpAddressCount"] == spare


def test_single_zone_has_nobody_to_host_but_its_standby_hosts_it(deploy: Deploy) -> None:
    cloud = deploy(1, 1)
    asked = launched(cloud, LaunchInstance("a", Role.NAT, "repair-nat-1", "t4g.nano"))
    assert "SecondaryPrivateIpAddressCount" not in asked["NetworkInterfaces"][0]
    asked = launched(cloud, LaunchInstance("a", Role.STANDBY, "standby-1", "t4g.nano"))
    assert asked["NetworkInterfaces"][0]["SecondaryPrivateIpAddressCount"] == 1


def test_the_usual_token_is_sent_as_it_is(cloud: Cloud) -> None:
    token = "a-20260302T081503.291-standby-12"
    asked = launched(cloud, LaunchInstance("a", Role.STANDBY, token, "t4g.nano"))
    assert asked["ClientToken"] == f"{STACK}/{token}/t4g.nano"


def test_two_stacks_of_one_account_never_share_a_token() -> None:
    """Same groups, same incident, same attempt: without the stack's name EC2 would answer one with the other's NAT."""
    launch = LaunchInstance("a", Role.NAT, "a-20260302T081503.291-nat-1", "t4g.nano")
    assert client_token("blue", launch) != client_token("green", launch)
    other = replace(launch, token=f"b-{launch.token}")
    assert client_token("stack-b", launch) != client_token("stack", other)


def test_a_token_is_never_longer_than_ec2_takes_and_a_long_one_is_still_its_launchs_own() -> None:
    """A stack's name has up to 128 characters (CloudFormation), and EC2 takes 64."""
    stack = "s" * 128
    launches = [
        LaunchInstance("a", role, f"a-20260302T081503.291-{role.value}-{attempt}", kind)
        for role in Role
        for attempt in (1, 2)
        for kind in ("t4g.nano", "t4g.micro")
    ]
    tokens = [client_token(name, each) for each in launches for name in (stack, stack[:127])]
    assert {len(each) for each in tokens} == {64}
    assert len(set(tokens)) == len(tokens)
    assert tokens == [client_token(name, each) for each in launches for name in (stack, stack[:127])]


# -- the prober


def test_watch_run_is_started_without_waiting(cloud: Cloud) -> None:
    cloud.forget()
    cloud.ports().prober.start(StartWatch("a", "run-1", timedelta(seconds=55)))
    (call,) = cloud.calls("Invoke")
    assert (call.params["FunctionName"], call.params["InvocationType"]) == ("prober-a", "Event")
    assert call.params["Payload"] == {
        "group": "a",
        "run_id": "run-1",
        "mode": "watch",
        "targets": ["tcp://192.0.2.1:443", "tcp://192.0.2.2:443", "https://192.0.2.3/"],
        "canary": f"{CANARY}:443",
        "interval": 1.0,
        "timeout": 0.8,
        "rounds_to_fail": 3,
        "run": 55.0,
        "quorum": 2,
    }


def test_verification_is_waited_for_and_read(cloud: Cloud) -> None:
    cloud.forget()
    report = cloud.ports().prober.verify("b")
    (call,) = cloud.calls("Invoke")
    assert (call.params["FunctionName"], call.params["InvocationType"]) == ("prober-b", "RequestResponse")
    assert (report.group, report.verdict.value, report.egress_address) == ("b", "passed", cloud.zones["b"].address)
    assert report.run_id == call.params["Payload"]["run_id"]


def test_each_verification_is_a_run_of_its_own(cloud: Cloud) -> None:
    prober = cloud.ports().prober
    assert prober.verify("a").run_id != prober.verify("a").run_id


def test_request_is_one_that_the_prober_takes(cloud: Cloud) -> None:
    from natkeeper.probing.request import parse_request

    requests: list[Mapping[str, Any]] = []

    def keep(request: Mapping[str, Any]) -> FunctionResult:
        requests.append(request)
        return probe_result(request, is_ok=True)

    cloud.probe = keep
    cloud.ports().prober.verify("a")
    cloud.ports().prober.start(StartWatch("a", "run-1", timedelta(seconds=15)))
    parsed = [parse_request(each) for each in requests]
    assert [each.group for each in parsed] == ["a"] * len(parsed)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (FunctionResult(b'{"errorMessage": "no route", "errorType": "OSError"}', "Unhandled"), "Unhandled"),
        (FunctionResult(b"not json"), "MalformedReport"),
        (FunctionResult(b"null"), "MalformedReport"),
        (FunctionResult(b"[]"), "MalformedReport"),
        (FunctionResult(json.dumps({"version": 1, "verdict": "passed"}).encode()), "MalformedReport"),
    ],
)
def test_prober_that_does_not_answer_as_agreed_is_asked_again(answer: FunctionResult, code: str, cloud: Cloud) -> None:
    cloud.probe = lambda _: answer
    with pytest.raises(TryAgain) as trouble:
        cloud.ports().prober.verify("a")
    assert (trouble.value.operation, trouble.value.code) == ("Invoke", code)


def test_prober_that_does_not_exist_is_stale(cloud: Cloud) -> None:
    cloud.api.faults.fail("Invoke", "ResourceNotFoundException")
    with pytest.raises(Stale, match="ResourceNotFoundException"):
        cloud.ports().prober.start(StartWatch("a", "run-1", timedelta(seconds=55)))


@pytest.mark.usefixtures("hasty")
def test_throttled_start_is_tried_again(cloud: Cloud) -> None:
    cloud.api.faults.fail("Invoke", "TooManyRequestsException", times=None)
    with pytest.raises(TryAgain, match="TooManyRequestsException"):
        cloud.ports().prober.start(StartWatch("a", "run-1", timedelta(seconds=55)))
