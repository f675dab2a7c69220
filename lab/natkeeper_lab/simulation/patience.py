"""How long natkeeper may take once the faults have stopped: for egress, and for the way home.

Called by `simulation.aftermath`. A bound is the sum of what healing takes and of what natkeeper waits for on purpose,
each wait only where the world or the ledger says that there is one. Microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from natkeeper.adapters.ec2_facts import ROLE_TAG, STACK_TAG
from natkeeper.core.bounds import LEASE
from natkeeper.core.finish import OVERDUE
from natkeeper.core.flapping import LONGEST_QUIET
from natkeeper.core.incident import YIELDING
from natkeeper.core.launches import VISIBLE_AFTER
from natkeeper_lab.simulation.book import SKEW
from natkeeper_lab.simulation.bus import MINUTE
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invariants.calls import BEGINS
from natkeeper_lab.simulation.machines import FOREVER, Machine
from natkeeper_lab.simulation.packets import RTT_MS, TIMEOUT_MS
from natkeeper_lab.simulation.world import World

FOUND_WITHIN = 2 * MINUTE
"""A tick for each of two launches: the second is made where the first was bad, after `Policy.boot_limit`."""
FAST_WITHIN = 150 * SECOND
"""While some NAT of the stack forwards: two ticks (a schedule fires anywhere inside its minute), a lease that a dead
pass still holds (25 s), three failed rounds."""
HEALED_WITHIN = 180 * SECOND
"""Two ticks (what a dead pass moved is only followed once a run has seen it), two runs that are told at their end (15
s), a proof. The slowest of 3,000 ways home took 137 s beside its waits and what AWS took (seed 800055371)."""
SLOW_CALLS = 90 * SECOND
"""So much more where calls take seconds: a look that fails waits for the next run or tick."""
SHAPES = {"repair": dict, "standby_repair": dict, "incident": dict, "back_offs": list}
"""What is asked of a memory here, where nobody broke it."""
UNHEARD = ("prober-result-lost", "ledger-down", "ledger-throttled", "lease-ends-mid-plan")
"""By these a run's report may be lost: on its way, or with the pass that heard it and could not write it down."""


def egress_within(world: World) -> int:
    """Until every table has egress."""
    slow = 2 * microseconds(world.policy.boot_limit) + FOUND_WITHIN + 2 * _boot(world)
    return (
        (FAST_WITHIN if can_carry(world) else slow) + aws(world) + _overdue(world) + _leased_on(world) + _excused(world)
    )


def aws(world: World) -> int:
    """What AWS's own pace adds to finding, moving and proving: an Elastic IP for each, results on their way, calls."""
    return (
        2 * an_address(world) + 4 * world.ec2.paces.destination[1] + (SLOW_CALLS if world.ec2.paces.slow_calls else 0)
    )


def an_address(world: World) -> int:
    """What a move to where nothing gets through costs before the next: its Elastic IP is waited for."""
    return world.ec2.paces.remap[1] + microseconds(world.policy.address_arrival)


def _excused(world: World) -> int:
    """A prober that was seen from another path's address is believed to be there for so long, where nothing gets
    through any more."""
    return microseconds(world.policy.freshness) if world.fires["association-lost"] else 0


def _boot(world: World) -> int:
    """From a launch or a start until it forwards, at the longest."""
    paces = world.ec2.paces
    return paces.to_running[1] + max(paces.script[1], paces.start_script[1])


def home_within(world: World) -> int:
    """From there until each group is on its own NAT."""
    policy = world.policy
    within = HEALED_WITHIN + aws(world) + _boot(world)
    within += _overdue(world) + _leased_on(world) + _quiet(world)
    if any(_is_ill(each) for each in world.ec2.machines.values()):
        within += microseconds(policy.boot_limit) + _boot(
            world
        )  # it is given the time of a boot before another is launched
    memories = list(remembered(world))
    if any(each.get(repair, {}).get("is_launched") for each in memories for repair in ("repair", "standby_repair")):
        # What was launched may yet become visible, or AWS refused it and is asked again (as long at most).
        within += microseconds(VISIBLE_AFTER)
    if any("throttled_at" in each for each in memories):
        within += microseconds(YIELDING)
    return within


