"""The verbs about what other people do, on virtual time: each has the effect that it names."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper_lab.scenario.file import parse
from natkeeper_lab.simulation.answers import instant
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.scenario.run import NOT_JUDGED, Outcome, Run
from natkeeper_lab.simulation.scenario.stage import Stage
from natkeeper_lab.simulation.setting import CANARY_ROUTE

LATER = timedelta(seconds=3500)


class Seen:
    """Plays one step at second 1 and looks at the world right after it."""

    def __init__(self, tmp_path: Path, steps: str, *, zones: str = "[a, b]", stack: str = "{}") -> None:
        path = tmp_path / "given.yaml"
        lines = "".join(f"  - {{at: {number}, do: {each}}}\n" for number, each in enumerate(steps.split("; "), 1))
        path.write_text(f"name: given\nwhy: a verb\nzones: {zones}\nstack: {stack}\ntimeline:\n{lines}expect: []\n")
        self.run = Run(parse(path), 1, lambda _line: None, {})
        self.looks: list[Any] = []

    @property
    def stage(self) -> Stage:
        return self.run.stage

    def after(self, look: Any, step: int = 1) -> Any:
        """What `look` sees when that step has been made."""
        made = [0]
        before = self.run.say

        def say(line: str) -> None:
            before(line)
            made[0] += 1
            if made[0] == step:
                self.stage.in_background(lambda: self.looks.append(look(self.stage)))

        self.run.say = say
        self.outcome: Outcome = self.run.play()
        return self.looks[0] if self.looks else None


def test_a_released_address_is_gone_and_packets_from_it_die(tmp_path: Path) -> None:
    def look(stage: Stage) -> tuple[Any, ...]:
        listed = [each["AllocationId"] for each in stage.world.answers.items("DescribeAddresses", 0)]
        nat = stage.initial["a"][0].interface
        assert nat is not None
        asked = {"AllocationId": "eipalloc-a", "NetworkInterfaceId": nat.interface_id, "PrivateIpAddress": nat.primary}
        with pytest.raises(ApiError) as refusal:
            stage.world.ec2.apply("AssociateAddress", asked)
        return listed, refusal.value.code, stage._path("a").why, stage._path("b").is_ok

    listed, code, why, others = Seen(tmp_path, "release_address, group: a").after(look)
    assert "eipalloc-a" not in listed
    assert "eipalloc-b" in listed
    assert (code, why, others) == ("InvalidAllocationID.NotFound", "no public address", True)


def test_an_address_is_released_once(tmp_path: Path) -> None:
    seen = Seen(tmp_path, "release_address, group: a; release_address, group: a")
    seen.after(lambda _stage: None)
    assert seen.outcome.code == NOT_JUDGED
    assert "is released already" in seen.outcome.void


@pytest.mark.parametrize(
    ("table", "probed", "associations"),
    [
        ("other", "203.0.113.251", ["subnet-private-a"]),
        ("main", "no route", ["subnet-private-a"]),
        ("none", "no route", []),
    ],
)
def test_a_subnet_on_another_table_takes_the_probers_packets_and_not_the_workloads(
    tmp_path: Path, table: str, probed: str, associations: list[str]
) -> None:
    def look(stage: Stage) -> tuple[Any, ...]:
        world = stage.world
        path, _canary = world.paths("a")
        tables = {each["RouteTableId"]: each for each in world.answers.items("DescribeRouteTables", 0)}
        wanted = tables["rtb-others" if table == "other" else "rtb-main"]["Associations"]
        named = [each["SubnetId"] for each in wanted if "SubnetId" in each]
        own = [each.get("SubnetId") for each in tables["rtb-a1"]["Associations"]]
        return path.address or path.why, stage._path("a").is_ok, named, own

    found = Seen(tmp_path, f"associate_subnet, group: a, table: {table}").after(look)
    assert found == (probed, True, associations, [])


def test_a_subnet_is_taken_off_its_table_once(tmp_path: Path) -> None:
    step = "associate_subnet, group: a, table: none"
    seen = Seen(tmp_path, f"{step}; {step}")
    seen.after(lambda _stage: None)
    assert seen.outcome.code == NOT_JUDGED
    assert "on no table by name already" in seen.outcome.void


def test_an_address_that_is_on_something_is_not_released(tmp_path: Path) -> None:
    ec2 = Seen(tmp_path, "resume").stage.world.ec2
    with pytest.raises(ApiError) as refusal:
        ec2.apply("ReleaseAddress", {"AllocationId": "eipalloc-a"})
    assert refusal.value.code == "InvalidIPAddress.InUse"


def test_blocked_public_access_cuts_instances_off_and_not_gateways(tmp_path: Path) -> None:
    def look(stage: Stage) -> tuple[Any, ...]:
        stage.world.ec2.set_route(stage.tables_of("b")[0], "nat-b")
        return stage._path("a").why, stage.world.paths("a")[1].is_ok, stage._path("b").is_ok  # type: ignore[union-attr]

    steps = "block_public_access; unblock_public_access"
    seen = Seen(tmp_path, steps, stack="{ZoneBNatGatewayId: lab}")
    assert seen.after(look) == ("public access blocked", False, True)
    again = Seen(tmp_path, steps, stack="{ZoneBNatGatewayId: lab}")
    assert again.after(lambda stage: stage._path("a").is_ok, 2) is True


def test_a_gateway_is_there_only_in_the_zone_that_has_one(tmp_path: Path) -> None:
    seen = Seen(tmp_path, "resume", stack="{ZoneANatGatewayId: lab}")
    assert [each.gateway_id for each in seen.stage.world.policy.groups] == ["nat-a", None]


@pytest.mark.parametrize("says", ["down", "up"])
def test_a_forged_report_reaches_the_controller_from_a_function_of_somebody_else(tmp_path: Path, says: str) -> None:
    woken: list[Any] = []

    def look(stage: Stage) -> Any:
        return [each for each in woken if "requestContext" in each][-1], instant(stage.world.hub.now)

    seen = Seen(tmp_path, f"forged_report, group: a, says: {says}, ahead: 3600")
    wake = seen.stage.world.functions.wake
    seen.stage.world.functions.wake = lambda event, *rest: (woken.append(event), wake(event, *rest))[1]  # type: ignore[method-assign]
    record, now = seen.after(look)
    report = record["responsePayload"]
    assert record["requestContext"]["functionArn"].endswith(":function:somebody-elses-function:$LATEST")
    assert (report["group"], [row[1] for row in report["rounds"]]) == ("a", [int(says == "up")] * 6)
    assert report["started_at"] > (now + LATER).isoformat()


@pytest.mark.parametrize("vpc", ["same", "other"])
def test_a_foreign_machine_carries_our_tags_and_can_be_told_by_where_it_is(tmp_path: Path, vpc: str) -> None:
    def look(stage: Stage) -> Any:
        shown = stage.world.answers.items("DescribeInstances", 0)
        ours, theirs = shown[0], shown[-1]
        tags = {each["Key"]: each["Value"] for each in theirs["Tags"]}
        names = ("natkeeper:stack", "natkeeper:group", "natkeeper:role")
        interface = theirs["NetworkInterfaces"][0]["NetworkInterfaceId"]
        route = {"RouteTableId": "rtb-b1", "DestinationCidrBlock": DEFAULT_ROUTE, "NetworkInterfaceId": interface}
        try:
            stage.world.ec2.apply("ReplaceRoute", route)
            refused = ""
        except ApiError as error:
            refused = error.code
        is_same = [ours[key] == theirs[key] for key in ("VpcId", "SubnetId", "SecurityGroups")]
        return [tags[each] for each in names], is_same, refused, len(stage.of("a", "standby"))

    tags, is_same, refused, listed = Seen(tmp_path, f"tag_foreign_instance, role: standby, vpc: {vpc}").after(look)
    assert tags == ["simulated", "a", "standby"]
    assert is_same == ([True, True, False] if vpc == "same" else [False, False, False])
    assert refused == ("" if vpc == "same" else "InvalidParameterValue")
    assert listed == 0


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("lease_until", "+3600", None),
        ("lease_until", "garbage", {"S": "garbage"}),
        ("holder", "somebody", {"S": "somebody"}),
        ("epoch", 3, {"N": "3"}),
        ("memory", "garbage", {"S": "garbage"}),
        ("paused_until", "+3600", None),
        ("failovers", "+3600", None),
        ("target", "garbage", "garbage"),
    ],
)
def test_the_ledger_says_what_it_is_made_to_say(tmp_path: Path, field: str, value: object, wanted: object) -> None:
    def look(stage: Stage) -> Any:
        return stage.world.table.items["group", "a"], instant(stage.world.hub.now)

    text = f"poison_ledger, target: ledger, group: a, field: {field}, value: {json.dumps(value)}"
    item, now = Seen(tmp_path, text).after(look)
    is_of_memory = field not in ("lease_until", "holder", "epoch", "memory")
    found = json.loads(item["memory"]["S"])[field] if is_of_memory else item[field]
    if field == "lease_until" and wanted is None:
        assert float(found["N"]) / 1000 > (now + LATER).timestamp()
    elif wanted is None:
        assert all(each > (now + LATER).isoformat() for each in ([found] if isinstance(found, str) else found))
    else:
        assert found == wanted


def test_what_holds_no_instant_cannot_be_given_one(tmp_path: Path) -> None:
    seen = Seen(tmp_path, "poison_ledger, group: a, field: target, value: '+5'")
    seen.after(lambda _stage: None)
    assert seen.outcome.code == NOT_JUDGED
    assert "target holds no instant" in seen.outcome.void


def test_a_full_connection_table_takes_no_new_connection(tmp_path: Path) -> None:
    def why(percent: int) -> str:
        seen = Seen(tmp_path, f"fill_conntrack, target: nat@a, percent: {percent}")
        return str(seen.after(lambda stage: stage._path("a").why))

    assert why(100) == "no new flows"
    assert why(60) == ""


def test_loss_follows_the_load_to_the_nat_that_gets_it(tmp_path: Path) -> None:
    def look(stage: Stage) -> list[float]:
        before = [stage._path(each).loss for each in "ab"]
        stage.world.ec2.set_route(stage.tables_of("a")[0], stage.initial["b"][0].interface.interface_id)  # type: ignore[union-attr]
        return [*before, stage._path("b").loss]

    limits = "limit_bandwidth, target: nat@a, megabits: {0}; limit_bandwidth, target: nat@b, megabits: {0}"
    load = Seen(tmp_path, "resume").stage.world.packets.loads["a"]
    alone_a, alone_b, both = Seen(tmp_path, limits.format(round(load * 1.2, 3))).after(look, 2)
    assert (alone_a, alone_b) == (0.0, 0.0)
    assert both == pytest.approx(1 - 0.6**0.5, abs=0.02)  # TCP offers less where it loses more
    small = Seen(tmp_path, limits.format(round(load / 10, 4))).after(look, 2)
    assert small[0] == pytest.approx(1 - 0.1**0.5, abs=0.02)


def test_the_canary_follows_the_probers_table_too(tmp_path: Path) -> None:
    def look(stage: Stage) -> Any:
        table = stage.world.ec2.tables["rtb-others"]
        assert table.taken(CANARY_ROUTE) is None
        return stage.world.paths("a")[1]

    assert Seen(tmp_path, "associate_subnet, group: a, table: other").after(look).address == "203.0.113.251"
