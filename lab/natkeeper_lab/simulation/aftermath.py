"""What must come true once the faults have stopped, and what must then stay so: liveness, and rest.

Called by `simulation.campaign` in a schedule's second phase. Invariants 3, 4, 6 and 21 say that late writes, crashes
and lost events end in the same state: here that is egress on every table, within a bound. 5, 15, 19 and 22 hold at
rest. docs/invariants.md has them all.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from natkeeper.adapters.ec2_facts import GROUP_TAG, ROLE_TAG, STACK_TAG
from natkeeper.core.launches import LONGEST_WAIT
from natkeeper.core.plan import Reason
from natkeeper.core.policy import Group
from natkeeper_lab.simulation import patience
from natkeeper_lab.simulation.book import Book, on_hub
from natkeeper_lab.simulation.bus import MINUTE, TICK
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import TIMEOUT
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE
from natkeeper_lab.simulation.setting import CANARY_ROUTE
from natkeeper_lab.simulation.world import World

HELD_FOR = 45 * SECOND
"""A schedule in which natkeeper holds on purpose for so long is over: a bound that is used up stays so for an hour or a
day, and of what holds liveness is not asked. A schedule's tick and a dozen reports were refused by then."""
QUIET = 75 * SECOND
"""Without a write to EC2: a tick came and went, and a boot is not under way."""
REST_WITHIN = 12 * MINUTE
"""Beside another way home: a standby's launch, its proof, what is replaced; each waits for the quiet period."""
HOLDING = 2 * MINUTE
"""The longest time between two ticks: after that, a group that still holds has said so again."""


def groups(world: World) -> list[str]:
    """The stack's."""
    return [each.name for each in world.policy.groups]


def is_up(world: World) -> bool:
    """Every table of every group has egress."""
    return all(world.is_up(each) for each in groups(world))


def is_held(book: Book) -> bool:
    """A bound on failovers or launches is used up: natkeeper holds and pages, on purpose (invariant 13).

    Of the last plans one is enough: a pass that sees no fresh probe says only that it waits for one, and holds again
    when it came (seeds 2004456, 2007800). A pause is over with the first plan that is not paused: one that an operator
    had taken back long ago passed for a hold, and a world without egress for one at rest (seed 6014360).
    """
    if book.world.fires["tag-removed"] and book.world.policy.canary_destination is None:
        return True  # nothing can prove another NAT than the one that was taken away: an operator is asked (6004134)
    holds = [*book.paused_at.values(), *([] if book.held_at is None else [book.held_at])]
    is_holding = any(book.now - each < HOLDING for each in holds)
    bound = book.world.policy.max_launches_per_day
    return is_holding or any(len(each) >= bound for each in book.launches.values())


class _Holding:
    """Since when it has held without a break."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._since: int | None = None
        self._asked = book.now

    def is_long(self) -> bool:
        """Asked again once a second: plans come no faster."""
        if self._book.now - self._asked < SECOND:
            return False
        self._asked = self._book.now
        if not is_held(self._book):
            self._since = None
        elif self._since is None:
            self._since = self._book.now
        return self._since is not None and self._book.now - self._since > HELD_FOR


def is_home(world: World) -> bool:
    """Everything is as a user would draw it: each group on its own NAT, from its own address."""
    return all(_is_group_home(world, each) for each in world.policy.groups)


def _is_group_home(world: World, group: Group) -> bool:
    targets = {world.route_of(each) for each in group.table_ids}
    owner = world.ec2.owner(next(iter(targets)) or "") if len(targets) == 1 else None
    if owner is None or owner.interface is None or owner.tag(GROUP_TAG) != group.name or owner.tag(ROLE_TAG) != "nat":
        return False
    return owner.interface.public.get(owner.interface.primary) == group.public_address


def judge_egress(book: Book) -> None:
    """21. Once faults stop and a candidate exists, egress is verified within a bounded number of passes."""
    world = book.world
    within = patience.egress_within(world)
    holding = _Holding(book)
    world.hub.run(world.hub.now + within, lambda: is_up(world) or holding.is_long())
    if is_up(world) or is_held(book):
        return
    dark = [each for each in groups(world) if not world.is_up(each)]
    why = {each: world.packets.path(each, world.policy.group(each).table_ids[0]).why for each in dark}
    book.broke(21, f"{within / 1e6:.0f} s after the last fault there is no egress: {why}")


def judge_home(book: Book) -> None:
    """6. Whatever events were lost: the same state in the end. By a NAT that loses some packets a group may rightly be
    away again before another has come home: then each must have been at home (seed 870024712).

    What passes under way have run into is in the ledger when they are over: only then it tells what natkeeper waits for
    (seed 900029270: a call was throttled, and the memory of it written half a second after the bound was read)."""
    world = book.world
    under_way = list(world.functions.invocations)
    world.hub.run(world.hub.now + TIMEOUT, lambda: not any(each in world.functions.invocations for each in under_way))
    holding = _Holding(book)
    within = patience.home_within(world)
    away = set(groups(world))

    def are_all_home() -> bool:
        if not patience.is_lossy(world):
            return is_home(world)
        away.difference_update([each.name for each in world.policy.groups if _is_group_home(world, each)])
        return not away

    world.hub.run(world.hub.now + within, lambda: are_all_home() or holding.is_long())
    if not are_all_home() and not is_held(book):
        carriers = {each.name: world.route_of(each.table_ids[0]) for each in world.policy.groups}
        reasons = {name: plan.reason.value for name, (_, plan) in book.plans.items()}
        book.broke(6, f"{within / 1e6:.0f} s after egress was back traffic is not home: {carriers}, {reasons}")


def judge_rest(book: Book) -> None:
    """5, 15, 19, 22: home and quiet for a while; then ticks and a repeated event change nothing; nothing is left."""
    world = book.world
    if patience.is_lossy(world):
        return  # a NAT that loses some packets may be at rest and fail over at any moment, both rightly
    holding = _Holding(book)
    world.hub.run(
        world.hub.now + REST_WITHIN + patience.home_within(world), lambda: _is_resting(book) or holding.is_long()
    )
    if not is_home(world) or not _is_resting(book):
        if not is_held(book):
            book.broke(
                22, f"does not come to rest: {[(each, plan.reason.value) for each, (_, plan) in book.plans.items()]}"
            )
        return
    _judge_stillness(book)
    _judge_leaks(book)
    _judge_incidents(book)


def _is_resting(book: Book) -> bool:
    """Nothing is left to do, and nothing is still to come: an operator's command whose pass died, and which Lambda
    holds for a minute before it tries again, is news that nobody has acted upon yet (seed 1002402); and an incident may
    open by it (seed 1001654). So may one where egress is down and no run's report has said so yet (seed 6014360)."""
    plans = [plan for _, plan in book.plans.values()]
    functions = book.world.functions
    if book.now - book.wrote_at < QUIET or not _are_standbys_ready(book.world):
        return False
    if functions.queued or functions.invocations or not is_up(book.world):
        return False
    if any(each.is_spot_ending_at is not None and not each.is_gone for each in book.world.ec2.machines.values()):
        return False  # the warning may have been lost, and AWS has not come yet (seed 100011115)
    return (
        len(plans) == len(book.world.policy.groups)
        and all(plan.reason is Reason.AT_REST and plan.memory.incident is None for plan in plans)
        and not _is_something_remembered(book.world)
    )


