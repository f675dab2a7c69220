"""What the simulated EC2 does with a call, held against the EC2 API reference and user guide (docs/aws.md)."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from natkeeper_lab.simulation.answers import Answers, wanted
from natkeeper_lab.simulation.ec2 import Ec2
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND, Hub
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE, Elastic, Interface, Machine, Table
from natkeeper_lab.simulation.paces import Paces
from natkeeper_lab.simulation.packets import Packets
from natkeeper_lab.simulation.setting import Setting, settings_of

PACES = Paces(
    to_running=(8 * SECOND,) * 2,
    script=(12 * SECOND,) * 2,
    start_script=(5 * SECOND,) * 2,
    to_stopped=(10 * SECOND,) * 2,
    to_terminated=(9 * SECOND,) * 2,
    remap=(SECOND,) * 2,
    public=(SECOND,) * 2,
    taken=(SECOND,) * 2,
)
TOKEN = "a-1-nat-1-t4g.nano"


class Account:
    """A VPC with one table, one Elastic IP and a subnet; `emitted` are EC2's events."""

    def __init__(self, paces: Paces = PACES) -> None:
        self.hub = Hub()
        self.emitted: list[tuple[str, str]] = []
        self.ec2 = Ec2(
            self.hub,
            Random(0),
            paces,
            lambda instance, state: self.emitted.append((instance, state)),
            lambda: self.answers.changed(),
        )
        self.answers = Answers(self.ec2)
        self.ec2.subnets["subnet-a"] = "a"
        self.ec2.tables["rtb-a1"] = Table("rtb-a1")
        self.ec2.elastics["eipalloc-a"] = Elastic("eipalloc-a", "203.0.113.1")

    def launch(self, token: str = TOKEN, **changed: Any) -> Machine:
        interface = {
            "SubnetId": "subnet-a",
            "AssociatePublicIpAddress": True,
            "SecondaryPrivateIpAddressCount": 1,
            **changed.pop("interface", {}),
        }
        params: dict[str, Any] = {"ClientToken": token, "InstanceType": "t4g.nano", "NetworkInterfaces": [interface]}
        params["TagSpecifications"] = [{"Tags": [{"Key": "natkeeper:group", "Value": "a"}]}]
        answer = self.ec2.apply("RunInstances", params | changed)
        return self.ec2.machines[answer["Instances"][0]["InstanceId"]]

    def interface(self, machine: Machine) -> Interface:
        assert machine.interface is not None
        return machine.interface

    def route(self, operation: str, target: str) -> None:
        params = {"RouteTableId": "rtb-a1", "DestinationCidrBlock": DEFAULT_ROUTE, "NetworkInterfaceId": target}
        self.ec2.apply(operation, params)

    def associate(self, machine: Machine, private: str) -> None:
        interface_id = self.interface(machine).interface_id
        params = {"AllocationId": "eipalloc-a", "NetworkInterfaceId": interface_id, "PrivateIpAddress": private}
        self.ec2.apply("AssociateAddress", params)

    def public_of(self, machine: Machine) -> dict[str, str]:
        """As packets see it."""
        return dict(self.interface(machine).public)

    def route_state(self) -> str:
        return str(self.answers.items("DescribeRouteTables", 0)[0]["Routes"][0]["State"])

    def run(self, seconds: float) -> None:
        self.hub.run(self.hub.now + int(seconds * SECOND))


@pytest.fixture
def account() -> Account:
    return Account()


def refusal(call: Any, *args: Any, **named: Any) -> str:
    with pytest.raises(ApiError) as caught:
        call(*args, **named)
    return caught.value.code


# -- launching


def test_a_launch_with_the_same_token_gives_the_same_instance(account: Account) -> None:
    assert account.launch() is account.launch()
    assert len(account.ec2.machines) == 1


def test_a_token_used_with_other_parameters_is_refused(account: Account) -> None:
    account.launch()
    assert refusal(account.launch, InstanceType="t4g.micro") == "IdempotentParameterMismatch"


def test_a_token_of_an_instance_that_is_gone_launches_no_other(account: Account) -> None:
    machine = account.launch()
    account.ec2.terminate(machine)
    account.run(60)
    with pytest.raises(ApiError, match="IdempotentInstanceTerminated"):
        account.launch()
    assert machine.state == "terminated"


