"""The verbs about zones, probe targets, and routes changed by hand."""

from __future__ import annotations

from collections.abc import Mapping

from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.hands import Hands
from natkeeper_lab.scenario.targets import PROBE_TARGETS, Target
from natkeeper_lab.scenario.verbs.aim import Verb, interface, table, target_of
from natkeeper_lab.scenario.verbs.aws import refuse_capacity


def _zone_down(hands: Hands, step: Step) -> None:
    """The zone's NATs go silent, and EC2 has no machine to start or launch there. EC2 still shows them as running, as
    it does at first; the private hosts stay, for it is their egress that is to be kept."""
    zone = target_of(step).group
    refuse_capacity(hands, zones=(zone,), is_active=lambda: zone in hands.zones_down)
    hands.set_zone(zone, is_down=True)


def _zone_up(hands: Hands, step: Step) -> None:
    hands.set_zone(target_of(step).group, is_down=False)


def _block(hands: Hands, step: Step) -> None:
    hands.block_targets(hands.blocked | _indexes(step))


def _unblock(hands: Hands, step: Step) -> None:
    hands.block_targets(hands.blocked - _indexes(step))


def _indexes(step: Step) -> set[int]:
    target = step.target
    return {target.index} if target and target.kind == "probe_target" else set(range(PROBE_TARGETS))


def _replace_route(hands: Hands, step: Step) -> None:
    _lead(hands, table(hands, step), interface(hands, step.args["to"]))


def _lead(hands: Hands, table_id: str, interface_id: str) -> None:
    call = "ReplaceRoute" if hands.sight.journal.targets.get(table_id) else "CreateRoute"
    hands.ec2(call, RouteTableId=table_id, DestinationCidrBlock=DEFAULT_ROUTE, NetworkInterfaceId=interface_id)


def _delete_route(hands: Hands, step: Step) -> None:
    hands.ec2("DeleteRoute", RouteTableId=table(hands, step), DestinationCidrBlock=DEFAULT_ROUTE)


def _add_table(hands: Hands, step: Step) -> None:
    """A private route table that natkeeper was never told of, with a default route to the zone's NAT."""
    zone = step.target.group if step.target else hands.sight.scenario.zones[0]
    to = interface(hands, Target("active", zone, text=f"active@{zone}"))
    _lead(hands, hands.ec2("CreateRouteTable", VpcId=hands.vpc)["RouteTable"]["RouteTableId"], to)


VERBS: Mapping[str, Verb] = {
    "zone_down": _zone_down,
    "zone_up": _zone_up,
    "block_probe_target": _block,
    "block_probe_targets": _block,
    "unblock": _unblock,
    "replace_route": _replace_route,
    "delete_route": _delete_route,
    "add_table": _add_table,
}
