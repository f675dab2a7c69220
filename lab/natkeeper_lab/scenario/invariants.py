"""The invariants that can be judged from outside, held against every API call that natkeeper makes.

Called by `scenario.run`; listens to the API. Judged here, by the numbers of docs/invariants.md:

1   a default route is only moved to an interface of this VPC whose instance runs and whose source/dest check is off,
    except by a decision `last-resort` of that group
8   an instance that carries a group's traffic is not stopped or terminated
9   the last running NAT is not stopped or terminated
10  a decision `cannot-look` carries no action but starting a watch run
13  no more failovers and launches than MaxFailoversPerHour and MaxLaunchesPerDay
14  at most one replacement in flight per group
15  only the stack's own route tables (default route and canary), addresses and instances are written to
16  paused means no write for that group
19  each incident opens once and closes once
22  at the end: no address, interface or instance that is nobody's

The others cannot be judged from outside (18 is, by `incidents {contain_truth}`). The core's tests and the simulation
judge those.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from natkeeper.adapters import ec2_facts as adapter
from natkeeper_lab.api import Call, Machine
from natkeeper_lab.network import CANARY
from natkeeper_lab.scenario.foreign import is_theirs
from natkeeper_lab.scenario.journal import GONE
from natkeeper_lab.scenario.scene import Scene
from natkeeper_lab.scenario.sight import Line
from natkeeper_lab.stack import ANYWHERE

GRACE = 2.0
"""An instance may stop between natkeeper's look and its call, and a look may be a little old."""
DECIDED = 10.0
"""Seconds between a decision and the calls that carry it out, at most."""
SAMPLE = 0.25
OWN_ROUTES = (ANYWHERE, f"{CANARY}/32", "1.0.0.1/32")


