"""The rendered user data on a machine that boots: what it does to packets, and that it survives what happens to it."""

from __future__ import annotations

import re

import pytest

from natkeeper_lab.network import INTERNET
from tests.lab.vpc import CANARY, ELASTIC_A, ELASTIC_B, LANDING_A_ON_B, NAT_B, ask
from tests.vm.conftest import BOOT_SECONDS, MachineVpc, figure, until

pytestmark = pytest.mark.vm

NEW_LANDING, LATER_LANDING = "10.0.1.30", "10.0.1.140"
NEW_ELASTIC_A, NEW_ELASTIC_B = "198.51.100.11", "198.51.100.12"
REPAIR_SECONDS = 60.0  # emulated; a pass takes a second or two there
PASS_SECONDS = 130.0  # two of the timer's minutes


def assert_translates(vpc: MachineVpc, own: str, hosted: str) -> None:
    """Both groups leave from their own public address, with the ports they chose."""
    for where, public in (("eni-db-b", own), ("eni-db-a", hosted)):
        for _ in range(5):
            seen, port, own_port = vpc.seen_from(where)
            assert (seen, port) == (public, own_port)
    assert vpc.machine.seen("untranslated") == 0


def addresses(vpc: MachineVpc) -> dict[str, bool]:
    """The machine's addresses, and whether Linux calls each secondary. An address that is there twice is an error."""
    lines = vpc.run("ip -4 -o address show dev ens5").splitlines()
    found = [(re.findall(r"inet ([0-9.]+)/", line)[0], " secondary " in line) for line in lines]
    assert len(dict(found)) == len(found), lines
    return dict(found)


def active_since(vpc: MachineVpc, unit: str) -> float:
    """Seconds from the start of the machine's kernel."""
    return int(vpc.run(f"systemctl show --value --property ActiveEnterTimestampMonotonic {unit}")) / 1e6


def test_a_first_boot_forwards_own_and_hosted_traffic_from_their_addresses_with_their_ports(vpc: MachineVpc) -> None:
    vpc.until_forwarding("first boot")
    until(vpc.is_up, BOOT_SECONDS)
    assert_translates(vpc, ELASTIC_B, ELASTIC_A)
    assert vpc.seen_from("eni-db-a", CANARY)[0] == ELASTIC_B
    figure(f"guest memory, MB: {vpc.run('free -m').splitlines()[1]}")


def test_no_address_is_there_twice_and_the_primary_comes_first(vpc: MachineVpc) -> None:
    """cloud-init has set the secondary address as well, before DHCP had answered."""
    assert addresses(vpc) == {NAT_B: False, LANDING_A_ON_B: True}
    assert f"src {NAT_B}" in vpc.run("ip route get 10.0.1.99")
    assert LANDING_A_ON_B in vpc.run("cat /etc/netplan/50-cloud-init.yaml")


def test_a_small_machine_has_swap(vpc: MachineVpc) -> None:
    assert "/var/lib/natkeeper/swap" in vpc.run("cat /proc/swaps")


def test_nothing_was_installed(vpc: MachineVpc) -> None:
    assert vpc.run("find /var/lib/dpkg/info -name '*.list' -newer /etc/machine-id") == ""


def test_the_internet_gets_no_answer_to_what_nobody_asked_for(vpc: MachineVpc) -> None:
    for public in (ELASTIC_A, ELASTIC_B):
        for port in (22000, 443):
            assert vpc.attempt(INTERNET, public, port) == "silent"
    assert vpc.machine.seen("resets") == 0


def test_passes_without_a_reason_change_nothing_and_write_no_line(vpc: MachineVpc) -> None:
    """Each pass puts a setting back, so it is known to have been there; deleting any table asks for one."""
    rules = vpc.run("nft --stateless list ruleset")
    vpc.run("journalctl --sync")
    before = vpc.run("journalctl -b -o cat | wc -l")
    for _ in range(3):
        vpc.run("echo 1 >/proc/sys/net/ipv4/conf/ens5/send_redirects; nft 'add table ip other; delete table ip other'")
        until(lambda: vpc.run("cat /proc/sys/net/ipv4/conf/ens5/send_redirects") == "0", PASS_SECONDS)
    vpc.run("journalctl --sync")
    written = vpc.run(f"journalctl -b -o short-monotonic | tail -n +{int(before) + 1}")
    assert not [line for line in written.splitlines() if "natkeeper" in line]
    assert vpc.run("nft --stateless list ruleset") == rules


def test_a_pass_comes_once_a_minute_and_is_quiet(vpc: MachineVpc) -> None:
    vpc.run("echo 1 >/proc/sys/net/ipv4/conf/ens5/send_redirects")
    until(lambda: vpc.run("cat /proc/sys/net/ipv4/conf/ens5/send_redirects") == "0", PASS_SECONDS)
    assert "boot failed" not in vpc.run("journalctl -b -t natkeeper")


