"""What a user has before natkeeper: a VPC with subnets, route tables, an internet gateway, private hosts, a web server.

`stack` builds it and deploys into it. Made of boto3 calls; may not import natkeeper or lab.api.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

VPC_CIDR = "10.0.0.0/16"
ANYWHERE = "0.0.0.0/0"
WEB_HOST = "10.0.1.10"
IMAGE = "ami-12c6146b"  # one of the images moto ships; the lab boots user data, not images


HOST = 10
"""A host's number in its subnet."""


@dataclass(frozen=True)
class Zone:
    """One zone's part of the story: where its subnets are and where its machines sit."""

    name: str
    public: str
    private: str
    nat: str
    host: str


ZONES = (
    Zone("a", "10.0.1.0/24", "10.0.2.0/24", "10.0.1.20", "10.0.2.10"),
    Zone("b", "10.0.3.0/24", "10.0.4.0/24", "10.0.3.20", "10.0.4.10"),
    Zone("c", "10.0.5.0/24", "10.0.6.0/24", "10.0.5.20", "10.0.6.10"),
)


@dataclass
class ZoneParts:
    """One zone: what the user has, and (once the stack is there) its Elastic IP. `nat` is a NAT launched by hand.

    `private_subnet` is the prober's, and `prober_host` a host in it; `host` is a workload's, mostly the same one.
    """

    zone: Zone
    public_subnet: str
    private_subnet: str
    tables: tuple[str, ...]
    host: str = ""
    prober_host: str = ""
    gateway: str = ""
    allocation: str = ""
    address: str = ""
    nat: str = ""


class UsersVpc:
    """Builds it; `parameters` says it in the template's words. `apart`: zones whose prober has a subnet of its own;
    `gateways`: zones that have a NAT gateway."""

    def __init__(
        self,
        ec2: Any,
        region: str,
        zones: int,
        tables: int,
        apart: Collection[str] = (),
        gateways: Collection[str] = (),
    ) -> None:
        self._ec2 = ec2
        self._apart, self._with_gateway = apart, gateways
        self._region = region
        self.id = str(ec2.create_vpc(CidrBlock=VPC_CIDR)["Vpc"]["VpcId"])
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.id)
        self._public_table = self._table()
        ec2.create_route(RouteTableId=self._public_table, DestinationCidrBlock=ANYWHERE, GatewayId=gateway)
        made = ec2.create_security_group(GroupName="hosts", Description="hosts", VpcId=self.id)
        self._host_group = str(made["GroupId"])
        self.zones = {zone.name: self._zone(zone, tables) for zone in ZONES[:zones]}
        self._host(WEB_HOST, self.zones["a"].public_subnet)

    def parameters(self) -> dict[str, str]:
        """What the user passes about the network."""
        found = {"VpcId": self.id}
        for name, each in self.zones.items():
            prefix = f"Zone{name.upper()}"
            found[f"{prefix}PublicSubnetId"] = each.public_subnet
            found[f"{prefix}PrivateSubnetId"] = each.private_subnet
            found[f"{prefix}RouteTableIds"] = ",".join(each.tables)
            found[f"{prefix}PrivateCidr"] = each.zone.private
            if each.gateway:
                found[f"{prefix}NatGatewayId"] = each.gateway
        return found

    def _table(self) -> str:
        return str(self._ec2.create_route_table(VpcId=self.id)["RouteTable"]["RouteTableId"])

    def _zone(self, zone: Zone, count: int) -> ZoneParts:
        tables = tuple(self._table() for _ in range(count))
        public = self._subnet(zone, zone.public, self._public_table)
        gateway = make_gateway(self._ec2, public) if zone.name in self._with_gateway else ""
        if zone.name in self._apart:
            workloads, prober = (str(each) for each in IPv4Network(zone.private).subnets())
            host = self._host(zone.host, self._subnet(zone, workloads, tables[0]))
            private = self._subnet(zone, prober, tables[0])
            prober_host = self._host(str(IPv4Network(prober)[HOST]), private)
        else:
            private = self._subnet(zone, zone.private, tables[0])
            host = prober_host = self._host(zone.host, private)
        return ZoneParts(zone, public, private, tables, host, prober_host, gateway)

    def _subnet(self, zone: Zone, cidr: str, table: str) -> str:
        made = self._ec2.create_subnet(VpcId=self.id, CidrBlock=cidr, AvailabilityZone=f"{self._region}{zone.name}")
        subnet = str(made["Subnet"]["SubnetId"])
        self._ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        return subnet

    def _host(self, address: str, subnet: str) -> str:
        nic = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [self._host_group], "PrivateIpAddress": address}
        made = self._ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, NetworkInterfaces=[nic])
        return str(made["Instances"][0]["InstanceId"])


def make_gateway(ec2: Any, public_subnet: str) -> str:
    """A NAT gateway in the subnet, with an Elastic IP of its own; its id."""
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    return str(ec2.create_nat_gateway(SubnetId=public_subnet, AllocationId=allocation)["NatGateway"]["NatGatewayId"])


def address_of(ec2: Any, allocation: str) -> dict[str, Any]:
    """An Elastic IP as EC2 shows it; empty when it was released."""
    found = ec2.describe_addresses(Filters=[{"Name": "allocation-id", "Values": [allocation]}])["Addresses"]
    return dict(found[0]) if found else {}
