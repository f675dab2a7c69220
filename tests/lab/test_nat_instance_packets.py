"""The script that boots on EC2, booted: what the NAT does to packets."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from natkeeper.nat_instance import NatProfile, render_user_data
from natkeeper_lab.network import INTERNET, BootResult
from natkeeper_lab.packets import SecurityRule
from tests.lab.vpc import (
    CANARY,
    CIDR_A,
    ELASTIC_A,
    ELASTIC_B,
    EVERYTHING,
    FROM_PRIVATE,
    LANDING_A_ON_B,
    NAT_A,
    Vpc,
    ask,
)

pytestmark = pytest.mark.packets


def inside(vpc: Vpc, where: str, *argv: str) -> str:
    process = vpc.network.spawn(where, argv, stdout=subprocess.PIPE, text=True)
    return str(process.communicate(timeout=60)[0])


def dropped(vpc: Vpc, comment: str, where: str = "i-nat-a") -> int:
    """Packets counted by the rule with that comment."""
    (line,) = [line for line in inside(vpc, where, "nft", "list", "ruleset").splitlines() if comment in line]
    return int(line.split("packets ")[1].split()[0])


def boot_again(vpc: Vpc, script: str) -> BootResult:
    """A first boot with another script."""
    vpc.network.power_off("i-nat-a")
    vpc.network.forget("i-nat-a")
    vpc.network.boot("i-nat-a", "eni-nat-a", script)
    return vpc.network.boot_result("i-nat-a")


def test_forwards_and_the_far_end_sees_the_elastic_address(quiet_vpc: Vpc) -> None:
    assert quiet_vpc.seen_from("eni-db-a")[0] == ELASTIC_A
    assert quiet_vpc.seen_from("eni-db-b")[0] == ELASTIC_B


def test_keeps_the_source_port(quiet_vpc: Vpc) -> None:
    for _ in range(20):
        _, seen, own = quiet_vpc.seen_from("eni-db-a")
        assert seen == own


def test_web_profile_forwards_nothing_but_80_and_443(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.set_security_rules("eni-nat-a", EVERYTHING, EVERYTHING)
    before = dropped(quiet_vpc, "not ours to forward")
    assert quiet_vpc.reaches("eni-db-a", port=80)
    assert quiet_vpc.attempt("eni-db-a", port=8080) == "silent"
    assert dropped(quiet_vpc, "not ours to forward") > before
    quiet_vpc.network.set_security_rules("eni-nat-a", FROM_PRIVATE, EVERYTHING)


def test_all_profile_forwards_any_port(vpc: Vpc) -> None:
    vpc.network.set_security_rules("eni-nat-a", EVERYTHING, EVERYTHING)
    assert boot_again(vpc, render_user_data(NatProfile("a", (CIDR_A,)))).is_ok
    assert vpc.attempt("eni-db-a", port=8080) == "ConnectionRefusedError"  # the far end's own answer


def test_unsolicited_packets_from_the_internet_vanish_without_a_reset(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.set_security_rules("eni-nat-a", EVERYTHING, EVERYTHING)
    before = dropped(quiet_vpc, "unsolicited")
    for port in (443, 22000):
        assert quiet_vpc.attempt(INTERNET, ELASTIC_A, port) == "silent"
    assert dropped(quiet_vpc, "unsolicited") > before
    quiet_vpc.network.set_security_rules("eni-nat-a", FROM_PRIVATE, EVERYTHING)


def test_refuses_to_forward_towards_the_private_side(vpc: Vpc) -> None:
    """100.64/16 is outside this VPC, so the router does hand packets for it to the NAT."""
    vpc.network.set_security_rules("eni-nat-a", EVERYTHING, EVERYTHING)
    assert boot_again(vpc, render_user_data(NatProfile("a", (CIDR_A,), (("100.64.0.0/16",),)))).is_ok
    assert vpc.attempt("eni-db-a", "100.64.0.5") == "silent"
    assert dropped(vpc, "towards the private side") > 0
    assert vpc.attempt("eni-db-a", "192.168.7.7") == "silent"
    assert dropped(vpc, "not on the internet") > 0


def test_forwards_nothing_for_a_group_it_does_not_host(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.set_route("rtb-b", "0.0.0.0/0", "eni-nat-a")
    assert quiet_vpc.attempt("eni-db-b") == "silent"
    quiet_vpc.network.set_route("rtb-b", "0.0.0.0/0", "eni-nat-b")


def test_canary_leaves_from_the_primary_address_while_a_hosted_group_leaves_from_its_landing(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.map_public_address(ELASTIC_A, LANDING_A_ON_B)
    quiet_vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-b")
    assert quiet_vpc.seen_from("eni-db-a")[0] == ELASTIC_A
    assert quiet_vpc.seen_from("eni-db-a", CANARY)[0] == ELASTIC_B
    assert quiet_vpc.seen_from("eni-db-b")[0] == ELASTIC_B
    quiet_vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-a")
    quiet_vpc.network.map_public_address(ELASTIC_A, NAT_A)


def test_hosted_group_without_an_address_of_its_own_leaves_from_the_primary(vpc: Vpc) -> None:
    vpc.network.set_addresses("eni-nat-b", ["10.0.1.21"])
    assert vpc.network.run_user_data("i-nat-b").is_ok
    vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-b")
    assert vpc.seen_from("eni-db-a")[0] == ELASTIC_B


def test_secondary_addresses_are_taken_in_numeric_order(vpc: Vpc) -> None:
    vpc.network.set_addresses("eni-nat-b", ["10.0.1.21", "10.0.1.200", "10.0.1.30"])
    assert vpc.network.run_user_data("i-nat-b").is_ok
    vpc.network.map_public_address(ELASTIC_A, "10.0.1.30")
    vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-b")
    assert vpc.seen_from("eni-db-a")[0] == ELASTIC_A


def test_running_the_script_again_changes_nothing_and_disturbs_no_connection(vpc: Vpc) -> None:
    def state() -> list[str]:
        rules = inside(vpc, "i-nat-a", "nft", "--stateless", "list", "ruleset")
        return [rules, inside(vpc, "i-nat-a", "ip", "-4", "-o", "address")]

    before = state()
    with vpc.answering("eni-db-a") as connection:
        for _ in range(3):
            assert vpc.network.run_user_data("i-nat-a").is_ok
            assert ask(connection)[0] == ELASTIC_A
    assert state() == before


def test_running_the_script_again_repairs_flushed_rules(vpc: Vpc) -> None:
    vpc.network.flush_nat("i-nat-a")
    assert vpc.attempt("eni-db-a") == "silent"
    assert vpc.network.run_user_data("i-nat-a").is_ok
    assert vpc.reaches("eni-db-a")


@contextmanager
def counting(vpc: Vpc, where: str) -> Iterator[Callable[[], int]]:
    """How many packets with a private host's source leave a guest, by a table of the test's own."""
    table = (
        "{ chain leaving { type filter hook postrouting priority 300; ip saddr 10.0.2.0/23 counter comment leaks; }; }"
    )
    inside(vpc, where, "nft", f"add table ip test; table ip test {table}")
    yield lambda: dropped(vpc, '"leaks"', where)
    inside(vpc, where, "nft", "delete table ip test")


def test_nothing_leaves_untranslated_after_the_ruleset_was_flushed(vpc: Vpc) -> None:
    vpc.network.flush_nat("i-nat-a")
    with counting(vpc, "i-nat-a") as leaks:
        assert inside(vpc, "i-nat-a", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"
        assert vpc.attempt("eni-db-a") == "silent"
        assert leaks() == 0
        inside(vpc, "i-nat-a", "ip", "rule", "delete", "pref", "101")
        assert vpc.attempt("eni-db-a") == "silent"  # the gateway knows no such source
        assert leaks() > 0  # so the counter counts


def addresses_of(vpc: Vpc, instance_id: str) -> list[str]:
    """Address and prefix length, and "secondary" where Linux calls them that."""
    lines = inside(vpc, instance_id, "ip", "-4", "-o", "address", "show", "dev", "ens5").splitlines()
    return sorted(line.split()[3] + (" secondary" if " secondary " in line else "") for line in lines)


def test_an_address_that_cloud_init_has_set_is_neither_set_again_nor_before_the_primary(vpc: Vpc) -> None:
    inside(vpc, "i-nat-b", "ip", "address", "flush", "dev", "ens5")
    for address in (f"{LANDING_A_ON_B}/24", "10.0.1.21/24"):
        inside(vpc, "i-nat-b", "ip", "address", "add", address, "dev", "ens5")
    inside(vpc, "i-nat-b", "ip", "route", "add", "default", "via", "10.0.1.1", "dev", "ens5", "src", "10.0.1.21")
    assert addresses_of(vpc, "i-nat-b") == [f"{LANDING_A_ON_B}/24", "10.0.1.21/24 secondary"]
    for _ in range(2):
        assert vpc.network.run_user_data("i-nat-b").is_ok
        assert addresses_of(vpc, "i-nat-b") == [f"{LANDING_A_ON_B}/24 secondary", "10.0.1.21/24"]
    assert vpc.seen_from("eni-db-b")[0] == ELASTIC_B


def test_an_address_that_was_set_twice_is_left_to_who_else_has_set_it(vpc: Vpc) -> None:
    inside(vpc, "i-nat-b", "ip", "address", "add", f"{LANDING_A_ON_B}/24", "dev", "ens5")
    assert vpc.network.run_user_data("i-nat-b").is_ok
    assert addresses_of(vpc, "i-nat-b") == [f"{LANDING_A_ON_B}/24 secondary", "10.0.1.21/24"]


def test_an_address_that_metadata_no_longer_lists_goes_and_others_stay(vpc: Vpc) -> None:
    inside(vpc, "i-nat-b", "ip", "address", "add", "10.0.1.77/32", "dev", "ens5")
    vpc.network.set_addresses("eni-nat-b", ["10.0.1.21", "10.0.1.30"])
    assert vpc.network.run_user_data("i-nat-b").is_ok
    assert addresses_of(vpc, "i-nat-b") == ["10.0.1.21/24", "10.0.1.30/32", "10.0.1.77/32"]
    vpc.network.set_addresses("eni-nat-b", ["10.0.1.21"])
    assert vpc.network.run_user_data("i-nat-b").is_ok
    assert addresses_of(vpc, "i-nat-b") == ["10.0.1.21/24", "10.0.1.77/32"]


def test_connection_tracking_is_set_up_to_pick_up_moved_connections(quiet_vpc: Vpc) -> None:
    keys = {
        "net/ipv4/ip_forward": "1",
        "net/ipv4/conf/ens5/rp_filter": "0",
        "net/ipv4/conf/all/rp_filter": "0",
        "net/ipv4/conf/ens5/send_redirects": "0",
        "net/netfilter/nf_conntrack_tcp_loose": "1",
        "net/netfilter/nf_conntrack_tcp_be_liberal": "1",
    }
    read = inside(quiet_vpc, "i-nat-a", "cat", *(f"/proc/sys/{key}" for key in keys))
    assert dict(zip(keys, read.split(), strict=True)) == keys


def test_a_boot_without_instance_metadata_fails_and_says_so(vpc: Vpc) -> None:
    script = render_user_data(NatProfile("a", (CIDR_A,)))
    lost = script.replace("http://169.254.169.254", "http://127.0.0.1:9").replace("--retry 8", "--retry 0")
    result = boot_again(vpc, lost)
    assert result.exit_code == 1
    assert "natkeeper[a]: boot failed: no instance metadata token" in result.console
    assert inside(vpc, "i-nat-a", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"


def test_user_data_cannot_write_to_this_machine(vpc: Vpc) -> None:
    places = ("/etc", "/usr/local/bin", "/var", "/home", "/tmp", "/run", str(Path(__file__).parent))
    files = [Path(place, f"natkeeper-escaped-{os.getpid()}") for place in places]
    result = boot_again(vpc, "\n".join(["#!/bin/bash", *(f"echo escaped > {file}" for file in files)]))
    assert f"{files[0]}: Read-only file system" in result.console
    assert not [file for file in files if file.exists()]


def test_the_boot_script_leaves_its_state_to_the_guest_alone(quiet_vpc: Vpc) -> None:
    assert quiet_vpc.network.boot_result("i-nat-a").is_ok
    assert not Path("/var/lib/natkeeper").exists()
    assert not Path("/etc/systemd/system/natkeeper.timer").exists()


def test_private_hosts_may_ping_the_nat_and_the_internet_may_not(quiet_vpc: Vpc) -> None:
    quiet_vpc.network.set_security_rules("eni-nat-a", [SecurityRule("0.0.0.0/0", "icmp", -1, -1)], EVERYTHING)
    assert answers_ping(quiet_vpc, "eni-db-a", "10.0.1.20")
    assert not answers_ping(quiet_vpc, INTERNET, ELASTIC_A)
    quiet_vpc.network.set_security_rules("eni-nat-a", FROM_PRIVATE, EVERYTHING)


def answers_ping(vpc: Vpc, where: str, address: str) -> bool:
    code = """