def _is_something_remembered(world: World) -> bool:
    """An incident, or news in an inbox that nobody has heard: the next tick must (seed 9008016). Asked of the ledger,
    for the newest plan may stand on a memory read before another pass wrote the incident that it opened (seed
    1001654). One that only its own item knows of is left open, and not waited for here."""
    is_news_left = any(item.get("inbox", {}).get("L") for item in patience.group_items(world))
    return is_news_left or any("incident" in each or _waits(world, each) for each in patience.remembered(world))


def _waits(world: World, memory: dict[str, Any]) -> bool:
    """What EC2 refused is asked for again when its wait is over, by a tick, if it is still wanted then."""
    refused = (datetime.fromisoformat(each["refused_at"]) for each in memory.get("back_offs", ()))
    longest = patience.microseconds(LONGEST_WAIT) + 2 * MINUTE
    return any(world.hub.now - on_hub(at) < longest for at in refused)


def _are_standbys_ready(world: World) -> bool:
    """Each group has the standby that the user asked for, in the state asked for. One whose tag of the stack somebody
    took away is not natkeeper's any more (seed 4001869)."""
    wanted = {"none": None, "stopped": "stopped", "running": "running"}[world.policy.standby.value]
    ours = [each for each in world.ec2.machines.values() if each.tag(STACK_TAG) and not each.is_gone]
    standbys = [each for each in ours if each.tag(ROLE_TAG) == "standby"]
    return wanted is None or [each.state for each in standbys] == [wanted] * len(world.policy.groups)


def _judge_stillness(book: Book) -> None:
    world = book.world
    before = book.writes
    machine = next(iter(world.ec2.machines.values()))
    for _ in range(2):
        world.functions.wake(TICK)
        world.bus.state_changed(machine.instance_id, machine.state)
        world.hub.run(world.hub.now + 3 * SECOND + world.ec2.paces.events[1])
    if book.writes != before:
        book.broke(5, f"{book.writes - before} writes to EC2 at rest")


def _judge_leaks(book: Book) -> None:
    world = book.world
    for group in world.policy.groups:
        expected = 1 if world.policy.standby.value == "none" else 2
        alive = [
            each
            for each in world.ec2.machines.values()
            if each.tag(STACK_TAG) and each.tag(GROUP_TAG) == group.name and not each.is_gone
        ]
        if len(alive) > expected:
            book.broke(
                22, f"zone {group.name} is left with {len(alive)} instances: {[each.instance_id for each in alive]}"
            )
        item = world.table.items.get(("group", group.name), {})
        # An attempt to take it that arrived after it was given back, because calls are slow, has it until it is over.
        is_kept = "lease_until" in item and item["lease_until"] != {"N": "0"} and not world.ec2.paces.slow_calls
        if is_kept and not world.functions.invocations:
            book.broke(22, f"the lease of zone {group.name} is not given back")
        for table_id in group.table_ids:
            stray = set(world.ec2.tables[table_id].routes) - {DEFAULT_ROUTE, CANARY_ROUTE}
            if stray:
                book.broke(22, f"{table_id} is left with routes to {stray}")
    if world.ec2.tables["rtb-foreign"].routes != {DEFAULT_ROUTE: "igw-1", "10.9.0.0/16": "pcx-1"}:
        book.broke(15, "a table that is not the stack's was changed")


def _judge_incidents(book: Book) -> None:
    """19. Each incident opens once and closes once, unless somebody deleted what natkeeper remembered of it."""
    if book.world.fires["memory-lost"]:
        return
    for (pk, sk), item in book.world.table.items.items():
        if pk.startswith("incident#") and "closed_at" not in item:
            book.broke(19, f"incident {sk} was opened and never closed")
