"""What wakes the controller is late, lost, forged, or too much. Rows of the fault table."""

from __future__ import annotations

from typing import Any

from natkeeper_lab.simulation.faults.table import Act, fault
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import ACCOUNT, REGION

STATE_CHANGE = "EC2 Instance State-change Notification"


def _event(detail: Any, **changed: Any) -> dict[str, Any]:
    event = {"version": "0", "source": "aws.ec2", "detail-type": STATE_CHANGE, "account": ACCOUNT, "region": REGION}
    return {**event, "detail": detail, **changed}


@fault(
    "event-twice",
    "Events",
    complicates=True,
    sees="nothing",
    does="the second pass finds nothing to do",
    never="acts twice on one event",
)
def _twice(act: Act) -> None:
    act.world.bus.twice += act.dice.randint(1, 6)


@fault(
    "event-out-of-order",
    "Events",
    complicates=True,
    sees="nothing",
    does="looks: what EC2 shows counts, not the order of the events",
    never="believes the newest event",
)
def _shuffled(act: Act) -> None:
    act.world.bus.late += [act.dice.randrange(0, 30 * SECOND) for _ in range(act.dice.randint(2, 8))]


@fault(
    "event-late",
    "Events",
    complicates=True,
    sees="failover by packets after three seconds, or by the minute's tick, instead of by the event",
    does="finds the outage by itself; an event of ten minutes ago changes nothing",
    never="takes an old event for news",
)
def _late(act: Act) -> None:
    act.world.bus.late += [600 * SECOND] * act.dice.randint(1, 4)


@fault(
    "event-lost",
    "Events",
    complicates=True,
    weight=4,
    sees="failover by packets after three seconds instead of by the event",
    does="the prober's next report or the minute's tick runs the same pass",
    never="depends on an event",
)
def _lost(act: Act) -> None:
    act.world.bus.lost += act.dice.randint(1, 8)


@fault(
    "event-burst",
    "Events",
    complicates=True,
    weight=1,
    sees="nothing, or a failover a moment later: its news waits in the inbox of the pass that has the lease",
    does="each pass takes a lease or leaves its news; at rest none of them writes to EC2",
    never="makes EC2 throttle its failover by its own looking",
)
def _burst(act: Act) -> None:
    world = act.world
    machine = act.dice.choice(list(world.ec2.machines.values()) or [act.foreign("a")])
    act.fired("event-burst")
    for _ in range(act.dice.choice((8, 16, 30))):  # 30 are more than an inbox takes
        world.bus.state_changed(machine.instance_id, machine.state)


@fault(
    "foreign-events",
    "Events",
    complicates=True,
    weight=2,
    sees="nothing",
    does="knows its own instances by the ledger, and answers for all others without a call to EC2 and without a write",
    never="looks, takes a lease or leaves news because of somebody else's instance",
)
def _crowd(act: Act) -> None:
    world, dice = act.world, act.dice
    act.fired("foreign-events")
    a_second = dice.choice((10, 30, 100))
    for number in range(2 * a_second):
        detail = {"instance-id": foreign_id(number), "state": dice.choice(("pending", "running", "terminated"))}
        at = number * SECOND // a_second
        world.hub.after(at, lambda detail=detail: world.functions.wake(_event(detail)), "crowd")  # type: ignore[misc]


def foreign_id(number: int) -> str:
    """An instance of the account that is none of the stack's."""
    return f"i-{0xF0000000000000000 + number:017x}"


