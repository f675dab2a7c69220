"""Every verb of a scenario's timeline, done to a scene: instances, places, routes by hand, events.

Called by `scenario.run`. CannotJudge when a step cannot be made; that voids the run. The rest of the verbs, those
about the API, the controller and the operator, are in `scenario.mishaps`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from natkeeper.adapters import ec2_facts as adapter
from natkeeper_lab.api import Machine
from natkeeper_lab.network import TARGETS
from natkeeper_lab.scenario import mishaps, others, paces
from natkeeper_lab.scenario.file import Step, event_of
from natkeeper_lab.scenario.foreign import foreign_changes, foreign_ids
from natkeeper_lab.scenario.scene import CannotJudge, Scene
from natkeeper_lab.scenario.targets import Target
from natkeeper_lab.scenario.vocabulary import STEPS
from natkeeper_lab.stack import ANYWHERE

WITHOUT_RULES = "#!/bin/sh\necho 1 > /proc/sys/net/ipv4/ip_forward\nexit 0\n"
RETIRES_IN = timedelta(minutes=5)
"""How far ahead a retirement is announced: within natkeeper's notice, so that it matters now."""


def take(scene: Scene, step: Step) -> None:
    """Does one step. Returns when it is done, not when it has had its effect."""
    try:
        VERBS[step.do](scene, step)
    except ClientError as error:
        raise CannotJudge(f"step {step.text} was refused: {error}") from error


def _machine(scene: Scene, step: Step) -> Machine:
    assert step.target is not None
    return scene.machine(step.target)


# -- instances


def _stop(scene: Scene, step: Step) -> None:
    scene.stack.ec2.stop_instances(InstanceIds=[_machine(scene, step).instance_id])


def _terminate(scene: Scene, step: Step) -> None:
    scene.stack.ec2.terminate_instances(InstanceIds=[_machine(scene, step).instance_id])


def _start(scene: Scene, step: Step) -> None:
    """An instance that is still stopping is started as soon as EC2 takes the call."""
    found = _machine(scene, step)

    def run() -> None:
        deadline = time.monotonic() + scene.pace.stop + 10
        while time.monotonic() < deadline:
            try:
                scene.stack.ec2.start_instances(InstanceIds=[found.instance_id])
                return
            except ClientError:
                time.sleep(0.1)

    threading.Thread(target=run, daemon=True).start()


def _reboot(scene: Scene, step: Step) -> None:
    """The `original`: the one that was there before the first step. Where it runs no more, there is nothing to do."""
    if step.args["original"]:
        assert step.target is not None
        found = scene.initial_of(step.target)
        if scene.state_of(found) != "running":
            return
    else:
        found = _machine(scene, step).instance_id
    scene.stack.ec2.reboot_instances(InstanceIds=[found])


def _packets(scene: Scene, step: Step, change: Callable[[str], None]) -> None:
    found = _machine(scene, step)
    try:
        change(found.instance_id)
    except KeyError:
        raise CannotJudge(f"step {step.text}: {found.instance_id} is {found.state}, nothing runs on it") from None


def _check_on(scene: Scene, step: Step) -> None:
    scene.stack.set_source_dest_check(_machine(scene, step).instance_id, True)


def _break_user_data(scene: Scene, step: Step) -> None:
    """The next launches boot without their script, or with one that ends well and has loaded no rule."""
    group = step.target.group if step.target else None
    instead = "" if step.args["without"] == "script" else WITHOUT_RULES
    scene.stack.api.break_user_data(lambda each: group is None or each == group, instead)


def _remove_tag(scene: Scene, step: Step) -> None:
    """Somebody tidied up tags: the one by which natkeeper knows its own instances."""
    found = _machine(scene, step)
    scene.stack.ec2.delete_tags(Resources=[found.instance_id], Tags=[{"Key": adapter.STACK_TAG}])


# -- places


def _zone_down(scene: Scene, step: Step) -> None:
    """The zone's NATs go silent, and EC2 has no machine to start or launch there. EC2 still shows them as running, as
    it does at first; the private hosts stay, for it is their egress that is to be kept."""
    assert step.target is not None
    zone = step.target.group
    scene.down.add(zone)
    mishaps.refuse_capacity(scene, zones=(zone,), is_active=lambda: zone in scene.down)
    for each in _nats(scene, zone):
        scene.stack.network.hang(each)


def _zone_up(scene: Scene, step: Step) -> None:
    assert step.target is not None
    scene.down.discard(step.target.group)
    for each in _nats(scene, step.target.group):
        scene.stack.network.unhang(each)


def _nats(scene: Scene, zone: str) -> list[str]:
    name = f"{scene.stack.choices.api.region}{zone}"
    return [
        each.instance_id
        for each in scene.stack.api.machines()
        if each.zone == name
        and adapter.GROUP_TAG in each.tags
        and each.state in ("running", "stopping", "shutting-down")
        if scene.stack.network.is_on(each.instance_id)
    ]


def _block(scene: Scene, step: Step) -> None:
    target = step.target
    scene.blocked |= {target.index} if target and target.kind == "probe_target" else set(range(len(TARGETS)))
    scene.stack.network.block([TARGETS[each] for each in sorted(scene.blocked)])


def _unblock(scene: Scene, step: Step) -> None:
    target = step.target
    scene.blocked -= {target.index} if target and target.kind == "probe_target" else set(range(len(TARGETS)))
    scene.stack.network.block([TARGETS[each] for each in sorted(scene.blocked)])