def test_an_instance_boots_with_its_check_on_and_forwards_only_after_its_script(account: Account) -> None:
    machine = account.launch()
    assert (machine.state, account.interface(machine).is_checked) == ("pending", True)
    account.run(8)
    assert machine.state == "running"
    assert machine.forwards_from == 20 * SECOND
    assert account.emitted == [(machine.instance_id, "pending"), (machine.instance_id, "running")]


def test_more_addresses_than_the_type_has_are_refused(account: Account) -> None:
    assert refusal(account.launch, interface={"SecondaryPrivateIpAddressCount": 2}) == "PrivateIpAddressLimitExceeded"


def test_a_stopped_instance_cannot_be_started_while_it_is_stopping(account: Account) -> None:
    machine = account.launch()
    account.run(30)
    start = {"InstanceIds": [machine.instance_id]}
    account.ec2.apply("StopInstances", start)
    assert refusal(account.ec2.apply, "StartInstances", start) == "IncorrectInstanceState"
    account.run(10)
    account.ec2.apply("StartInstances", start)
    assert machine.state == "pending"


def test_an_instance_that_is_not_visible_yet_is_not_found(account: Account) -> None:
    account.ec2.visible_after = 5 * SECOND
    machine = account.launch()
    assert refusal(account.ec2.apply, "StopInstances", {"InstanceIds": [machine.instance_id]}) == (
        "InvalidInstanceID.NotFound"
    )
    account.run(6)
    account.ec2.apply("StopInstances", {"InstanceIds": [machine.instance_id]})


# -- routes


def test_a_missing_route_is_not_replaced_but_created_and_not_created_twice(account: Account) -> None:
    one, two = (account.interface(account.launch(each)).interface_id for each in ("one", "two"))
    assert refusal(account.route, "ReplaceRoute", one) in ("InvalidRoute.NotFound", "InvalidParameterValue")
    account.route("CreateRoute", one)
    assert refusal(account.route, "CreateRoute", two) == "RouteAlreadyExists"
    account.route("CreateRoute", one)
    account.route("ReplaceRoute", two)
    assert account.ec2.tables["rtb-a1"].routes == {DEFAULT_ROUTE: two}


def test_a_route_to_an_interface_that_does_not_exist_is_refused(account: Account) -> None:
    assert refusal(account.route, "CreateRoute", "eni-9") == "InvalidNetworkInterfaceID.NotFound"


def test_a_route_is_a_blackhole_once_its_instance_stopped_or_is_gone(account: Account) -> None:
    machine = account.launch()
    account.run(30)
    account.route("CreateRoute", account.interface(machine).interface_id)
    assert account.route_state() == "active"
    account.ec2.stop(machine)
    assert account.route_state() == "active"
    account.run(10)
    assert account.route_state() == "blackhole"
    account.ec2.terminate(machine)
    account.run(10)
    assert account.route_state() == "blackhole"
    assert account.ec2.tables["rtb-a1"].routes != {}


# -- addresses


def test_an_elastic_ip_moves_away_from_where_it_was(account: Account) -> None:
    one, two = account.launch("one"), account.launch("two")
    account.run(30)
    account.associate(one, account.interface(one).addresses[1])
    account.run(2)
    assert account.public_of(one)[account.interface(one).addresses[1]] == "203.0.113.1"
    account.associate(two, account.interface(two).addresses[1])
    assert "203.0.113.1" not in account.public_of(one).values()
    assert "203.0.113.1" not in account.public_of(two).values()
    account.run(2)
    assert account.public_of(two)[account.interface(two).addresses[1]] == "203.0.113.1"


def test_the_api_shows_an_association_before_packets_follow_it(account: Account) -> None:
    machine = account.launch()
    account.run(30)
    private = account.interface(machine).addresses[1]
    account.associate(machine, private)
    shown = account.answers.items("DescribeAddresses", 0)[0]
    assert shown["PrivateIpAddress"] == private
    assert private not in account.public_of(machine)


def test_an_address_that_is_not_on_the_interface_is_refused(account: Account) -> None:
    assert refusal(account.associate, account.launch(), "10.9.9.9") == "InvalidParameterValue"


def test_an_elastic_ip_takes_the_place_of_the_automatic_one_which_comes_back_when_it_leaves(account: Account) -> None:
    machine = account.launch()
    primary = account.interface(machine).primary
    account.run(30)
    automatic = account.public_of(machine)[primary]
    account.associate(machine, primary)
    account.run(2)
    assert account.public_of(machine)[primary] == "203.0.113.1" != automatic
    account.ec2.release(account.ec2.elastics["eipalloc-a"])
    account.run(2)
    assert account.public_of(machine)[primary].startswith("198.51.100.")


