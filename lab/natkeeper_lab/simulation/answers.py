"""What EC2 says when it is asked, in the shapes of botocore's own models: `tests/simulation/test_shapes.py` checks.

Called by `simulation.api`. An answer is made once for each state of the account, and kept as long as old answers may
be wanted, for a describe after a write can be old (docs/aws.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from natkeeper_lab.simulation.ec2 import Ec2
from natkeeper_lab.simulation.machines import Interface, Machine

BEGINNING = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
"""The wall clock at the hub's zero."""
Answer = dict[str, Any]


def instant(microseconds: int) -> datetime:
    """The hub's instant on the wall clock."""
    return BEGINNING + timedelta(microseconds=microseconds)


def hub_instant(at: datetime) -> int:
    """And back."""
    return (at - BEGINNING) // timedelta(microseconds=1)


class Answers:
    """DescribeInstances, DescribeRouteTables, DescribeAddresses of now or of a while ago."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2
        self._latest: dict[str, list[Answer]] = {}
        self._history: list[tuple[int, dict[str, list[Answer]]]] = []
        self.keeps_history = False

    def changed(self) -> None:
        """The account is about to be looked at anew."""
        if self.keeps_history:
            self._history.append((self._ec2.hub.now, self._everything()))
        self._latest = {}

    def items(self, operation: str, lag: int) -> list[Answer]:
        """All that the operation could list, as it was `lag` microseconds ago."""
        if lag and self._history:
            at = self._ec2.hub.now - lag
            known = [found for since, found in self._history if since <= at]
            return (known[-1] if known else self._history[0][1])[operation]
        found = self._latest.get(operation)
        if found is None:
            found = self._latest[operation] = _RENDERERS[operation](self._ec2)
        return found

    def _everything(self) -> dict[str, list[Answer]]:
        return {operation: render(self._ec2) for operation, render in _RENDERERS.items()}


def wanted(item: Mapping[str, Any], filters: list[Mapping[str, Any]]) -> bool:
    """The filters natkeeper uses: a tag's value, the item's own id, or a subnet that a table is associated with."""
    for each in filters:
        name, values = each["Name"], each["Values"]
        if name == "association.subnet-id":
            if not any(one.get("SubnetId") in values for one in item["Associations"]):
                return False
        elif name.startswith("tag:"):
            if not any(tag["Key"] == name[4:] and tag["Value"] in values for tag in item.get("Tags", ())):
                return False
        elif item[_IDS[name]] not in values:
            return False
    return True


_IDS = {"route-table-id": "RouteTableId", "allocation-id": "AllocationId", "instance-id": "InstanceId"}


def _instances(ec2: Ec2) -> list[Answer]:
    return [_instance(ec2, each) for each in ec2.machines.values()]


def _instance(ec2: Ec2, machine: Machine) -> Answer:
    answer: Answer = {
        "InstanceId": machine.instance_id,
        "InstanceType": machine.kind,
        "State": {"Name": machine.state},
        "LaunchTime": instant(machine.launched_at),
        "Tags": [{"Key": key, "Value": value} for key, value in machine.tags.items()],
        "NetworkInterfaces": [],
        "IamInstanceProfile": {"Arn": machine.profile},
        "SecurityGroups": [],
    }
    if machine.interface is not None:
        answer |= _place(machine.interface) | {"NetworkInterfaces": [_interface(ec2, machine.interface)]}
    return answer


def _place(interface: Interface) -> Answer:
    """A terminated instance has none (EC2 API reference, Instance)."""
    subnet = interface.subnet_id or f"subnet-{interface.zone}"
    groups = [{"GroupId": interface.group_id}]
    return {"VpcId": interface.vpc_id, "SubnetId": subnet, "SecurityGroups": groups}


def _interface(ec2: Ec2, interface: Interface) -> Answer:
    elastics = {each.public for each in ec2.elastics.values()}
    public = {private: each for private, each in interface.public.items() if each not in elastics}
    for elastic in ec2.elastics.values():
        # The API shows an association at once; packets follow a moment later.
        if elastic.interface_id == interface.interface_id and elastic.private is not None:
            public[elastic.private] = elastic.public
    listed = []
    for number, address in enumerate(interface.addresses):
        found: Answer = {"PrivateIpAddress": address, "Primary": number == 0}
        if address in public:
            found["Association"] = {"PublicIp": public[address]}
        listed.append(found)
    return {
        "NetworkInterfaceId": interface.interface_id,
        "Attachment": {"DeviceIndex": 0},
        "SourceDestCheck": interface.is_checked,
        "PrivateIpAddresses": listed,
    }


def _tables(ec2: Ec2) -> list[Answer]:
    return [
        {
            "RouteTableId": table.table_id,
            "Routes": [_route(ec2, destination, target) for destination, target in table.routes.items()],
            "Associations": [
                *([{"Main": True}] if table.is_main else []),
                *({"Main": False, "SubnetId": each} for each in table.subnet_ids),
            ],
        }
        for table in ec2.tables.values()
    ]


def _route(ec2: Ec2, destination: str, target: str) -> Answer:
    if not target.startswith("eni-"):
        key = "NatGatewayId" if target.startswith("nat-") else "GatewayId"
        return {"DestinationCidrBlock": destination, key: target, "State": "active"}
    owner = ec2.owner(target)
    is_alive = owner is not None and owner.state in ("running", "pending", "stopping")
    state = "active" if is_alive else "blackhole"
    return {"DestinationCidrBlock": destination, "NetworkInterfaceId": target, "State": state}


def _addresses(ec2: Ec2) -> list[Answer]:
    found = []
    for elastic in ec2.elastics.values():
        answer: Answer = {"AllocationId": elastic.allocation_id, "PublicIp": elastic.public}
        if elastic.interface_id is not None:
            answer |= {"NetworkInterfaceId": elastic.interface_id, "PrivateIpAddress": elastic.private}
            answer["AssociationId"] = elastic.association_id
        found.append(answer)
    return found


_RENDERERS = {
    "DescribeInstances": _instances,
    "DescribeRouteTables": _tables,
    "DescribeAddresses": _addresses,
}


def statuses(ec2: Ec2, ids: list[str]) -> list[Answer]:
    """DescribeInstanceStatus: what AWS has scheduled."""
    found = []
    for each in ids:
        at = ec2.machines[each].is_doomed_at
        events = [{"Code": "instance-retirement", "NotBefore": instant(at)}] if at is not None else []
        found.append({"InstanceId": each, "Events": events})
    return found


def spot_requests(ec2: Ec2, ids: list[str]) -> list[Answer]:
    """DescribeSpotInstanceRequests: which of them AWS is taking back."""
    found = []
    for each in ids:
        machine = ec2.machines.get(each)
        if machine is not None and machine.is_spot_ending_at is not None:
            status = {"Code": "marked-for-termination", "UpdateTime": instant(machine.is_spot_ending_at)}
            found.append({"InstanceId": each, "Status": status})
    return found