# -- routes, by hand


def _replace_route(scene: Scene, step: Step) -> None:
    to = step.args["to"]
    assert isinstance(to, Target)
    assert step.target is not None
    table = scene.table(step.target)
    call = scene.stack.ec2.replace_route if scene.journal.targets[table] else scene.stack.ec2.create_route
    call(RouteTableId=table, DestinationCidrBlock=ANYWHERE, NetworkInterfaceId=scene.machine(to).interface)


def _delete_route(scene: Scene, step: Step) -> None:
    assert step.target is not None
    scene.stack.ec2.delete_route(RouteTableId=scene.table(step.target), DestinationCidrBlock=ANYWHERE)


def _add_table(scene: Scene, step: Step) -> None:
    """A private route table that natkeeper was never told of, with a default route to the zone's NAT."""
    zone = step.target.group if step.target else scene.scenario.zones[0]
    table = scene.stack.ec2.create_route_table(VpcId=scene.stack.vpc)["RouteTable"]["RouteTableId"]
    interface = scene.machine(Target("active", zone, text=f"active@{zone}")).interface
    scene.stack.ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, NetworkInterfaceId=interface)


# -- events


def _send_event(scene: Scene, step: Step) -> None:
    """The envelope as it is. On the bus if it is an event of AWS's, else straight to the controller."""
    event = event_of(scene.scenario.path, step)
    if "detail-type" in event:
        scene.stack.api.deliver(event)
    else:
        mishaps.wake(scene, event)


def _spot_warning(scene: Scene, step: Step) -> None:
    scene.stack.api.mark_spot(_machine(scene, step).instance_id, "marked-for-termination")


def _rebalance(scene: Scene, step: Step) -> None:
    found = _machine(scene, step).instance_id
    _announce(scene, "EC2 Instance Rebalance Recommendation", {"instance-id": found})


def _health(scene: Scene, step: Step) -> None:
    """A retirement is confirmed by EC2 itself; any other notice is only a notice. AWS names every affected instance of
    the account, in no order that anybody could rely on: ours comes last."""
    found, code = _machine(scene, step).instance_id, step.args["code"]
    others = foreign_ids(step.args["foreign"] or 0)
    scene.stack.api.know_foreign(others)
    if "RETIREMENT" in code:
        scene.stack.api.schedule_retirement(found, datetime.now(UTC) + RETIRES_IN, others)
        return
    entities = [{"entityValue": each} for each in (*others, found)]
    detail = {"service": "EC2", "eventTypeCode": code, "affectedEntities": entities}
    _announce(scene, "AWS Health Event", detail, "aws.health")


def _foreign_events(scene: Scene, step: Step) -> None:
    """Other people's instances of the same account and region start and stop, at a steady rate from now on."""
    count, pause = step.args["count"], 1 / step.args["per_second"]

    def run() -> None:
        began = time.monotonic()
        for number, (found, state) in enumerate(foreign_changes(count)):
            time.sleep(max(0.0, began + number * pause - time.monotonic()))
            if scene.is_closing:
                return
            scene.stack.api.change_state_of_foreign(found, state)

    threading.Thread(target=run, daemon=True).start()


def _announce(scene: Scene, kind: str, detail: Mapping[str, Any], source: str = "aws.ec2") -> None:
    scene.stack.api.emit(kind, dict(detail), source=source)


VERBS: Mapping[str, Callable[[Scene, Step], None]] = {
    "stop_instance": _stop,
    "start_instance": _start,
    "terminate_instance": _terminate,
    "hang": lambda scene, step: _packets(scene, step, scene.stack.network.hang),
    "drop_forwarding": lambda scene, step: _packets(scene, step, scene.stack.network.drop_forwarding),
    "flush_nat": lambda scene, step: _packets(scene, step, scene.stack.network.flush_nat),
    "packet_loss": lambda scene, step: _packets(
        scene, step, lambda each: scene.stack.network.packet_loss(each, step.args["percent"])
    ),
    "enable_source_dest_check": _check_on,
    "break_user_data": _break_user_data,
    "zone_down": _zone_down,
    "zone_up": _zone_up,
    "block_probe_target": _block,
    "block_probe_targets": _block,
    "unblock": _unblock,
    "replace_route": _replace_route,
    "delete_route": _delete_route,
    "add_table": _add_table,
    "lose_events": lambda scene, step: scene.stack.api.lose_events(step.args["count"]),
    "delay_events": lambda scene, step: scene.stack.api.delay_events(step.args["by"], step.args["count"]),
    "duplicate_events": lambda scene, step: scene.stack.api.duplicate_events(step.args["count"]),
    "shuffle_events": lambda scene, step: scene.stack.api.shuffle_events(step.args["count"]),
    "send_event": _send_event,
    "spot_warning": _spot_warning,
    "rebalance_recommendation": _rebalance,
    "health_event": _health,
    "remove_tag": _remove_tag,
    "foreign_events": _foreign_events,
    "reboot": _reboot,
    "limit_bandwidth": lambda scene, step: _packets(
        scene, step, lambda each: scene.stack.network.limit_bandwidth(each, step.args["megabits"])
    ),
    "fill_conntrack": lambda scene, step: _packets(
        scene, step, lambda each: scene.stack.network.fill_conntrack(each, step.args["percent"])
    ),
    **mishaps.VERBS,
    **others.VERBS,
    **paces.VERBS,
}
assert VERBS.keys() == STEPS.keys()