def test_nothing_leaves_untranslated_while_the_ruleset_is_gone(vpc: MachineVpc) -> None:
    vpc.run("systemctl stop natkeeper; nft flush ruleset")
    assert vpc.run("cat /proc/sys/net/ipv4/ip_forward") == "1"
    for where in ("eni-db-a", "eni-db-b"):
        assert vpc.attempt(where, seconds=1.0) == "silent"
    assert vpc.machine.seen("untranslated") == 0
    vpc.run("systemctl restart systemd-networkd")
    until(lambda: f"src {NAT_B}" in vpc.run("ip route show default"), REPAIR_SECONDS)
    assert vpc.attempt("eni-db-b", seconds=1.0) == "silent"
    assert vpc.machine.seen("untranslated") == 0
    vpc.run("systemctl start natkeeper")
    vpc.until_forwarding("service started again after a flush")
    assert_translates(vpc, ELASTIC_B, ELASTIC_A)
    assert addresses(vpc)[NAT_B] is False


def test_a_flushed_ruleset_comes_back_at_once_and_connections_live_on(vpc: MachineVpc) -> None:
    def times_loaded() -> int:
        """By whoever was first: the monitor, or a pass that was under way."""
        said = vpc.run("journalctl -b -t natkeeper")
        return said.count("somebody deleted the ruleset: loaded again") + said.count("ruleset loaded on")

    before = times_loaded()
    with vpc.answering("eni-db-a") as connection:
        vpc.run("nft flush ruleset")
        vpc.until_forwarding("ruleset flushed")
        assert ask(connection)[0] == ELASTIC_A
    until(lambda: times_loaded() > before, REPAIR_SECONDS)  # said when it forwards already
    assert vpc.machine.seen("untranslated") == 0


def test_all_is_back_after_a_reboot(vpc: MachineVpc) -> None:
    boot = vpc.run("cat /proc/sys/kernel/random/boot_id")
    vpc.run("systemctl --no-block reboot")
    until(lambda: vpc.attempt("eni-db-b") == "silent", BOOT_SECONDS)
    vpc.until_forwarding("reboot")
    until(vpc.is_up, BOOT_SECONDS)
    assert vpc.run("cat /proc/sys/kernel/random/boot_id") != boot
    assert_translates(vpc, ELASTIC_B, ELASTIC_A)
    until(lambda: vpc.run("systemctl is-active cloud-init.service") == "active", BOOT_SECONDS)
    until(lambda: addresses(vpc) == {NAT_B: False, LANDING_A_ON_B: True}, REPAIR_SECONDS)  # networkd came later
    assert "/var/lib/natkeeper/swap" in vpc.run("cat /proc/swaps")
    assert vpc.attempt(INTERNET, ELASTIC_B, 443) == "silent"
    service, target = (active_since(vpc, unit) for unit in ("natkeeper.service", "sysinit.target"))
    figure(f"reboot, by the machine's clock: service after {service:.1f} s, sysinit.target after {target:.1f} s")
    assert service < target  # a timer would have waited for that, and with it for cloud-init


def test_all_is_back_after_a_stop_and_a_start_with_other_addresses(vpc: MachineVpc) -> None:
    """A stopped instance keeps its primary address. Its public one changes, and secondary ones come and go."""
    vpc.network.power_off("i-nat-b")
    vpc.network.set_addresses("eni-nat-b", [NAT_B, NEW_LANDING])
    vpc.network.map_public_address(ELASTIC_A, None)
    vpc.network.map_public_address(ELASTIC_B, None)
    vpc.network.map_public_address(NEW_ELASTIC_A, NEW_LANDING)
    vpc.network.map_public_address(NEW_ELASTIC_B, NAT_B)
    vpc.start()
    vpc.until_forwarding("stop and start")
    until(vpc.is_up, BOOT_SECONDS)
    assert_translates(vpc, NEW_ELASTIC_B, NEW_ELASTIC_A)
    until(lambda: addresses(vpc) == {NAT_B: False, NEW_LANDING: True}, REPAIR_SECONDS)  # networkd came later
    assert vpc.attempt(INTERNET, NEW_ELASTIC_B, 443) == "silent"


def test_an_address_comes_and_goes_while_the_machine_runs(vpc: MachineVpc) -> None:
    """The other one stays: it is networkd's, by cloud-init's word."""
    vpc.network.set_addresses("eni-nat-b", [NAT_B, LATER_LANDING])
    vpc.network.map_public_address(NEW_ELASTIC_A, LATER_LANDING)
    came = until(lambda: LATER_LANDING in addresses(vpc), PASS_SECONDS)
    until(lambda: vpc.attempt("eni-db-a") == "ok", REPAIR_SECONDS)
    assert vpc.seen_from("eni-db-a")[0] == NEW_ELASTIC_A
    vpc.network.set_addresses("eni-nat-b", [NAT_B, NEW_LANDING])
    gone = until(lambda: LATER_LANDING not in addresses(vpc), PASS_SECONDS)
    figure(f"an address is there {came:.0f} s after metadata lists it, and gone {gone:.0f} s after it no longer does")
    assert addresses(vpc) == {NAT_B: False, NEW_LANDING: True}
    assert vpc.machine.seen("untranslated") == 0
