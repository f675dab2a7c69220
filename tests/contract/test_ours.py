"""What is the stack's own, and which path the prober's packets take: asked of EC2 as the lab answers it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from natkeeper.adapters.ec2_facts import Marks, differs
from natkeeper.core.model import Network, Role
from natkeeper.core.news import Tick
from tests.support.cloud import Cloud

MARKS = Marks("vpc-1", "sg-1", "arn:aws:iam::1:instance-profile/nat", {"a": "subnet-a", "b": "subnet-b"})
OWN: dict[str, Any] = {
    "State": {"Name": "running"},
    "VpcId": "vpc-1",
    "SubnetId": "subnet-a",
    "SecurityGroups": [{"GroupId": "sg-9"}, {"GroupId": "sg-1"}],
    "IamInstanceProfile": {"Arn": "arn:aws:iam::1:instance-profile/nat"},
}


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """At rest."""
    with Cloud(tables=2) as found:
        found.forget()
        yield found


def look(cloud: Cloud) -> Network:
    return cloud.ports().vpc.look()


# -- whose machine it is


def test_an_instance_with_all_the_marks_is_the_stacks_own() -> None:
    assert differs(OWN, "a", MARKS) == ""


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"VpcId": "vpc-2"}, "its VPC is vpc-2, not vpc-1"),
        ({"SubnetId": "subnet-b"}, "its subnet is subnet-b, not subnet-a"),
        ({"SecurityGroups": [{"GroupId": "sg-9"}]}, "its security group is sg-9, not sg-1"),
        ({"SecurityGroups": []}, "its security group is none, not sg-1"),
        ({"IamInstanceProfile": {"Arn": "x/admin"}}, "its instance profile is x/admin, not"),
        ({"IamInstanceProfile": None}, "its instance profile is none, not"),
    ],
)
def test_what_lacks_one_of_them_is_a_stranger_and_the_text_says_which(fields: dict[str, Any], said: str) -> None:
    changed = {key: value for key, value in {**OWN, **fields}.items() if value is not None}
    assert differs(changed, "a", MARKS).startswith(said)
    assert ";" not in differs(changed, "a", MARKS)


@pytest.mark.parametrize("state", ["shutting-down", "terminated"])
def test_one_that_is_gone_counts_by_what_ec2_still_shows(state: str) -> None:
    gone = {"State": {"Name": state}, "SecurityGroups": []}
    assert differs(gone, "a", MARKS) == ""
    assert differs({**gone, "VpcId": "vpc-2"}, "a", MARKS) != ""
    assert differs({"State": {"Name": "stopped"}, "SecurityGroups": []}, "a", MARKS) != ""


def elsewhere(cloud: Cloud) -> dict[str, Any]:
    """The interface of a machine in a VPC of its own."""
    vpc = cloud.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = cloud.ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    group = cloud.ec2.create_security_group(GroupName="theirs", Description="theirs", VpcId=vpc)["GroupId"]
    return {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group]}


@pytest.mark.parametrize("role", Role)
def test_a_machine_of_another_vpc_with_the_stacks_tags_is_left_alone_and_told_once(role: Role) -> None:
    """Three tags were enough for its termination, or for a zone's routes and Elastic IP."""
    with Cloud() as cloud:
        theirs = cloud.launch_nat("a", role, NetworkInterfaces=[elsewhere(cloud)])["InstanceId"]
        cloud.wait_for(theirs, "running")
        cloud.forget()
        (stranger,) = look(cloud).strangers
        assert (stranger.instance_id, stranger.group) == (theirs, "a")
        assert stranger.differs.startswith("its VPC is")
        for _ in range(3):
            cloud.wake(Tick())
        warned = [each for each in cloud.output.lines() if each.get("level") == "WARNING" and theirs in each["message"]]
        assert len(warned) == 1, warned
        assert [each.key for each in cloud.memory("a").told] == [f"stranger {theirs}"]
        cloud.stop_nat("a", until="stopped")
        cloud.wake(cloud.stopping("a"))
        assert cloud.targets("a") == [cloud.zones["b"].interface]
        assert cloud.nats("a")[theirs] == "running"