class Invariants:
    """Listens from the moment it is made; `broken` says what did not hold."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._broken: list[tuple[float, str]] = []
        self._last_resorts: list[tuple[float, str, str]] = []
        self._not_running_since: dict[str, float] = {}
        self._pauses: dict[str, float] = {}
        self._ending = threading.Event()
        self._addresses = {each["AllocationId"] for each in scene.stack.ec2.describe_addresses()["Addresses"]}
        self.counts: list[tuple[float, str, int]] = []
        """When, which group, how many instances that are not gone."""
        scene.stack.api.watch(self._on_call, lambda _event, _fate: None)
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the sampling."""
        self._ending.set()
        self._thread.join(timeout=2)

    def paused(self, group: str | None, *, is_paused: bool) -> None:
        """An operator's word, told by the runner once the controller has taken it."""
        for each in self._scene.scenario.zones if group is None else (group,):
            if is_paused:
                self._pauses[each] = time.monotonic()
            else:
                self._pauses.pop(each, None)

    # -- listening

    def _sample(self) -> None:
        while not self._ending.wait(SAMPLE):
            self._note(self._scene.stack.api.machines())

    def _note(self, machines: list[Machine]) -> None:
        now = time.monotonic()
        alive = [each for each in machines if each.state not in GONE and _is_natkeepers(each)]
        for group in self._scene.scenario.zones:
            own = [each for each in alive if each.tags[adapter.GROUP_TAG] == group]
            self.counts.append((now, group, len(own)))
            nats = [each for each in own if each.tags.get(adapter.ROLE_TAG) == "nat" and each.state == "pending"]
            known = {each.instance_id for each in self._scene.initial.get(group, [])}
            fresh = [each.instance_id for each in nats if each.instance_id not in known]
            if len(fresh) > 1:
                self._break(now, 14, f"two replacements in flight for zone {group}: {', '.join(fresh)}")
        for each in machines:
            if each.state == "running":
                self._not_running_since.pop(each.instance_id, None)
            else:
                self._not_running_since.setdefault(each.instance_id, now)

    def _on_call(self, call: Call) -> None:
        if call.is_by_hand or call.service != "ec2" or call.error_code or call.operation not in _JUDGED:
            return
        machines = self._scene.stack.api.machines()
        self._note(machines)
        _JUDGED[call.operation](self, call, machines)
        for group in self._scene.journal.groups_of(call):
            since = self._pauses.get(group)
            if since is not None and call.started_at > since + GRACE:
                self._break(call.ended_at, 16, f"{call.operation} for zone {group}, which is paused")

    def _route(self, call: Call, machines: list[Machine]) -> None:
        table, destination = str(call.params.get("RouteTableId")), call.params.get("DestinationCidrBlock")
        group = self._scene.journal.group_of_table(table)
        if not group or destination not in OWN_ROUTES:
            self._break(call.ended_at, 15, f"{call.operation} on {table} {destination}, which is not natkeeper's")
            return
        if destination != ANYWHERE:
            return
        target = call.params.get("NetworkInterfaceId")
        if call.params.get("NatGatewayId"):
            self._gateway(call, group)
            return
        owner = next((each for each in machines if each.interface == target), None)
        if owner is not None and is_theirs(owner.tags):
            self._break(call.ended_at, 15, f"{call.operation} to {owner.instance_id}, which is not natkeeper's")
        if owner is None or owner.is_checked or self._is_long_dead(owner):
            state = (
                "nobody's"
                if owner is None
                else f"{owner.state}, source/dest check {'on' if owner.is_checked else 'off'}"
            )
            self._last_resorts.append((call.ended_at, group, f"{call.operation} to {target}, which is {state}"))

    def _gateway(self, call: Call, group: str) -> None:
        wanted, given = call.params["NatGatewayId"], self._scene.stack.groups[group].gateway
        if wanted != given:
            self._break(call.ended_at, 15, f"{call.operation} to {wanted}, which is not zone {group}'s")

    def _is_long_dead(self, machine: Machine) -> bool:
        since = self._not_running_since.get(machine.instance_id)
        return since is not None and time.monotonic() - since > GRACE + self._scene.stale_seconds

    def _end(self, call: Call, machines: list[Machine]) -> None:
        journal = self._scene.journal
        ids = [str(each) for each in call.params.get("InstanceIds", [])]
        nats = [each for each in machines if each.tags.get(adapter.ROLE_TAG) in ("nat", "standby")]
        nats = [each for each in nats if not is_theirs(each.tags)]
        running = [each for each in nats if each.state == "running" and each.instance_id not in ids]
        for each in (each for each in machines if each.instance_id in ids):
            if adapter.STACK_TAG not in each.tags or is_theirs(each.tags):
                self._break(call.ended_at, 15, f"{call.operation} of {each.instance_id}, which is not natkeeper's")
            if each.interface and each.interface in journal.targets.values():
                self._break(call.ended_at, 8, f"{call.operation} of {each.instance_id}, which carries traffic")
            if not running:
                self._break(call.ended_at, 9, f"{call.operation} of {each.instance_id}, the last NAT")

    def _proving(self, call: Call, machines: list[Machine]) -> None:
        """Another group's traffic leaves from a secondary address; the NAT's own would leave from this one."""
        target, journal = call.params.get("NetworkInterfaceId"), self._scene.journal
        carried = {journal.group_of_table(table) for table, each in journal.targets.items() if each == target}
        borrowed = [each for each in journal.decisions() if each.fields["reason_code"] == "borrow-address"]
        if any(each.fields["group"] in carried for each in borrowed):
            return  # it stands in for an Elastic IP that is gone or refused
        if any(each.interface == target and each.tags.get(adapter.GROUP_TAG) in carried for each in machines):
            self._break(call.ended_at, 8, "the proving address is put on a NAT that carries its own group")

    def _address(self, call: Call, machines: list[Machine]) -> None:
        stack, asked = self._scene.stack, call.params.get("AllocationId")
        proving = stack.settings.policy.proving
        if proving is not None and asked == proving.allocation_id:
            self._proving(call, machines)
        elif asked not in {each.allocation for each in stack.groups.values()}:
            self._break(call.ended_at, 15, f"{call.operation} of an address that is not natkeeper's")

    def _interface(self, call: Call, machines: list[Machine]) -> None:
        owner = next((each for each in machines if each.interface == call.params.get("NetworkInterfaceId")), None)
        if owner is not None and not _is_natkeepers(owner):
            self._break(call.ended_at, 15, f"{call.operation} of {owner.instance_id}, which is not natkeeper's")

    def _break(self, at: float, number: int, what: str) -> None:
        self._broken.append((at, f"invariant {number}: {what}"))

    # -- at the end

    def broken(self) -> list[str]:
        """Everything that did not hold, once each."""
        decisions = self._scene.journal.decisions()
        found = [*self._broken, *self._unexcused(decisions), *self._by_log(decisions), *self._leaks()]
        texts = [f"{text} (at {self._scene.seconds(at):.2f} s)" for at, text in sorted(found)]
        return list({text.partition(" (at")[0]: text for text in reversed(texts)}.values())[::-1]

    def _unexcused(self, decisions: list[Line]) -> list[tuple[float, str]]:
        last = [(each.at, each.fields["group"]) for each in decisions if each.fields["reason_code"] == "last-resort"]
        return [
            (at, f"invariant 1: {text}")
            for at, group, text in self._last_resorts
            if not any(whose == group and abs(when - at) < DECIDED for when, whose in last)
        ]

    def _by_log(self, decisions: list[Line]) -> list[tuple[float, str]]:
        found: list[tuple[float, str]] = []
        moves: Counter[str] = Counter()
        limit = float(self._scene.scenario.stack.get("MaxFailoversPerHour", 6))
        for each in decisions:
            reason, group = each.fields["reason_code"], each.fields["group"]
            actions = [one["action"] for one in each.fields["actions"] if one["action"] != "StartWatch"]
            if reason in ("cannot-look", "paused") and actions:
                number = 10 if reason == "cannot-look" else 16
                found.append((each.at, f"invariant {number}: a decision {reason} for zone {group} carries {actions}"))
            moves[group] += reason in ("fail-over", "last-resort")
            if moves[group] > limit and reason == "last-resort":  # what is proven is gone to beyond it (30)
                found.append((each.at, f"invariant 13: more than {limit:g} failovers of zone {group}"))
        opened = Counter(
            line.fields.get("incident")
            for line in self._scene.journal.lines()
            if line.fields.get("message") == "incident opened"
        )
        found += [
            (self._scene.zero, f"invariant 19: {name} opened {count} times")
            for name, count in opened.items()
            if count > 1
        ]
        return found + self._launches()

    def _launches(self) -> list[tuple[float, str]]:
        limit = float(self._scene.scenario.stack.get("MaxLaunchesPerDay", 6))
        calls = [
            each for each in self._scene.journal.writes() if each.operation == "RunInstances" and not each.error_code
        ]
        tokens = {
            (group, str(each.params.get("ClientToken")))
            for each in calls
            for group in self._scene.journal.groups_of(each)
        }
        counted = Counter(group for group, _ in tokens)
        return [
            (self._scene.zero, f"invariant 13: {count} launches for zone {group}, {limit:g} are allowed")
            for group, count in counted.items()
            if count > limit
        ]

    def _leaks(self) -> list[tuple[float, str]]:
        now, ec2 = time.monotonic(), self._scene.stack.ec2
        found = [each["AllocationId"] for each in ec2.describe_addresses()["Addresses"]]
        leaks = [f"address {each}" for each in found if each not in self._addresses | self._scene.theirs]
        loose = ec2.describe_network_interfaces(Filters=[{"Name": "status", "Values": ["available"]}])[
            "NetworkInterfaces"
        ]
        gateways = ec2.describe_nat_gateways()["NatGateways"]
        theirs = {address["NetworkInterfaceId"] for each in gateways for address in each["NatGatewayAddresses"]}
        leaks += [
            f"interface {each['NetworkInterfaceId']}" for each in loose if each["NetworkInterfaceId"] not in theirs
        ]
        launched = {
            each.instance_id
            for each in self._scene.stack.api.machines()
            if each.tags and adapter.GROUP_TAG not in each.tags
        }
        leaks += [f"instance {each}" for each in launched]
        return [(now, f"invariant 22: {each} is left behind") for each in leaks]


def _is_natkeepers(machine: Machine) -> bool:
    return adapter.GROUP_TAG in machine.tags and not is_theirs(machine.tags)


_JUDGED: dict[str, Callable[[Invariants, Call, list[Machine]], None]] = {
    "CreateRoute": Invariants._route,
    "ReplaceRoute": Invariants._route,
    "DeleteRoute": Invariants._route,
    "StopInstances": Invariants._end,
    "TerminateInstances": Invariants._end,
    "StartInstances": lambda _self, _call, _machines: None,
    "RunInstances": lambda _self, _call, _machines: None,
    "AssociateAddress": Invariants._address,
    "ModifyNetworkInterfaceAttribute": Invariants._interface,
}