@fault(
    "health-notice-of-hundreds",
    "Events",
    complicates=True,
    weight=2,
    sees="nothing, or a planned move where one of the stack's own is among them and EC2 confirms it",
    does="asks EC2 about its own instances only, at most a hundred a call; a status call that fails leaves the look "
    "known, and the notice to be asked about again",
    never="becomes blind by a notice that names the whole account's instances, or keeps their ids",
)
def _notice_of_hundreds(act: Act) -> None:
    found = act.running(act.group())
    act.fired("health-notice-of-hundreds")
    ids = [foreign_id(number) for number in range(act.dice.choice((101, 700)))]
    if found and act.dice.random() < 0.5:
        ids.insert(len(ids) // 2, found[0].instance_id)
    notice = _notice(act, "")
    notice["detail"]["affectedEntities"] = [{"entityValue": each} for each in ids]
    for _ in range(act.dice.randint(1, 3)):  # AWS Health sends one event for each page
        act.world.functions.wake(notice)


@fault(
    "event-malformed",
    "Events",
    complicates=True,
    sees="a warning in the log that names the field",
    does="refuses it and answers, so that nothing retries it",
    never="guesses what was meant",
)
def _malformed(act: Act) -> None:
    broken: list[Any] = [
        None, [], "stopped", {}, {"natkeeper": {"command": "pause", "minutes": -1}}, _event({"state": "stopped"}),
        _event({"instance-id": "i-1", "state": "gone"}), _event("running"), {"natkeeper": {"tick": "yes"}},
        {"requestPayload": {"group": "a"}, "requestContext": {"functionArn": "x"}},
    ]  # fmt: skip
    act.fired("event-malformed")
    for each in act.dice.sample(broken, 3):
        act.world.functions.wake(each)


@fault(
    "event-forged",
    "Events",
    complicates=True,
    weight=3,
    sees="nothing",
    does="looks, and finds the NAT running; of a notice it asks EC2, which knows nothing of it",
    never="moves because an event says that a NAT died, or that AWS will take it",
)
def _forged(act: Act) -> None:
    act.fired("event-forged")
    for machine in act.running():
        forge = act.dice.choice((_end, _end, _warning, _notice))
        act.world.functions.wake(forge(act, machine.instance_id))


def _end(act: Act, instance_id: str) -> dict[str, Any]:
    state = act.dice.choice(("stopping", "stopped", "shutting-down", "terminated"))
    return _event({"instance-id": instance_id, "state": state})


def _warning(_act: Act, instance_id: str) -> dict[str, Any]:
    detail = {"instance-id": instance_id, "instance-action": "terminate"}
    return _event(detail, **{"detail-type": "EC2 Spot Instance Interruption Warning"})


def _notice(_act: Act, instance_id: str) -> dict[str, Any]:
    detail = {
        "service": "EC2",
        "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
        "affectedEntities": [{"entityValue": instance_id}],
    }
    return _event(detail, source="aws.health", **{"detail-type": "AWS Health Event"})


@fault(
    "event-foreign",
    "Events",
    complicates=True,
    sees="a warning in the log",
    does="refuses another account's, region's or service's event",
    never="looks because of it",
)
def _foreign(act: Act) -> None:
    act.fired("event-foreign")
    detail = {"instance-id": "i-0123456789abcdef0", "state": "terminated"}
    act.world.functions.wake(_event(detail, account="999988887777"))
    act.world.functions.wake(_event(detail, region="eu-west-3"))
    act.world.functions.wake({"source": "aws.s3", "detail-type": "Object Created", "detail": {}})


@fault(
    "schedule-disabled",
    "Events",
    complicates=True,
    sees="`controller-silent` if nothing else wakes it",
    does="goes on by events and by the probers' results, which start the next run",
    never="stops watching while its chain of runs is whole",
)
def _schedule(act: Act) -> None:
    act.world.bus.no_ticks_until = act.ends_at


@fault(
    "retirement-announced",
    "Events",
    weight=3,
    sees="a planned move, in good time",
    does="asks EC2 what is scheduled, and moves the traffic ten minutes before",
    never="moves because of the notice alone",
)
def _retirement(act: Act) -> None:
    world = act.world
    found = act.running(act.group())
    if not found:
        return
    machine = found[0]
    machine.is_doomed_at = world.hub.now + 300 * SECOND
    act.fired("retirement-announced")
    notice = _notice(act, machine.instance_id)
    world.bus.emit(notice["detail-type"], notice["detail"], source=notice["source"])
    world.hub.after(300 * SECOND, lambda: world.ec2.terminate(machine), "retired")


@fault(
    "rebalance-recommended",
    "Events",
    complicates=True,
    sees="nothing",
    does="looks; a recommendation announces nothing",
    never="leaves a healthy NAT for it",
)
def _rebalance(act: Act) -> None:
    found = act.running(act.group())
    if found:
        act.fired("rebalance-recommended")
        detail = {"instance-id": found[0].instance_id}
        act.world.bus.emit("EC2 Instance Rebalance Recommendation", detail)