import socket, struct, sys
ping = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
ping.settimeout(0.4)
body = struct.pack("!BBHHH", 8, 0, 0, 7, 7)
total = sum(struct.unpack("!4H", body))
ping.sendto(struct.pack("!BBHHH", 8, 0, 0xFFFF & ~total, 7, 7), (sys.argv[1], 0))
while ping.recvfrom(99)[0][20] != 0: pass
"""
    process: subprocess.Popen[Any] = vpc.network.spawn(
        where, ["python", "-c", code, address], stderr=subprocess.DEVNULL
    )
    return process.wait(60) == 0


def test_a_guest_switched_off_in_the_middle_of_its_boot_ends_the_boot(vpc: Vpc) -> None:
    for moment in (0.3, 1.0, 5.0, 20.0):  # until this machine is fast enough for the script to begin by then
        vpc.network.power_off("i-nat-a")
        vpc.network.forget("i-nat-a")
        booting = threading.Thread(
            target=vpc.network.boot, args=("i-nat-a", "eni-nat-a", "#!/bin/bash\necho up\nsleep 60\n")
        )
        booting.start()
        time.sleep(moment)
        vpc.network.power_off("i-nat-a")
        booting.join(30)
        assert not booting.is_alive()
        assert vpc.network.boot_result("i-nat-a").exit_code == -9
        if vpc.network.console_output("i-nat-a"):
            break
    assert vpc.network.console_output("i-nat-a") == "up\n"


def test_running_the_script_again_picks_up_an_address_assigned_later(vpc: Vpc) -> None:
    vpc.network.set_addresses("eni-nat-b", ["10.0.1.21"])
    vpc.network.power_off("i-nat-b")
    vpc.network.boot("i-nat-b", "eni-nat-b", vpc.user_data["i-nat-b"])
    vpc.network.set_addresses("eni-nat-b", ["10.0.1.21", LANDING_A_ON_B])
    assert vpc.network.run_user_data("i-nat-b").is_ok
    vpc.network.map_public_address(ELASTIC_A, LANDING_A_ON_B)
    vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-b")
    assert vpc.seen_from("eni-db-a")[0] == ELASTIC_A


def test_a_later_boot_runs_what_the_first_installed_and_not_the_user_data(vpc: Vpc) -> None:
    vpc.network.power_off("i-nat-a")
    vpc.network.boot("i-nat-a", "eni-nat-a", "#!/bin/bash\nexit 3\n")
    assert vpc.network.boot_result("i-nat-a").is_ok
    assert vpc.seen_from("eni-db-a")[0] == ELASTIC_A


def test_user_data_that_installed_nothing_is_not_run_at_a_later_boot(vpc: Vpc) -> None:
    assert boot_again(vpc, "#!/bin/bash\nexit 0\n").is_ok
    vpc.network.power_off("i-nat-a")
    vpc.network.boot("i-nat-a", "eni-nat-a", vpc.user_data["i-nat-a"])
    assert vpc.attempt("eni-db-a") == "silent"


def test_a_timeout_says_so_instead_of_hanging_the_lab(vpc: Vpc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natkeeper_lab.network.guest.USER_DATA_SECONDS", 0.3)
    began = time.monotonic()
    result = boot_again(vpc, "#!/bin/bash\nsleep 600\n")
    assert not result.is_ok
    assert "killed after" in result.console
    assert time.monotonic() - began < 60
