"""The verbs about what other people do, with real packets: each has the effect that it names.

natkeeper is deployed and not switched on, so that nothing but the verb happens.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from natkeeper_lab.network import WEB
from natkeeper_lab.scenario.file import parse
from natkeeper_lab.scenario.scene import CannotJudge, Scene
from natkeeper_lab.scenario.verbs import take
from natkeeper_lab.stack import ANYWHERE
from natkeeper_lab.vpc import address_of

pytestmark = [pytest.mark.packets, pytest.mark.usefixtures("no_vpc")]
HEAD = """\
name: verbs
why: each verb by itself
zones: [a, b]
stack: {ZoneBNatGatewayId: lab}
timeline:
  - {at: 9, do: associate_subnet, group: a, table: none}
"""
Do = Callable[[str], None]


@pytest.fixture
def no_vpc() -> None:
    """Nothing to close here; the name keeps these tests in line with those of tests/lab."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    path = tmp_path_factory.mktemp("verbs") / "verbs.yaml"
    path.write_text(HEAD)
    found = Scene(parse(path), 10.0)
    yield found
    found.is_closing = True
    found.stack.close()


@pytest.fixture
def do(scene: Scene, tmp_path: Path) -> Do:
    def step(text: str) -> None:
        path = tmp_path / "step.yaml"
        path.write_text(HEAD + f"  - {{at: 1, do: {text}}}\n")
        take(scene.hands, parse(path).timeline[0])

    return step


def from_the_prober(scene: Scene, group: str) -> str | None:
    """Whom the far end sees the prober's host as."""
    host = scene.stack.groups[group].prober_host
    process = scene.stack.network.spawn(
        host, ["curl", "-sS", "--max-time", "1", f"http://{WEB}/"], stdout=-1, text=True
    )
    said = process.communicate()[0]
    return said.split("came from ")[1].split()[0] if "came from " in said else None


def home(scene: Scene, group: str) -> None:
    parts = scene.stack.groups[group]
    interface = scene.stack.interface_of(parts.nat)
    scene.stack.ec2.replace_route(
        RouteTableId=parts.tables[0], DestinationCidrBlock=ANYWHERE, NetworkInterfaceId=interface
    )


def test_a_gateway_carries_packets_from_an_address_of_its_own(scene: Scene) -> None:
    parts = scene.stack.groups["b"]
    assert json.loads(scene.stack.environment["NATKEEPER_GROUP_B"])["gateway"] == parts.gateway
    assert json.loads(scene.stack.environment["NATKEEPER_GROUP_A"])["gateway"] == ""
    scene.stack.ec2.replace_route(
        RouteTableId=parts.tables[0], DestinationCidrBlock=ANYWHERE, NatGatewayId=parts.gateway
    )
    listed = scene.stack.ec2.describe_nat_gateways()["NatGateways"][0]["NatGatewayAddresses"][0]
    assert scene.fetch("b") == listed["PublicIp"] != parts.address
    assert scene.journal.where("b") == "gateway"
    home(scene, "b")
    assert (scene.fetch("b"), scene.journal.where("b")) == (parts.address, "home")


def test_blocked_public_access_cuts_instances_off_and_not_gateways(scene: Scene, do: Do) -> None:
    parts = scene.stack.groups["b"]
    do("block_public_access")
    assert (scene.fetch("a"), scene.fetch("b")) == (None, None)
    scene.stack.ec2.replace_route(
        RouteTableId=parts.tables[0], DestinationCidrBlock=ANYWHERE, NatGatewayId=parts.gateway
    )
    assert scene.fetch("b") is not None
    home(scene, "b")
    do("unblock_public_access")
    assert (scene.fetch("a"), scene.fetch("b")) == (scene.stack.groups["a"].address, parts.address)


def test_a_subnet_on_another_table_takes_the_probers_packets_and_not_the_workloads(scene: Scene, do: Do) -> None:
    own = scene.stack.groups["a"].address
    assert from_the_prober(scene, "a") == own
    do("associate_subnet, group: a, table: other")
    assert from_the_prober(scene, "a") not in (None, own)
    for table in ("main", "none"):
        do(f"associate_subnet, group: a, table: {table}")
        assert from_the_prober(scene, "a") is None
        assert scene.fetch("a") == own
    with pytest.raises(CannotJudge, match="on no table by name already"):
        do("associate_subnet, group: a, table: none")
    do("associate_subnet, group: a, table: other")
    assert from_the_prober(scene, "a") not in (None, own)


def test_a_nat_that_is_too_small_loses_what_is_above_it(scene: Scene, do: Do) -> None:
    host = scene.stack.groups["b"].host

    def lost() -> int:
        """Of 60 pages at once, 3 s each: 0.4 Mbit with all that belongs to them."""
        asked = ["--parallel", "--parallel-immediate", "--max-time", "3", f"http://{WEB}/?[1-60]"]
        process = scene.stack.network.spawn(
            host, ["curl", "-s", *asked, "-o", "/dev/null", "-w", "%{http_code} "], stdout=-1, text=True
        )
        return 60 - process.communicate()[0].count("200 ")

    assert lost() == 0
    do("limit_bandwidth, target: nat@b, megabits: 0.02")
    assert lost() > 20
    do("limit_bandwidth, target: nat@b, megabits: 1000")
    assert lost() == 0