def _quiet(world: World) -> int:
    """A NAT that fell soon after its traffic had come home is left alone for longer."""
    usual = microseconds(world.policy.quiet_period)
    falls = max((len(each.get("falls", ())) for each in remembered(world)), default=0)
    return min(usual * (1 << falls), max(usual, microseconds(LONGEST_QUIET)))


def can_carry(world: World) -> bool:
    """Some NAT of the stack would forward whatever is routed to it, and AWS will not take it soon (seed 300021615)."""
    return any(
        machine.tag(STACK_TAG)
        and machine.tag(ROLE_TAG) == "nat"
        and machine.interface is not None
        and machine.is_spot_ending_at is None
        and machine.is_doomed_at is None
        and not machine.loss
        and RTT_MS + machine.latency_ms <= TIMEOUT_MS
        and world.packets.guest(machine, machine.interface) is None
        for machine in world.ec2.machines.values()
    )


def is_lossy(world: World) -> bool:
    """Some NAT of the stack loses some packets: whoever uses it may be at rest, or fail over at any moment."""
    return any(each.loss for each in world.ec2.machines.values() if _is_shown(each))


def remembered(world: World) -> Iterator[dict[str, Any]]:
    """What the ledger has of each group's memory."""
    for item in group_items(world):
        memory = remembered_by(item)
        yield {name: each for name, each in memory.items() if isinstance(each, SHAPES.get(name, object))}


def remembered_by(item: dict[str, Any]) -> dict[str, Any]:
    """The memory of an item as it is written; empty where somebody broke it."""
    try:
        raw = json.loads(item["memory"]["S"])
    except (KeyError, ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}


def group_items(world: World) -> Iterator[dict[str, Any]]:
    """The ledger's item of each group."""
    names = {each.name for each in world.policy.groups}
    return (item for (pk, sk), item in world.table.items.items() if pk == "group" and sk in names)


def lease_end(item: dict[str, Any]) -> int:
    """When the lease ends, in microseconds on the hub; long ago where nobody has it, or where it says no instant."""
    try:
        return int(Decimal(item.get("lease_until", {}).get("N", "0"))) * 1000 - BEGINS
    except InvalidOperation:
        return -BEGINS


def microseconds(span: timedelta) -> int:
    """On the hub."""
    return span // timedelta(microseconds=1)


def _leased_on(world: World) -> int:
    """How much longer than a lease lasts somebody has one: a pass whose clock was ahead died with it, and by all other
    clocks it is not over (seed 840007471). No clock was ahead by more than SKEW: a longer one is natkeeper's fault."""
    if not world.fires["clock-skew"]:
        return 0
    ends = (lease_end(item) for item in group_items(world))
    return min(SKEW, max(0, max(ends, default=0) - world.hub.now - microseconds(LEASE)))


def _overdue(world: World) -> int:
    """Nobody remembers the end of a run whose report was lost: it counts as lost when it is overdue, for the tick after
    that (seeds 6019421, 60006228, 300013506)."""
    is_one_lost = any(world.fires[each] for each in UNHEARD)
    return microseconds(world.policy.watch_run + OVERDUE) if is_one_lost else 0


def _is_shown(machine: Machine) -> bool:
    """One of the stack's that EC2 shows pending or running: that forwards, or will."""
    return machine.state in ("pending", "running") and bool(machine.tag(STACK_TAG))


def _is_ill(machine: Machine) -> bool:
    """Such a one that will not forward until somebody reboots it."""
    is_sound = machine.is_forwarding and machine.has_ruleset and machine.takes_new_flows and not machine.is_hung
    is_open = machine.interface is None or machine.interface.is_group_open
    is_fast = not machine.loss and not machine.latency_ms
    is_booted = machine.forwards_from < FOREVER
    return _is_shown(machine) and not (is_sound and is_open and is_fast and is_booted)
