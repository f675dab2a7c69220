"""The controller's handler as Lambda calls it: every payload in events/, before the lab's API."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

from natkeeper.ports import OwnInstances
from natkeeper.probing import sockets
from natkeeper.settings import BadSettings
from natkeeper_lab.api import ApiOptions, FunctionResult
from tests.support.cloud import Cloud, environment, forget_cold_start, wait_for_answers

EVENTS = Path(__file__).resolve().parents[2] / "events"
ACCOUNT = "111122223333"
INSTANCE = "i-0a1b2c3d4e5f60718"
RUN_ID = "3f6c1a52-8a55-4d0b-9a51-64a3a2f0c7de"
NOT_EVIDENCE = {"probe-report-down", "operator-failover", "operator-pause"}
"""The payloads that say more than where to look; the others must leave a healthy stack as it is."""


@dataclass
class Context:
    """Lambda's, as far as the handler reads it."""

    aws_request_id: str = "8a1f6a52-0b1c-4f0e-9d37-2f6d7f0f4b11"
    account: str = ACCOUNT

    @property
    def invoked_function_arn(self) -> str:
        return f"arn:aws:lambda:us-east-1:{self.account}:function:controller"

    def get_remaining_time_in_millis(self) -> int:
        return 20_000


class Deployed:
    """A cloud whose controller is the handler's module, freshly imported."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.module: ModuleType = importlib.import_module("natkeeper.handlers.controller")
        cloud.controller = self.module.CONTROLLER
        cloud.seed()

    def wake(self, event: object, context: Context | None = None) -> dict[str, Any]:
        with redirect_stdout(self.cloud.output):
            answer: dict[str, Any] = self.module.handler(event, context or Context())
        json.dumps(answer)  # Lambda does
        return answer


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """For machines that stand still for a while: no test here is about time-outs."""
    with pytest.MonkeyPatch.context() as patch:
        wait_for_answers(patch, 60)
        yield


@pytest.fixture
def deployed() -> Iterator[Deployed]:
    with Cloud(2, 1, is_seeded=False) as cloud:
        yield Deployed(cloud)
    forget_cold_start()


@pytest.fixture(scope="class")
def resting() -> Iterator[Deployed]:
    """Shared by tests that leave it as it is."""
    with Cloud(2, 1, is_seeded=False) as cloud:
        yield Deployed(cloud)
    forget_cold_start()


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (EVENTS / folder).glob("*.json"))


def load(path: str, cloud: Cloud) -> Any:
    """The payload, about zone a's own NAT where it is about a NAT, and from its own prober where it is a report."""
    text = (EVENTS / f"{path}.json").read_text("utf-8").replace(INSTANCE, cloud.zones["a"].instance)
    return json.loads(text.replace("natkeeper-prober-", "prober-").replace(RUN_ID, cloud.started_run("a")))


class TestRefusals:
    @pytest.mark.parametrize("name", names("refused"))
    def test_foreign_or_malformed_payload_is_refused_with_a_warning_and_makes_no_call(
        self, name: str, resting: Deployed
    ) -> None:
        resting.cloud.forget()
        answer = resting.wake(load(f"refused/{name}", resting.cloud))
        assert list(answer) == ["refused"]
        assert resting.cloud.calls() == []
        (line,) = resting.cloud.logged(message="trigger refused")
        assert (line["level"], line["kind"]) == ("WARNING", "Foreign" if name.startswith("foreign") else "Malformed")
        assert line["why"] == answer["refused"]
        assert line["correlation_id"] == Context().aws_request_id
        assert resting.cloud.metrics() == []  # no heartbeat: nothing was looked at

    @pytest.mark.parametrize("garbage", [None, [], "wake up", 7, {}, {"natkeeper": None}, {"Records": []}])
    def test_garbage_is_refused_and_makes_no_call(self, garbage: object, resting: Deployed) -> None:
        resting.cloud.forget()
        assert list(resting.wake(garbage)) == ["refused"]
        assert resting.cloud.calls() == []


