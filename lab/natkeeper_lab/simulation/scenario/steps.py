"""Every verb of a scenario's timeline, done to a world: instances, places, routes by hand, events.

Called by `simulation.scenario.run`. CannotJudge when a step cannot be made; that voids the run, as in the lab. The
verbs about the API, the controller and the operator are in `simulation.scenario.mishaps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from natkeeper.adapters.ec2_facts import STACK_TAG
from natkeeper_lab.scenario.file import Step, event_of
from natkeeper_lab.scenario.foreign import foreign_changes, foreign_ids
from natkeeper_lab.scenario.sight import CannotJudge
from natkeeper_lab.scenario.targets import PROBE_TARGETS, Target
from natkeeper_lab.scenario.vocabulary import STEPS
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE, Machine, Table
from natkeeper_lab.simulation.scenario import mishaps, others, paces
from natkeeper_lab.simulation.scenario.stage import Stage

RETIRES_IN = 300 * SECOND
"""How far ahead a retirement is announced: within natkeeper's notice, so that it matters now (as in the lab)."""
SPOT_NOTICE = 120 * SECOND
"""EC2 user guide, "Spot Instance interruption notices": two minutes."""
FULL = 100
"""Percent. With room left, a connection table turns nobody away."""


def take(stage: Stage, step: Step) -> None:
    """Does one step. Returns when it is done, not when it has had its effect."""
    stage.journal.is_by_hand = True
    try:
        VERBS[step.do](stage, step)
    except ApiError as error:
        raise CannotJudge(f"step {step.text} was refused: {error}") from error
    finally:
        stage.journal.is_by_hand = False


def _machine(stage: Stage, step: Step) -> Machine:
    assert step.target is not None
    return stage.machine(step.target)


def _group(step: Step) -> str:
    assert step.target is not None
    return step.target.group


# -- instances


def _start(stage: Stage, step: Step) -> None:
    """An instance that is still stopping is started as soon as EC2 takes the call."""
    found = _machine(stage, step)

    def run() -> None:
        deadline = stage.now() + stage.pace.stop + 10
        while found.state == "stopping" and stage.now() < deadline:
            stage.sleep(0.1)
        if not found.is_gone:
            stage.world.ec2.apply("StartInstances", {"InstanceIds": [found.instance_id]})

    stage.in_background(run)


def _reboot(stage: Stage, step: Step) -> None:
    """The `original`: the one that was there before the first step. Where it runs no more, there is nothing to do."""
    assert step.target is not None
    if not step.args["original"]:
        stage.world.ec2.reboot(_machine(stage, step))
        return
    found = stage.initial_of(step.target)
    if stage.state_of(found) == "running":
        stage.world.ec2.reboot(stage.world.ec2.machines[found])


def _guest(stage: Stage, step: Step, **state: Any) -> None:
    found = _machine(stage, step)
    if found.state != "running":
        raise CannotJudge(f"step {step.text}: {found.instance_id} is {found.state}, nothing runs on it")
    for key, value in state.items():
        setattr(found, key, value)
    stage.world.packets_changed()


def _check_on(stage: Stage, step: Step) -> None:
    interface = _machine(stage, step).interface
    if interface is None:
        raise CannotJudge(f"step {step.text}: it has no interface any more")
    interface.is_checked = True
    stage.world.ec2.on_change()


def _break_user_data(stage: Stage, step: Step) -> None:
    """Instances launched from now on boot without their script, or without rules; those there are keep theirs."""
    group, left_out = step.target.group if step.target else None, step.args["without"]
    stage.world.ec2.left_out = lambda zone: left_out if group in (None, zone) else ""


def _remove_tag(stage: Stage, step: Step) -> None:
    """Somebody tidied up tags: the one by which natkeeper knows its own instances."""
    _machine(stage, step).tags.pop(STACK_TAG, None)
    stage.world.ec2.on_change()


# -- places


def _zone_down(stage: Stage, step: Step) -> None:
    """The zone's NATs go silent, and EC2 has no machine to start or launch there; it still shows them as running."""
    zone, packets = _group(step), stage.world.packets
    packets.zones_down.add(zone)
    mishaps.refuse_capacity(stage, zones=(zone,), is_active=lambda: zone in packets.zones_down)
    stage.world.packets_changed()


def _zone_up(stage: Stage, step: Step) -> None:
    stage.world.packets.zones_down.discard(_group(step))
    stage.world.packets_changed()


def _block(stage: Stage, step: Step) -> None:
    stage.blocked |= _indexes(step)
    stage.world.packets.targets_down = len(stage.blocked)
    stage.world.packets_changed()


def _unblock(stage: Stage, step: Step) -> None:
    stage.blocked -= _indexes(step)
    stage.world.packets.targets_down = len(stage.blocked)
    stage.world.packets_changed()


def _indexes(step: Step) -> set[int]:
    target = step.target
    return {target.index} if target and target.kind == "probe_target" else set(range(PROBE_TARGETS))


# -- routes, by hand


def _table(stage: Stage, step: Step) -> str:
    assert step.target is not None
    return stage.tables_of(step.target.group)[step.target.index]


