"""The VPC that the packet tests and the demo stand on behaves as AWS's does, silence included."""

from __future__ import annotations

import ssl
import subprocess
import urllib.request

import pytest

from natkeeper.nat_instance import NatProfile
from natkeeper_lab.network import INTERNET, Network
from natkeeper_lab.packets import Packets, SecurityRule
from tests.lab.vpc import (
    CIDR_A,
    ELASTIC_A,
    ELASTIC_B,
    EVERYTHING,
    FROM_PRIVATE,
    LANDING_A_ON_B,
    NAT_A,
    NAT_B,
    Vpc,
    ask,
    measured,
)

pytestmark = pytest.mark.packets


def test_network_is_what_the_lab_s_ec2_api_expects(quiet_vpc: Vpc) -> None:
    packets: Packets = quiet_vpc.network
    assert packets is quiet_vpc.network


def test_source_dest_check_decides_whether_a_nat_forwards(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.set_source_dest_check("eni-nat-a", True)
    assert quiet_vpc.attempt("eni-db-a") == "silent"
    quiet_vpc.network.set_source_dest_check("eni-nat-a", False)
    assert quiet_vpc.reaches("eni-db-a")


def test_source_dest_check_is_on_to_begin_with(vpc: Vpc) -> None:
    vpc.network.add_interface("eni-new", "subnet-public", ["10.0.1.50"])
    vpc.network.set_security_rules("eni-new", FROM_PRIVATE, EVERYTHING)
    vpc.network.boot("i-new", "eni-new", "")
    vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-new")
    assert vpc.attempt("eni-db-a") == "silent"


def test_a_bare_landing_address_loses_packets_in_silence(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-b")
    assert quiet_vpc.attempt("eni-db-a") == "silent"
    quiet_vpc.network.map_public_address(ELASTIC_A, LANDING_A_ON_B)
    assert quiet_vpc.reaches("eni-db-a")
    quiet_vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-a")
    quiet_vpc.network.map_public_address(ELASTIC_A, NAT_A)


def test_a_public_address_nobody_holds_is_silent(quiet_vpc: Vpc) -> None:
    assert quiet_vpc.attempt(INTERNET, "198.51.100.222") == "silent"


def test_an_elastic_address_has_one_holder_and_its_former_one_is_bare(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.map_public_address(ELASTIC_B, NAT_A)
    assert quiet_vpc.seen_from("eni-db-a")[0] == ELASTIC_B
    assert quiet_vpc.attempt("eni-db-b") == "silent"
    quiet_vpc.network.map_public_address(ELASTIC_B, None)
    assert quiet_vpc.attempt("eni-db-a") == "silent"
    quiet_vpc.network.map_public_address(ELASTIC_A, NAT_A)
    quiet_vpc.network.map_public_address(ELASTIC_B, NAT_B)


def test_a_security_group_drops_what_it_does_not_allow(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.set_security_rules("eni-nat-a", [SecurityRule("10.0.0.0/16", "tcp", 443, 443)], EVERYTHING)
    assert quiet_vpc.reaches("eni-db-a", port=443)
    assert quiet_vpc.attempt("eni-db-a", port=80) == "silent"
    quiet_vpc.network.set_security_rules("eni-nat-a", FROM_PRIVATE, [SecurityRule("0.0.0.0/0", "tcp", 80, 80)])
    assert quiet_vpc.attempt("eni-db-a", port=443) == "silent"
    assert quiet_vpc.reaches("eni-db-a", port=80)
    quiet_vpc.network.set_security_rules("eni-nat-a", [], EVERYTHING)
    assert quiet_vpc.attempt("eni-db-a") == "silent"
    quiet_vpc.network.set_security_rules("eni-nat-a", FROM_PRIVATE, EVERYTHING)
    assert quiet_vpc.reaches("eni-db-a")


def test_nobody_reaches_a_private_host_its_group_keeps_closed(quiet_vpc: Vpc) -> None:
    assert quiet_vpc.attempt("i-nat-a", "10.0.2.10", 22) == "silent"


def test_hosts_of_the_vpc_reach_each_other_whatever_their_default_route(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.set_security_rules("eni-db-b", [SecurityRule("10.0.0.0/16", "tcp", 5432, 5432)], EVERYTHING)
    with quiet_vpc.network.listen("eni-db-b", "0.0.0.0", 5432):
        assert quiet_vpc.reaches("eni-db-a", "10.0.3.10", 5432)
    quiet_vpc.network.set_security_rules("eni-db-b", [], EVERYTHING)


def test_a_host_route_beats_the_default_route(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.map_public_address("198.51.100.3", LANDING_A_ON_B)
    quiet_vpc.network.set_route("rtb-a", "203.0.113.12/32", "eni-nat-b")
    assert quiet_vpc.seen_from("eni-db-a", "203.0.113.12")[0] == "198.51.100.3"
    assert quiet_vpc.seen_from("eni-db-a", "203.0.113.11")[0] == ELASTIC_A
    quiet_vpc.network.set_route("rtb-a", "203.0.113.12/32", None)
    assert quiet_vpc.seen_from("eni-db-a", "203.0.113.12")[0] == ELASTIC_A
    quiet_vpc.network.map_public_address("198.51.100.3", None)


def test_without_a_default_route_packets_vanish(quiet_vpc: Vpc) -> None:
    for _ in range(2):
        quiet_vpc.network.set_route("rtb-a", "0.0.0.0/0", None)
        assert quiet_vpc.attempt("eni-db-a") == "silent"
    quiet_vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-a")


def test_a_subnet_follows_the_table_it_is_given(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.add_route_table("rtb-other")
    quiet_vpc.network.use_route_table("subnet-a", "rtb-other")
    assert quiet_vpc.attempt("eni-db-a") == "silent"
    quiet_vpc.network.set_route("rtb-other", "0.0.0.0/0", "eni-nat-a")
    assert quiet_vpc.reaches("eni-db-a")
    quiet_vpc.network.use_route_table("subnet-a", "rtb-a")


def test_a_route_to_a_deleted_interface_drops_in_silence(vpc: Vpc) -> None:
    vpc.network.set_route("rtb-a", "203.0.113.12/32", "eni-nat-b")
    vpc.network.delete_interface("eni-nat-b")
    assert vpc.attempt("eni-db-a", "203.0.113.12") == "silent"
    assert vpc.attempt("eni-db-b") == "silent"
    assert vpc.reaches("eni-db-a", "203.0.113.11")


def test_a_nat_switched_off_is_silent_and_works_again_after_its_next_boot(vpc: Vpc) -> None:
    with vpc.answering("eni-db-a") as connection:
        vpc.network.power_off("i-nat-a")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask(connection)
    assert vpc.attempt("eni-db-a") == "silent"
    vpc.network.boot("i-nat-a", "eni-nat-a", vpc.user_data["i-nat-a"])
    assert vpc.reaches("eni-db-a")


def test_a_hung_nat_is_silent_until_it_wakes(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.hang("i-nat-a")
    assert quiet_vpc.attempt("eni-db-a") == "silent"
    assert quiet_vpc.attempt("i-nat-a") == "silent"
    quiet_vpc.network.unhang("i-nat-a")
    assert quiet_vpc.reaches("eni-db-a")


def test_a_nat_that_stops_forwarding_still_speaks_for_itself(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.drop_forwarding("i-nat-a")
    assert quiet_vpc.attempt("eni-db-a") == "silent"
    assert quiet_vpc.reaches("i-nat-a")
    quiet_vpc.network.drop_forwarding("i-nat-a", False)
    assert quiet_vpc.reaches("eni-db-a")


def test_packet_loss_loses_some_and_not_all(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.packet_loss("i-nat-a", 40)
    watch = quiet_vpc.probing()
    with pytest.raises(subprocess.TimeoutExpired):
        watch.process.wait(1.5)
    rows = measured(watch.stop())
    lost = sum(probe.answered_ns is None for probe in rows) / len(rows)
    assert 0.3 < lost < 0.95  # SYN and SYN-ACK each have to get through: 64 % expected
    quiet_vpc.network.packet_loss("i-nat-a", 0)


def test_instance_metadata_wants_a_token_and_follows_the_interface(quiet_vpc: Vpc) -> None:
    script = """
import urllib.request as u, urllib.error, sys
base = "http://169.254.169.254/latest/"
def get(path, **headers): return u.urlopen(u.Request(base + path, headers=headers), timeout=30).read().decode()
try: get("meta-data/mac")
except urllib.error.HTTPError as error: print(error.code)
put = u.Request(base + "api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
token = {"X-aws-ec2-metadata-token": u.urlopen(put, timeout=30).read().decode()}
mac = get("meta-data/mac", **token)
addresses = get(f"meta-data/network/interfaces/macs/{mac}/local-ipv4s", **token)
print(get("meta-data/instance-id", **token), *addresses.split())
"""

    def answers() -> list[str]:
        process = quiet_vpc.network.spawn("i-nat-b", ["python", "-c", script], stdout=subprocess.PIPE, text=True)
        return str(process.communicate(timeout=60)[0]).split()

    assert answers() == ["401", "i-nat-b", "10.0.1.21", LANDING_A_ON_B]
    quiet_vpc.network.set_addresses("eni-nat-b", ["10.0.1.21", LANDING_A_ON_B, "10.0.1.122"])
    assert answers()[-1] == "10.0.1.122"
    quiet_vpc.network.set_addresses("eni-nat-b", ["10.0.1.21", LANDING_A_ON_B])


def test_an_address_moves_to_whoever_is_told_last(vpc: Vpc) -> None:
    """The API may tell the new holder before the old one; the old one's loss must not take it away again."""
    for host, addresses in (("x", ["10.0.2.50", "10.0.2.77"]), ("y", ["10.0.2.51"])):
        vpc.network.add_interface(f"eni-{host}", "subnet-a", addresses)
        vpc.network.set_security_rules(f"eni-{host}", EVERYTHING, EVERYTHING)
    vpc.network.set_addresses("eni-y", ["10.0.2.51", "10.0.2.77"])
    vpc.network.set_addresses("eni-x", ["10.0.2.50"])
    vpc.network.boot("i-y", "eni-y", "#!/bin/bash\nip address add 10.0.2.77/32 dev ens5\n")
    with vpc.network.listen("i-y", "10.0.2.77", 5432):
        assert vpc.reaches("eni-db-a", "10.0.2.77", 5432)


def test_the_lab_itself_reaches_the_internet_without_the_vpc(quiet_vpc: Vpc) -> None:
    context = ssl.create_default_context(cafile=str(quiet_vpc.files.authority))
    with urllib.request.urlopen("https://203.0.113.11/", context=context, timeout=30) as response:
        assert response.read() == b"198.18.0.2\n"
    with urllib.request.urlopen("http://203.0.113.13/", timeout=30) as response:
        assert b"198.18.0.2" in response.read()


def test_a_private_host_sees_its_public_address_over_tls(quiet_vpc: Vpc) -> None:
    script = (
        "import ssl, sys, urllib.request as u; context = ssl.create_default_context(cafile=sys.argv[1]);"
        "print(u.urlopen('https://203.0.113.12/', context=context, timeout=30).read().decode())"
    )
    process = quiet_vpc.network.spawn(
        "eni-db-a", ["python", "-c", script, str(quiet_vpc.files.authority)], stdout=subprocess.PIPE, text=True
    )
    assert process.communicate(timeout=60)[0].split() == [ELASTIC_A]


def test_repeating_any_verb_is_harmless(vpc: Vpc) -> None:
    network = vpc.network
    for _ in range(2):
        network.add_route_table("rtb-a")
        network.add_subnet("subnet-a", CIDR_A, "rtb-a")
        network.use_route_table("subnet-a", "rtb-a")
        network.add_interface("eni-nat-a", "subnet-public", [NAT_A])
        network.set_addresses("eni-nat-a", [NAT_A])
        network.set_source_dest_check("eni-nat-a", False)
        network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-a")
        network.map_public_address(ELASTIC_A, NAT_A)
        network.boot("i-nat-a", "eni-nat-a", "")
        network.map_public_address("198.51.100.250", None)
        network.set_route("rtb-a", "192.0.2.0/24", None)
        assert vpc.reaches("eni-db-a")
    for _ in range(2):
        network.power_off("i-nat-a")
        network.delete_interface("eni-nat-a")
    assert vpc.attempt("eni-db-a") == "silent"


def test_a_new_nat_carries_traffic_as_soon_as_its_route_is_set(vpc: Vpc) -> None:
    vpc.add_nat("c", ["10.0.1.30"], NatProfile("a", (CIDR_A,)))
    vpc.network.map_public_address(ELASTIC_A, "10.0.1.30")
    vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-c")
    assert vpc.seen_from("eni-db-a")[0] == ELASTIC_A


@pytest.mark.usefixtures("no_vpc")
def test_closing_the_network_leaves_no_namespace_and_no_cable() -> None:
    with Network() as network:
        network.add_route_table("rtb-1")
        network.add_subnet("subnet-1", "10.0.1.0/24", "rtb-1")
        network.add_interface("eni-1", "subnet-1", ["10.0.1.9"])
        network.boot("i-1", "eni-1", "")
        network.spawn("i-1", ["sleep", "60"])
    assert subprocess.run(["ip", "netns", "list"], capture_output=True, check=True).stdout == b""
    assert subprocess.run(["ip", "-o", "link"], capture_output=True, check=True).stdout.count(b"\n") == 1  # loopback
