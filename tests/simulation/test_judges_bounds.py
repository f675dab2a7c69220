"""What the judge may ask for: no verdict that nobody could know, and no rest while something is still to come."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from natkeeper.adapters.codec import encode
from natkeeper.adapters.ec2_facts import GROUP_TAG, ROLE_TAG, STACK_TAG
from natkeeper.core.incident import Memory
from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.plan import Plan, PointRoute, Reason
from natkeeper_lab.simulation import aftermath
from natkeeper_lab.simulation.api import Call
from natkeeper_lab.simulation.hub import SECOND, Killed
from natkeeper_lab.simulation.invariants import Invariants
from natkeeper_lab.simulation.invariants.calls import BEGINS, one_replacement_at_a_time
from natkeeper_lab.simulation.invariants.plans import _is_known_down, failovers_are_bounded
from natkeeper_lab.simulation.machines import Machine
from natkeeper_lab.simulation.setting import Setting
from natkeeper_lab.simulation.world import World


def watched() -> tuple[World, Invariants]:
    judge = Invariants()
    world = World(0, Setting(), judge)
    judge.watch(world)
    return world, judge


def recorded(memory: Memory) -> Call:
    """The write that keeps it in the ledger."""
    text = json.dumps(encode(memory), separators=(",", ":"))
    params = {"Key": {"sk": {"S": "a"}}, "ExpressionAttributeValues": {":memory": {"S": text}}}
    return Call("dynamodb", "UpdateItem", params, cast(Any, SimpleNamespace(serial=1, skew=0)), 1, 0)


def test_a_group_is_down_for_the_others_once_it_is_recorded() -> None:
    """A pass that died kept its verdict to itself (seed 1000372)."""
    _, judge = watched()
    down = Memory(is_down=True)
    judge.decided(cast(Any, SimpleNamespace(serial=1, seen=None, skew=0)), Plan("a", down, Reason.AT_REST))
    assert judge.book.down_since == {}
    judge.called(recorded(down), None)
    assert judge.book.down_since == {"a": 0}
    judge.called(recorded(replace(down, is_down=False)), None)
    assert judge.book.down_since == {}


def test_a_pass_knows_that_another_group_is_down_only_where_the_ledger_said_so_before_it_began() -> None:
    """And not where it could not read it (seed 6018956), or heard better since (seeds 6013950, 6014318, 6017489)."""
    world, judge = watched()
    judge.called(recorded(Memory(is_down=True)), None)

    def knows(began_at: int, own: Memory | None = None) -> bool:
        plans = {} if own is None else {"a": Plan("a", own, Reason.HEALING)}
        return _is_known_down(judge.book, cast(Any, SimpleNamespace(serial=1, began_at=began_at, plans=plans)), "a")

    assert knows(began_at=1)
    assert knows(began_at=1, own=Memory(is_down=True))
    assert not knows(began_at=0)
    assert not knows(began_at=1, own=Memory())
    judge.book.ledgerless.add((1, "a"))
    assert not knows(began_at=1)
    world.close()


def test_nobody_rests_while_lambda_still_holds_an_event() -> None:
    """An operator's command whose pass died is tried again a minute later (seed 1002402)."""
    world, judge = watched()
    for each in world.policy.groups:
        judge.book.plans[each.name] = (0, Plan(each.name, Memory(), Reason.AT_REST))
    world.hub.run(aftermath.QUIET + SECOND)
    assert aftermath._is_resting(judge.book)
    world.functions.wake({"natkeeper": {"command": "resume"}}, "r")
    world.before_call.append(lambda call: world.hub.after(0, call.invocation.end, "crash"))
    world.hub.run(world.hub.now + 2 * SECOND)
    assert not world.functions.invocations
    assert not aftermath._is_resting(judge.book)
    world.close()


def failing_over(serial: int, world: World) -> tuple[Any, Plan]:
    """A pass with a plan to take the group's default route elsewhere."""
    group = world.policy.groups[0]
    stages = ((PointRoute(group.table_ids[0], DEFAULT_ROUTE, "eni-2", is_missing=False),),)
    invocation = SimpleNamespace(serial=serial, holder=f"r/{serial}", seen=None, skew=0, control=None)
    return invocation, Plan(group.name, Memory(), Reason.FAIL_OVER, "dead", stages)


def bounded(judge: Invariants, invocation: Any, plan: Plan, *, lasts: int = 25_000) -> str | None:
    """What the judge says of a plan of the pass that has the lease, for so many milliseconds from the beginning."""
    item = {"holder": {"S": invocation.holder}, "lease_until": {"N": str(BEGINS // 1000 + lasts)}}
    judge.book.world.table.items["group", plan.group] = item
    return failovers_are_bounded(judge.book, invocation, plan)


def test_a_failover_that_died_before_it_wrote_or_moved_anything_is_not_counted() -> None:
    """Its call to the ledger found the lease gone after the pass was dead (seed 6005390)."""
    world, judge = watched()
    world.policy = replace(world.policy, max_failovers_per_hour=1)
    died, plan = failing_over(1, world)
    judge.decided(died, plan)
    heir, _ = failing_over(2, world)
    assert bounded(judge, heir, plan) is None
    assert bounded(judge, died, plan) is not None  # it remembers what it did itself
    assert bounded(judge, died, plan, lasts=-1) is None  # of what it plans when its lease is over nothing gets through
    judge.ended(died, Killed())
    assert bounded(judge, heir, plan) is None
    judge.called(recorded(Memory()), None)  # had its call, that was on its way, been let through
    assert bounded(judge, heir, plan) is not None


def test_a_failover_of_a_pass_that_ended_in_peace_and_wrote_nothing_is_counted() -> None:
    world, judge = watched()
    world.policy = replace(world.policy, max_failovers_per_hour=1)
    first, plan = failing_over(1, world)
    judge.decided(first, plan)
    judge.ended(first, None)
    assert bounded(judge, failing_over(2, world)[0], plan) is not None


def test_a_replacement_that_a_pass_was_not_shown_is_unknown_only_to_who_lost_the_memory_of_it() -> None:
    """Somebody deleted what was remembered, and took the tag away (seeds 6000974, 6014536) or EC2's answer was old."""
    world, judge = watched()
    for number in (1, 2):
        tags = {STACK_TAG: "s", GROUP_TAG: "a", ROLE_TAG: "nat"}
        world.ec2.machines[f"i-{number}"] = Machine(f"i-{number}", "t4g.nano", tags, None, 0, token=f"t-{number}")
    asked = [{"Key": GROUP_TAG, "Value": "a"}, {"Key": ROLE_TAG, "Value": "nat"}]
    one = SimpleNamespace(instance_id="i-1")
    invocation = cast(Any, SimpleNamespace(serial=1, seen=SimpleNamespace(instances=[one])))
    params = {"TagSpecifications": [{"Tags": asked}], "ClientToken": "t-2"}
    call = Call("ec2", "RunInstances", params, invocation, 1, 0)
    world.fires["memory-lost"] = 1
    assert one_replacement_at_a_time(judge.book, call) is not None
    invocation.seen.instances.clear()
    assert one_replacement_at_a_time(judge.book, call) is None
    world.fires["memory-lost"] = 0
    assert one_replacement_at_a_time(judge.book, call) is not None