@pytest.mark.parametrize("name", [each for each in names("") if each not in NOT_EVIDENCE])
def test_payload_runs_a_pass_and_leaves_a_healthy_stack_as_it_is(name: str, deployed: Deployed) -> None:
    answer = deployed.wake(load(name, deployed.cloud))
    # A report that all is well asks nothing of EC2, and concerns its own group alone.
    is_calm = name == "probe-report-ended"
    assert set(answer["groups"]) == ({"a"} if is_calm else {"a", "b"})
    assert all(reasons for reasons in answer["groups"].values())
    cloud = deployed.cloud
    assert ("DescribeInstances" in {each.operation for each in cloud.calls()}) is not is_calm
    told = {"Publish"} if name == "operator-switchover" else set()  # that nothing is verified yet, so it is refused
    assert set(cloud.writes()) <= {"UpdateItem", "PutItem", "Invoke"} | told
    assert set(cloud.targets("a")) == {cloud.zones["a"].interface}
    assert len(cloud.logged(message="woken")) == 1
    assert [each for each in cloud.metrics() if "Passes" in each] != []


def test_a_control_probe_finds_its_tls_context_once_a_pass_is_over(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "_context", None)
    deployed.wake(load("schedule-tick", deployed.cloud))
    assert sockets._context is not None


def test_report_that_egress_is_down_moves_the_traffic_when_the_targets_answer_from_outside(deployed: Deployed) -> None:
    cloud = deployed.cloud
    event = load("probe-report-down", cloud)
    event["responsePayload"]["started_at"] = cloud.report("a", "+" * 13).rounds[0].sent_at.isoformat()
    event["responsePayload"]["egress_address"] = cloud.zones["a"].address
    assert "fail-over" in deployed.wake(event)["groups"]["a"]
    assert set(cloud.targets("a")) == {cloud.zones["b"].interface}
    assert [each["cause"] for each in cloud.incidents("a")] == ["probes-failed"]


def test_report_that_egress_is_down_moves_nothing_when_the_targets_are_down_for_everyone(deployed: Deployed) -> None:
    cloud = deployed.cloud
    cloud.is_internet_up = False
    event = load("probe-report-down", cloud)
    event["responsePayload"]["started_at"] = cloud.report("a", "+" * 13).rounds[0].sent_at.isoformat()
    assert deployed.wake(event)["groups"]["a"] == ["external"]
    assert set(cloud.targets("a")) == {cloud.zones["a"].interface}


def test_report_of_an_outage_long_over_moves_nothing(deployed: Deployed) -> None:
    """The payload as it is in events/: it was held up, and newer rounds have gone through since."""
    cloud = deployed.cloud
    deployed.wake(load("probe-report-down", cloud))
    assert set(cloud.targets("a")) == {cloud.zones["a"].interface}


def test_operator_moves_a_group_and_brings_it_home(deployed: Deployed) -> None:
    cloud = deployed.cloud
    assert deployed.wake(load("operator-failover", cloud))["groups"]["a"][0] == "operator-move"
    assert set(cloud.targets("a")) == {cloud.zones["b"].interface}
    assert deployed.wake(load("operator-switchover", cloud), Context("another"))["groups"]["a"][0] == "operator-move"
    assert set(cloud.targets("a")) == {cloud.zones["a"].interface}


def test_a_command_that_lambda_delivers_twice_is_obeyed_once(deployed: Deployed) -> None:
    for _ in range(2):
        deployed.wake(load("operator-failover", deployed.cloud))
        assert set(deployed.cloud.targets("a")) == {deployed.cloud.zones["b"].interface}