def test_a_full_connection_table_takes_no_new_connection_and_keeps_the_old(scene: Scene, do: Do) -> None:
    host = scene.stack.groups["b"].host
    do("fill_conntrack, target: nat@b, percent: 60")
    assert scene.fetch("b") is not None
    old = scene.stack.network.connect(host, WEB, 80)
    do("fill_conntrack, target: nat@b, percent: 100")
    assert scene.fetch("b") is None
    old.sendall(b"GET / HTTP/1.0\r\n\r\n")
    old.settimeout(2)
    assert b"came from" in old.recv(4096) + old.recv(4096)
    do("fill_conntrack, target: nat@b, percent: 0")
    assert scene.fetch("b") is not None


@pytest.mark.parametrize("vpc", ["same", "other"])
def test_a_foreign_machine_carries_our_tags_and_can_be_told_by_where_it_is(scene: Scene, do: Do, vpc: str) -> None:
    known = {each.instance_id for each in scene.stack.api.machines()}
    do(f"tag_foreign_instance, role: standby, vpc: {vpc}")
    scene.until("it", lambda: bool({each.instance_id for each in scene.stack.api.machines()} - known), 5)
    (theirs,) = {each.instance_id for each in scene.stack.api.machines()} - known
    scene.stack.wait_for(theirs, "running")
    scene.until("its check to be off", lambda: not scene.stack.describe(theirs)["SourceDestCheck"], 5)
    ours, found = scene.stack.describe(scene.stack.groups["a"].nat), scene.stack.describe(theirs)
    tags = {each["Key"]: each["Value"] for each in found["Tags"]}
    assert [tags[each] for each in ("natkeeper:stack", "natkeeper:group", "natkeeper:role")] == [
        "story",
        "a",
        "standby",
    ]
    is_same = [ours[key] == found[key] for key in ("VpcId", "SubnetId", "SecurityGroups")]
    assert is_same == ([True, True, False] if vpc == "same" else [False, False, False])
    assert scene.of("a", "standby") == []
    if vpc == "same":
        table, interface = scene.stack.groups["b"].tables[0], found["NetworkInterfaces"][0]
        scene.stack.ec2.replace_route(
            RouteTableId=table, DestinationCidrBlock=ANYWHERE, NetworkInterfaceId=interface["NetworkInterfaceId"]
        )
        assert scene.fetch("b") == interface["Association"]["PublicIp"]
        home(scene, "b")


@pytest.mark.parametrize("says", ["down", "up"])
def test_a_forged_report_reaches_the_controller_from_a_function_of_somebody_else(
    scene: Scene, do: Do, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[Any] = []
    monkeypatch.setattr(scene.hands, "wake", woken.append)
    do(f"forged_report, group: a, says: {says}, ahead: 3600")
    scene.until("the record", lambda: bool(woken), 2)
    record, report = woken[0], woken[0]["responsePayload"]
    assert record["requestContext"]["functionArn"].endswith(":function:somebody-elses-function:$LATEST")
    assert (report["group"], [row[1] for row in report["rounds"]]) == ("a", [int(says == "up")] * 6)
    assert report["started_at"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 3500))


def test_the_ledger_says_what_it_is_made_to_say(scene: Scene, do: Do) -> None:
    with pytest.raises(CannotJudge, match="no item of zone a yet"):
        do("poison_ledger, group: a, field: epoch, value: 3")
    key, table = {"pk": {"S": "group"}, "sk": {"S": "a"}}, scene.stack.ledger
    scene.stack.dynamodb.put_item(TableName=table, Item={**key, "lease_until": {"N": "0"}, "epoch": {"N": "1"}})

    def item() -> dict[str, Any]:
        return dict(scene.stack.dynamodb.get_item(TableName=table, Key=key)["Item"])

    do("poison_ledger, target: ledger, group: a, field: paused_until, value: '+3600'")
    assert json.loads(item()["memory"]["S"])["paused_until"] > time.strftime("%Y-%m-%dT%H", time.gmtime())
    do("poison_ledger, target: ledger, group: a, field: memory, value: garbage")
    assert item()["memory"] == {"S": "garbage"}
    do("poison_ledger, target: ledger, group: a, field: lease_until, value: '+3600'")
    assert int(item()["lease_until"]["N"]) / 1000 > time.time() + 3500


def test_a_released_address_is_gone_and_packets_from_it_die(scene: Scene, do: Do) -> None:
    """The last one: there is no way back."""
    parts, other = scene.stack.groups["a"], scene.stack.groups["b"]
    interface = scene.stack.interface_of(parts.nat)
    assert scene.fetch("a") == parts.address
    do("release_address, group: a")
    assert address_of(scene.stack.ec2, parts.allocation) == {}
    with pytest.raises(ClientError) as refused:
        scene.stack.ec2.associate_address(AllocationId=parts.allocation, NetworkInterfaceId=interface)
    assert refused.value.response["Error"]["Code"] == "InvalidAllocationID.NotFound"
    assert (scene.fetch("a"), scene.fetch("b")) == (None, other.address)
    with pytest.raises(CannotJudge, match="is released already"):
        do("release_address, group: a")
    with pytest.raises(CannotJudge, match="is released already"):
        do("disassociate_address, group: a")
    assert scene.topology()["groups"]["a"]["address"].endswith("on nothing")