def _interface(stage: Stage, step: Step, target: Target) -> str:
    interface = stage.machine(target).interface
    if interface is None:
        raise CannotJudge(f"step {step.text}: {target.text} has no interface any more")
    return interface.interface_id


def _replace_route(stage: Stage, step: Step) -> None:
    stage.world.ec2.set_route(_table(stage, step), _interface(stage, step, step.args["to"]))


def _add_table(stage: Stage, step: Step) -> None:
    """A private route table that natkeeper was never told of, with a default route to the zone's NAT."""
    zone = step.target.group if step.target else stage.scenario.zones[0]
    target = _interface(stage, step, Target("active", zone, text=f"active@{zone}"))
    tables = stage.world.ec2.tables
    table_id = f"rtb-added{len(tables)}"
    tables[table_id] = Table(table_id, {DEFAULT_ROUTE: target})
    stage.world.ec2.on_change()


# -- events


def _send_event(stage: Stage, step: Step) -> None:
    """The envelope as it is: as AWS's to the controller, or as an operator's, waited for."""
    event = event_of(stage.scenario.path, step)
    if "detail-type" in event:
        stage.world.functions.wake(event)
    else:
        mishaps.wake(stage, event)


def _spot_warning(stage: Stage, step: Step) -> None:
    machine, world = _machine(stage, step), stage.world
    machine.is_spot_ending_at = world.hub.now + SPOT_NOTICE
    detail = {"instance-id": machine.instance_id, "instance-action": "terminate"}
    world.bus.publish("aws.ec2", "EC2 Spot Instance Interruption Warning", detail)
    world.hub.after(SPOT_NOTICE, lambda: world.ec2.terminate(machine), "spot")


def _rebalance(stage: Stage, step: Step) -> None:
    detail = {"instance-id": _machine(stage, step).instance_id}
    stage.world.bus.publish("aws.ec2", "EC2 Instance Rebalance Recommendation", detail)


def _health(stage: Stage, step: Step) -> None:
    """A retirement is confirmed by EC2 itself; any other notice is only a notice."""
    machine, code = _machine(stage, step), step.args["code"]
    if "RETIREMENT" in code:
        machine.is_doomed_at = stage.world.hub.now + RETIRES_IN
    entities = [{"entityValue": each} for each in (*foreign_ids(step.args["foreign"] or 0), machine.instance_id)]
    detail = {"service": "EC2", "eventTypeCode": code, "affectedEntities": entities}
    stage.world.bus.publish("aws.health", "AWS Health Event", detail)


def _foreign_events(stage: Stage, step: Step) -> None:
    """Other people's instances of the same account and region start and stop, at a steady rate from now on."""
    world = stage.world
    for number, (found, state) in enumerate(foreign_changes(step.args["count"])):
        delay = int(number / step.args["per_second"] * SECOND)
        world.hub.after(delay, lambda found=found, state=state: world.bus.state_changed(found, state), "foreign")  # type: ignore[misc]


VERBS: Mapping[str, Callable[[Stage, Step], None]] = {
    "stop_instance": lambda stage, step: stage.world.ec2.stop(_machine(stage, step)),
    "start_instance": _start,
    "terminate_instance": lambda stage, step: stage.world.ec2.terminate(_machine(stage, step)),
    "hang": lambda stage, step: _guest(stage, step, is_hung=True),
    "drop_forwarding": lambda stage, step: _guest(stage, step, is_forwarding=False),
    "flush_nat": lambda stage, step: _guest(stage, step, has_ruleset=False),
    "packet_loss": lambda stage, step: _guest(stage, step, loss=step.args["percent"] / 100),
    "enable_source_dest_check": _check_on,
    "break_user_data": _break_user_data,
    "zone_down": _zone_down,
    "zone_up": _zone_up,
    "block_probe_target": _block,
    "block_probe_targets": _block,
    "unblock": _unblock,
    "replace_route": _replace_route,
    "delete_route": lambda stage, step: stage.world.ec2.delete_route(_table(stage, step)),
    "add_table": _add_table,
    "lose_events": lambda stage, step: stage.world.bus.lose_events(step.args["count"]),
    "delay_events": lambda stage, step: stage.world.bus.delay_events(step.args["by"], step.args["count"]),
    "duplicate_events": lambda stage, step: stage.world.bus.duplicate_events(step.args["count"]),
    "shuffle_events": lambda stage, step: stage.world.bus.shuffle_events(step.args["count"]),
    "send_event": _send_event,
    "spot_warning": _spot_warning,
    "rebalance_recommendation": _rebalance,
    "health_event": _health,
    "remove_tag": _remove_tag,
    "foreign_events": _foreign_events,
    "reboot": _reboot,
    "limit_bandwidth": lambda stage, step: _guest(stage, step, megabits=step.args["megabits"]),
    "fill_conntrack": lambda stage, step: _guest(stage, step, takes_new_flows=step.args["percent"] < FULL),
    **mishaps.VERBS,
    **others.VERBS,
    **paces.VERBS,
}
assert VERBS.keys() == STEPS.keys()