def test_the_automatic_address_goes_with_its_attribute_and_does_not_grow_back(account: Account) -> None:
    machine = account.launch()
    interface = account.interface(machine)
    account.run(30)
    params = {"NetworkInterfaceId": interface.interface_id, "AssociatePublicIpAddress": False}
    account.ec2.apply("ModifyNetworkInterfaceAttribute", params)
    account.run(2)
    assert account.public_of(machine) == {}
    account.associate(machine, interface.primary)
    account.run(2)
    account.ec2.release(account.ec2.elastics["eipalloc-a"])
    account.run(5)
    assert account.public_of(machine) == {}


def test_a_stop_takes_the_automatic_address_and_keeps_the_elastic_one(account: Account) -> None:
    one, two = account.launch("one"), account.launch("two")
    account.run(30)
    account.associate(two, account.interface(two).primary)
    account.run(2)
    for each in (one, two):
        account.ec2.stop(each)
    assert account.public_of(one) == {}
    assert account.public_of(two) == {account.interface(two).primary: "203.0.113.1"}


def test_a_terminated_instance_lets_its_interface_and_elastic_ip_go(account: Account) -> None:
    machine = account.launch()
    account.run(30)
    account.associate(machine, account.interface(machine).primary)
    account.ec2.terminate(machine)
    assert account.ec2.elastics["eipalloc-a"].interface_id is not None
    account.run(10)
    assert machine.interface is None
    assert account.ec2.elastics["eipalloc-a"].interface_id is None


# -- answers and packets


def test_an_old_answer_shows_the_account_as_it_was(account: Account) -> None:
    account.answers.keeps_history = True
    machine = account.launch()
    account.run(30)
    account.ec2.stop(machine)
    account.run(2)
    assert account.answers.items("DescribeInstances", 0)[0]["State"]["Name"] == "stopping"
    assert account.answers.items("DescribeInstances", 5 * SECOND)[0]["State"]["Name"] == "running"


def test_an_instance_with_its_source_dest_check_on_forwards_nothing(account: Account) -> None:
    packets = Packets(account.ec2)
    packets.configure(settings_of(Setting(zones=1, tables=1)).policy)
    machine = account.launch()
    interface = account.interface(machine)
    account.route("CreateRoute", interface.interface_id)
    assert packets.path("a", "rtb-a1").why == "not running"
    account.run(15)
    assert packets.path("a", "rtb-a1").why == "booting"
    account.run(10)
    assert packets.path("a", "rtb-a1").why == "source/dest check"
    params = {"NetworkInterfaceId": interface.interface_id, "SourceDestCheck": {"Value": False}}
    account.ec2.apply("ModifyNetworkInterfaceAttribute", params)
    assert packets.path("a", "rtb-a1").is_ok
    account.ec2.stop(machine)
    assert packets.path("a", "rtb-a1").why == "not running"


# -- AWS's own pace


def paced(**paces: Any) -> Account:
    return Account(replace(PACES, **paces))


@pytest.mark.parametrize("is_dark", [True, False])
def test_an_elastic_ip_that_is_slow_to_follow_works_where_it_was_or_nowhere(is_dark: bool) -> None:
    account = paced(remap=(5 * SECOND,) * 2, is_remap_dark=is_dark)
    old, new = account.launch(), account.launch(ClientToken="another")
    account.run(30)
    account.associate(old, account.interface(old).primary)
    account.run(10)
    account.associate(new, account.interface(new).primary)
    account.run(4)
    assert ("203.0.113.1" in account.public_of(old).values()) is not is_dark
    assert "203.0.113.1" not in account.public_of(new).values()
    account.run(2)
    assert "203.0.113.1" not in account.public_of(old).values()
    assert account.public_of(new)[account.interface(new).primary] == "203.0.113.1"


def test_an_old_mapping_that_still_works_is_not_shown_by_the_api() -> None:
    account = paced(remap=(5 * SECOND,) * 2, is_remap_dark=False)
    old, new = account.launch(), account.launch(ClientToken="another")
    account.run(30)
    account.associate(old, account.interface(old).primary)
    account.run(10)
    account.associate(new, account.interface(new).primary)
    shown = {
        each["InstanceId"]: [
            address.get("Association", {}).get("PublicIp")
            for address in each["NetworkInterfaces"][0]["PrivateIpAddresses"]
        ]
        for each in account.answers.items("DescribeInstances", 0)
    }
    assert "203.0.113.1" in shown[new.instance_id]
    assert "203.0.113.1" not in shown[old.instance_id]