def test_paused_group_is_left_alone_until_it_is_resumed(deployed: Deployed) -> None:
    cloud = deployed.cloud
    deployed.wake(load("operator-pause", cloud))
    cloud.stop_nat("a")
    cloud.forget()
    event = load("ec2-state-change-stopping", cloud)
    assert deployed.wake(event)["groups"]["a"] == ["paused"]
    assert set(cloud.writes()) <= {"UpdateItem"}
    deployed.wake(load("operator-resume", cloud), Context("another"))
    assert set(cloud.targets("a")) == {cloud.zones["b"].interface}


@pytest.mark.parametrize("is_warm", [True, False])
def test_events_about_other_peoples_instances_make_no_call_to_ec2_and_no_write(
    is_warm: bool, deployed: Deployed
) -> None:
    """Real events of every kind that names an instance, to a process that has looked and to one that has just begun."""
    about_instances = [each for each in names("") if INSTANCE in (EVENTS / f"{each}.json").read_text("utf-8")]
    assert len(about_instances) >= 4
    cloud, module = deployed.cloud, deployed.module
    deployed.wake({"natkeeper": {"tick": True}})
    if not is_warm:
        module.CONTROLLER = replace(module.CONTROLLER, _own=OwnInstances())  # type: ignore[attr-defined]
    cloud.forget()
    for name in about_instances:
        event = json.loads((EVENTS / f"{name}.json").read_text("utf-8"))
        assert list(deployed.wake(event)) == ["ignored"]
    assert {each.operation for each in cloud.calls()} <= {"Query"}
    assert len(cloud.calls()) <= 1
    assert cloud.metrics() == []


def test_ec2s_own_event_reaches_the_handler_and_moves_the_traffic() -> None:
    """From StopInstances to the routes: through EventBridge's rule, with nobody's help."""
    options = ApiOptions(boot_seconds=0.02, stop_seconds=30, async_retry_seconds=0.02)
    with Cloud(2, 3, is_seeded=False, options=options) as cloud:
        deployed = Deployed(cloud)
        context = Context(account="123456789012")
        answered = threading.Event()

        def invoke(payload: bytes) -> FunctionResult:
            answer = deployed.wake(json.loads(payload), context)
            answered.set()
            return FunctionResult(json.dumps(answer).encode())

        arn = cloud.api.register_function("controller", invoke)
        events = boto3.client("events")
        pattern = {"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"]}
        events.put_rule(Name="states", EventPattern=json.dumps(pattern))
        events.put_targets(Rule="states", Targets=[{"Id": "controller", "Arn": arn}])
        cloud.ec2.stop_instances(InstanceIds=[cloud.zones["a"].instance])
        assert answered.wait(10)
        assert set(cloud.targets("a")) == {cloud.zones["b"].interface}
    forget_cold_start()


def test_what_is_not_one_of_the_four_troubles_goes_to_lambdas_retry(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(deployed.module.CONTROLLER._vpc, "look", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        deployed.wake({"natkeeper": {"tick": True}})
    assert [each for each in deployed.cloud.metrics() if "Passes" in each] == []


def test_bad_setting_stops_the_cold_start_and_is_named() -> None:
    with Cloud(1, 1, is_seeded=False) as cloud, environment({"NATKEEPER_PROBE_INTERVAL": "0"}):
        forget_cold_start()
        cloud.forget()
        with pytest.raises(BadSettings, match="NATKEEPER_PROBE_INTERVAL: 0 is out of range"):
            importlib.import_module("natkeeper.handlers.controller")
        assert cloud.calls() == []
    forget_cold_start()


def test_an_event_that_lambda_delivers_twice_holds_two_leases_not_one(deployed: Deployed) -> None:
    """Found by the simulation (seed 120): both passes took the lease, because they had one name for it."""
    holders = []
    for _ in range(2):
        deployed.wake(load("ec2-state-change-stopped", deployed.cloud))
        item = deployed.cloud.dynamodb.get_item(TableName="ledger", Key={"pk": {"S": "group"}, "sk": {"S": "a"}})[
            "Item"
        ]
        holders.append(item["holder"]["S"])
    assert holders[0] != holders[1]
    assert all(each.startswith(Context().aws_request_id) for each in holders)