def test_a_nat_that_the_stack_launched_is_its_own_in_every_state(cloud: Cloud) -> None:
    made = cloud.launch_nat("a", Role.STANDBY)["InstanceId"]
    assert made in look(cloud).own_ids, "while it is pending"
    cloud.wait_for(made, "running")
    assert made in look(cloud).own_ids
    cloud.ec2.terminate_instances(InstanceIds=[made])
    cloud.wait_for(made, "terminated")
    seen = look(cloud)
    assert made in {each.instance_id for each in seen.instances}, "known as gone"
    assert seen.strangers == ()


# -- which path the prober's packets take


def associate(cloud: Cloud, group: str, table: str | None) -> None:
    """The prober's subnet, with that table or with none."""
    client: Any = boto3.client("ec2")
    private = cloud.zones[group].private
    filters = [{"Name": "association.subnet-id", "Values": [private]}]
    for found in client.describe_route_tables(Filters=filters)["RouteTables"]:
        for each in found["Associations"]:
            if each.get("SubnetId") == private:
                client.disassociate_route_table(AssociationId=each["RouteTableAssociationId"])
    if table is not None:
        client.associate_route_table(RouteTableId=table, SubnetId=private)
    cloud.forget()


@pytest.fixture
def apart(cloud: Cloud) -> Cloud:
    """The prober's subnet of zone a is behind none of its tables any more."""
    associate(cloud, "a", None)
    return cloud


def table_calls(cloud: Cloud) -> int:
    return len(cloud.calls("DescribeRouteTables"))


def test_no_call_more_is_made_while_the_association_is_as_it_should_be(cloud: Cloud) -> None:
    for _ in range(2):
        cloud.forget()
        assert look(cloud).associations == {}
        assert table_calls(cloud) == 1


def test_a_subnet_on_no_table_is_known_to_be_on_the_main_one(apart: Cloud) -> None:
    assert look(apart).associations == {apart.zones["a"].private: None}
    assert table_calls(apart) == 2


def test_a_subnet_on_somebody_elses_table_is_told_with_that_table(apart: Cloud) -> None:
    theirs = apart.ec2.create_route_table(VpcId=apart.vpc)["RouteTable"]["RouteTableId"]
    for table in (theirs, apart.zones["b"].tables[1]):
        associate(apart, "a", table)
        assert look(apart).associations == {apart.zones["a"].private: table}


def test_from_the_second_look_on_the_call_goes_beside_the_others(apart: Cloud) -> None:
    look(apart)
    apart.api.faults.delay(0.1)
    apart.forget()
    look(apart)
    calls = apart.calls()
    assert len(calls) == 4
    assert max(each.started_at for each in calls) < min(each.ended_at for each in calls)


def test_once_the_subnet_is_back_the_call_is_not_made_again(apart: Cloud) -> None:
    look(apart)
    associate(apart, "a", apart.zones["a"].tables[1])
    assert look(apart).associations == {}
    apart.forget()
    look(apart)
    assert table_calls(apart) == 1


def test_where_ec2_does_not_say_the_rest_of_the_look_stays_known(apart: Cloud) -> None:
    look(apart)
    private = apart.zones["a"].private
    apart.api.faults.fail("DescribeRouteTables", "UnauthorizedOperation", where=lambda params: private in str(params))
    seen = look(apart)
    assert seen.associations == {}
    assert len(seen.own_ids) >= 2


def test_a_pass_says_so_once_moves_nothing_and_forgets_what_packets_had_shown() -> None:
    with Cloud() as cloud:
        private = cloud.zones["a"].private
        associate(cloud, "a", None)
        for _ in range(3):
            assert cloud.wake(Tick(), cloud.report("a", "-----")) == {"a": ["unobserved"], "b": ["at-rest"]}
        warned = [
            each for each in cloud.output.lines() if each.get("level") == "WARNING" and private in each["message"]
        ]
        assert len(warned) == 1
        assert not {"ReplaceRoute", "CreateRoute", "AssociateAddress"} & set(cloud.writes())
        memory = cloud.memory("a")
        assert (memory.proofs, memory.is_down, memory.incident) == ((), False, None)
        associate(cloud, "a", cloud.zones["a"].tables[0])
        cloud.wake(Tick())
        time.sleep(2)  # what is sent a second later counts again
        cloud.wake(cloud.report("a", ended_at=datetime.now(UTC), interval=timedelta(milliseconds=100)))
        assert cloud.memory("a").proofs != ()
