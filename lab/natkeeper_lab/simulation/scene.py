"""A world of fixed paces, and the hands that put it into the situation before a wake-up.

Called by `simulation.situations`. Nothing is drawn here: every call takes as long as any other, every instance boots in
the same time, so that the only thing that differs between two replays is where a controller died or who went first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any, TypeVar

from natkeeper.adapters.codec import decode, encode
from natkeeper.adapters.ec2_facts import GROUP_TAG, ROLE_TAG, STACK_TAG
from natkeeper.core.incident import Memory, Proof
from natkeeper.core.runs import run_id_of
from natkeeper_lab.simulation.answers import instant
from natkeeper_lab.simulation.api import Call, Rule
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invariants import Invariants
from natkeeper_lab.simulation.invocation import ACCOUNT, REGION, destination
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE, FOREVER, Interface, Machine
from natkeeper_lab.simulation.paces import Paces
from natkeeper_lab.simulation.probes import Run
from natkeeper_lab.simulation.setting import CANARY, CANARY_ROUTE, STACK, Setting
from natkeeper_lab.simulation.world import World

T = TypeVar("T")
LATENCY = 40_000
"""Microseconds there and back, the middle of what `Api.latency` draws from."""
PACES = Paces(
    to_running=(8 * SECOND, 8 * SECOND),
    script=(12 * SECOND, 12 * SECOND),
    start_script=(12 * SECOND, 12 * SECOND),
    to_stopped=(10 * SECOND, 10 * SECOND),
    to_terminated=(10 * SECOND, 10 * SECOND),
    remap=(300_000, 300_000),
    public=(2 * SECOND, 2 * SECOND),
    taken=(2 * SECOND, 2 * SECOND),
)
"""The middle of what a seeded world draws from (`simulation.paces`)."""
LONG_AGO = 600 * SECOND
TARGETS = ("tcp://192.0.2.1:443", "tcp://192.0.2.2:443", "https://192.0.2.3/")


class Level(Random):
    """Dice that always fall in the middle: hosts without clock error, warm functions, equal delays."""

    def random(self) -> float:
        return 0.5

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        low, high = (0, start) if stop is None else (start, stop)
        return (low + high) // 2 // step * step

    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override]
        return seq[0]


class Scene:
    """One world before it starts. Everything done to it here is silent: EC2's events of it were lost long ago."""

    def __init__(self, setting: Setting) -> None:
        self.judge = Invariants()
        self.world = World(0, setting, self.judge, PACES)
        world = self.world
        world.dice = world.ec2.dice = world.api.dice = Level()
        world.api.latency = (LATENCY, LATENCY)
        self._emit = world.ec2.emit
        world.ec2.emit = lambda _instance, _state: None

    def begin(self) -> None:
        """What was arranged is the state of things; from here on everything is judged."""
        world = self.world
        world.ec2.emit = self._emit
        world._changed()
        self.judge.watch(world)
        world.bus.start_schedule()

    # -- whom and what

    def nat(self, zone: str, role: str = "nat") -> Machine:
        """The zone's newest instance of that role."""
        found = [
            each
            for each in self.world.ec2.machines.values()
            if each.tag(GROUP_TAG) == zone and each.tag(ROLE_TAG) == role
        ]
        return found[-1]

    def eni(self, machine: Machine) -> str:
        """Its interface's id."""
        assert machine.interface is not None
        return machine.interface.interface_id

    def moment(self, ago: int = 0) -> datetime:
        """So many microseconds ago on the wall clock."""
        return instant(self.world.hub.now - ago)

    # -- the ledger

    def memory(self, zone: str) -> Memory:
        """What the zone remembers."""
        item = self.world.table.items["group", zone]
        return decode(Memory, json.loads(item["memory"]["S"]))

    def remember(self, zone: str, **changes: Any) -> None:
        """Changes that."""
        item = self.world.table.items["group", zone]
        memory = json.dumps(encode(replace(self.memory(zone), **changes)))
        self.world.table.items["group", zone] = {**item, "memory": {"S": memory}}

    def prove(self, zone: str, *machines: Machine, since: int = LONG_AGO) -> None:
        """The zone has seen packets go through these, and through nothing else."""
        ids = [self.eni(each) for each in machines]
        just_now = self.moment(2 * SECOND)
        self.remember(zone, proofs=tuple(Proof(each, just_now, self.moment(since)) for each in ids))
        self.world.carried_at |= dict.fromkeys(ids, self.world.hub.now - 2 * SECOND)

    # -- the account

    def launch(self, zone: str, role: str = "nat", *, ago: int = 60 * SECOND, **changes: Any) -> Machine:
        """An instance that was launched a while ago and is all that it should be, but for `changes`: `state`,
        `is_checked`, `public` (its primary's public address), `forwards`."""
        ec2, now = self.world.ec2, self.world.hub.now
        number = ec2.number()
        addresses = [f"10.0.{10 + number % 240}.{10 + each}" for each in (0, 1)]
        interface = Interface(f"eni-{number:017x}", zone, addresses, changes.get("is_checked", False))
        if changes.get("public", True):
            interface.public[interface.primary] = f"198.51.100.{number}"
        # A standby carries its group on a spare address, so nobody ever takes the automatic one off its primary.
        interface.has_auto_public = role == "standby" or changes.get("public", True)
        tags = {STACK_TAG: STACK, GROUP_TAG: zone, ROLE_TAG: role}
        state = changes.get("state", "running")
        forwards_from = now - ago if state == "running" and changes.get("forwards", True) else FOREVER
        machine = Machine(f"i-{number:017x}", "t4g.nano", tags, interface, now - ago, state, forwards_from)
        machine.is_script_good = changes.get("forwards", True)
        ec2.interfaces[interface.interface_id] = interface
        ec2.machines[machine.instance_id] = machine
        return machine

    def lack(self, instance_type: str, until: int) -> None:
        """AWS has none of that type for a while."""
        refusal = ApiError("InsufficientInstanceCapacity", "", 500)

        def wants_it(call: Call) -> bool:
            return call.params.get("InstanceType") == instance_type

        self.world.api.rules.append(Rule("no-capacity", wants_it, refuses=refusal, ends_at=self.world.hub.now + until))

    def carry(self, zone: str, machine: Machine, landing: str) -> None:
        """The zone's routes and its Elastic IP are on a machine."""
        world, interface = self.world, machine.interface
        assert interface is not None
        group = world.policy.group(zone)
        for table_id in group.table_ids:
            world.ec2.tables[table_id].routes[DEFAULT_ROUTE] = interface.interface_id
        elastic = world.ec2.elastics[group.allocation_id]
        world.ec2.release(elastic)
        elastic.interface_id, elastic.private = interface.interface_id, landing
        interface.public[landing] = group.public_address

    def go_away(self, *, ago: int = 40 * SECOND) -> Machine:
        """Zone a's traffic moved to b's NAT a while ago, is verified there, and its own NAT is gone for good."""
        own, host = self.nat("a"), self.nat("b")
        assert host.interface is not None
        self.carry("a", host, host.interface.addresses[1])
        self.world.ec2.machines.pop(own.instance_id)
        self.world.ec2.interfaces.pop(self.eni(own))
        for zone in ("a", "b"):
            self.aim_canary(zone, None)
        self.remember("a", target=self.eni(host), moved_at=self.moment(ago), stable_since=self.moment(ago - SECOND))
        self.prove("a", host, since=ago - SECOND)
        self.prove("b", host)
        return host

    def aim_canary(self, zone: str, machine: Machine | None) -> None:
        """Where the zone's canary routes point; None: nowhere. The memory of it goes."""
        for table_id in self.world.policy.group(zone).table_ids:
            routes = self.world.ec2.tables[table_id].routes
            routes.pop(CANARY_ROUTE, None)
            if machine is not None:
                routes[CANARY_ROUTE] = self.eni(machine)
        self.remember(zone, canary=None)

    # -- what wakes the controller

    def changed(self, machine: Machine) -> dict[str, Any]:
        """EC2's word that the machine's state is now what it is."""
        detail = {"instance-id": machine.instance_id, "state": machine.state}
        return event("aws.ec2", "EC2 Instance State-change Notification", detail)

    def report(self, zone: str = "a") -> dict[str, Any]:
        """A watch run of the zone's prober, played to its end: how the controller hears of packets."""
        world = self.world
        world._changed()
        started_at = self.moment()
        self.remember(zone, watch_starts=(started_at,))
        run_id = run_id_of(zone, started_at)
        request: dict[str, Any] = {"group": zone, "run_id": run_id, "mode": "watch", "targets": list(TARGETS)}
        request |= {"canary": f"{CANARY}:443", "interval": 1.0, "timeout": 0.8, "rounds_to_fail": 3, "quorum": 2}
        found: list[dict[str, Any]] = []
        run = Run(
            world.hub,
            1,
            request | {"run": 15.0},
            0,
            lambda: world.paths(zone),
            lambda _run, report: found.append(report),
            world.carried,
        )
        run.begin()
        world.hub.run(world.hub.now + 30 * SECOND, lambda: bool(found))
        return destination(run.request, f"prober-{zone}", found[0], "Success", None)


def event(source: str, kind: str, detail: dict[str, Any]) -> dict[str, Any]:
    """An event of AWS's, as EventBridge delivers it."""
    return {
        "version": "0",
        "source": source,
        "detail-type": kind,
        "account": ACCOUNT,
        "region": REGION,
        "detail": detail,
    }