def test_packets_take_the_old_route_until_the_new_one_has_propagated() -> None:
    account = paced(propagation=(SECOND, SECOND + 1))
    one, other = account.launch(), account.launch(ClientToken="another")
    account.route("CreateRoute", account.interface(one).interface_id)
    account.run(2)
    account.route("ReplaceRoute", account.interface(other).interface_id)
    table = account.ec2.tables["rtb-a1"]
    assert table.routes[DEFAULT_ROUTE] == account.interface(other).interface_id
    assert table.taken(DEFAULT_ROUTE) == account.interface(one).interface_id
    account.run(2)
    assert table.taken(DEFAULT_ROUTE) == account.interface(other).interface_id


def test_an_automatic_address_that_never_comes_does_not() -> None:
    account = paced(public=None)
    machine = account.launch()
    account.run(600)
    assert account.public_of(machine) == {}


def test_an_elastic_ip_is_taken_off_by_its_association(account: Account) -> None:
    machine = account.launch()
    account.run(30)
    account.associate(machine, account.interface(machine).primary)
    account.run(2)
    association = account.answers.items("DescribeAddresses", 0)[0]["AssociationId"]
    account.ec2.apply("DisassociateAddress", {"AssociationId": association})
    assert "203.0.113.1" not in account.public_of(machine).values()
    assert "AssociationId" not in account.answers.items("DescribeAddresses", 0)[0]
    assert refusal(account.ec2.apply, "DisassociateAddress", {"AssociationId": association}) == (
        "InvalidAssociationID.NotFound"
    )


def test_a_started_instance_takes_the_time_of_a_start(account: Account) -> None:
    machine = account.launch()
    account.run(30)
    account.ec2.apply("StopInstances", {"InstanceIds": [machine.instance_id]})
    account.run(20)
    account.ec2.apply("StartInstances", {"InstanceIds": [machine.instance_id]})
    assert machine.forwards_from - account.hub.now == 13 * SECOND


def test_what_an_instance_was_launched_with_is_shown_until_it_is_terminated(account: Account) -> None:
    machine = account.launch(interface={"Groups": ["sg-1"]})
    shown = account.answers.items("DescribeInstances", 0)[0]
    assert (shown["VpcId"], shown["SubnetId"], shown["SecurityGroups"]) == ("vpc-1", "subnet-a", [{"GroupId": "sg-1"}])
    assert shown["IamInstanceProfile"]["Arn"].endswith(":instance-profile/nat")
    account.ec2.terminate(machine)
    account.hub.run(account.hub.now + 10 * SECOND)
    gone = account.answers.items("DescribeInstances", 0)[0]
    assert ("VpcId" in gone, "SubnetId" in gone, gone["SecurityGroups"]) == (False, False, [])


def test_a_subnet_follows_the_table_that_names_it_else_the_main_one(account: Account) -> None:
    """VPC user guide, "Subnet route tables": without an explicit association it is the main one's."""
    ec2 = account.ec2
    ec2.tables["rtb-main"] = Table("rtb-main", is_main=True)
    assert ec2.table_of("subnet-p") == "rtb-main"
    ec2.associate("subnet-p", "rtb-a1")
    assert ec2.table_of("subnet-p") == "rtb-a1"
    by_name = [{"Name": "association.subnet-id", "Values": ["subnet-p"]}]
    found = [each for each in account.answers.items("DescribeRouteTables", 0) if wanted(each, by_name)]
    assert [each["RouteTableId"] for each in found] == ["rtb-a1"]
    ec2.associate("subnet-p", None)
    assert ec2.table_of("subnet-p") == "rtb-main"
    tables = {each["RouteTableId"]: each["Associations"] for each in account.answers.items("DescribeRouteTables", 0)}
    assert tables == {"rtb-a1": [], "rtb-main": [{"Main": True}]}


def test_a_stranger_is_nobodys_nat_whatever_its_tags_say(account: Account) -> None:
    machine = account.launch()
    assert machine.tag("natkeeper:group") == "a"
    machine.is_stranger = True
    assert machine.tag("natkeeper:group") == ""
    assert account.answers.items("DescribeInstances", 0)[0]["Tags"] != []
