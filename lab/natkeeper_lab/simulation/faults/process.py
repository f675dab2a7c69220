"""The controller and the probers die, stall, race and wake up as somebody else. Rows of the fault table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from natkeeper_lab.simulation.api import Call
from natkeeper_lab.simulation.book import SKEW
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.faults.table import Act, fault
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import Invocation
from natkeeper_lab.simulation.patience import remembered_by
from natkeeper_lab.simulation.setting import launches_of, settings_of


def _at_a_call(act: Act, chosen: int, do: Callable[[Invocation], None], hooks: list[Callable[[Call], None]]) -> None:
    """Once, at the invocation's call of that number, in an invocation that writes something."""
    is_done = False

    def hook(call: Call) -> None:
        nonlocal is_done
        if not is_done and call.number >= chosen and act.world.hub.now < act.ends_at:
            is_done = True
            do(call.invocation)

    hooks.append(hook)


@fault(
    "crash-before-a-call",
    "Process",
    complicates=True,
    weight=5,
    sees="nothing, or a failover some seconds later",
    does="the next pass sees where things are and goes on; Lambda tries the event again after a minute",
    never="needs to know how far the dead one came",
)
def _before(act: Act) -> None:
    def die(invocation: Invocation) -> None:
        act.fired("crash-before-a-call")
        invocation.is_over = True
        act.world.hub.after(0, invocation.end, "crash")

    _at_a_call(act, act.dice.randint(1, 24), die, act.world.before_call)


@fault(
    "crash-after-a-call",
    "Process",
    complicates=True,
    weight=5,
    sees="nothing, or a failover some seconds later",
    does="the next pass sees what was applied, and does what was not",
    never="repeats a launch under another token",
)
def _after(act: Act) -> None:
    def die(invocation: Invocation) -> None:
        act.fired("crash-after-a-call")
        act.world.hub.after(0, invocation.end, "crash")

    _at_a_call(act, act.dice.randint(1, 24), die, act.world.after_call)


def _freeze(act: Act, name: str, span: int) -> None:
    """Its tasks hear nothing for a while: answers wait."""

    def stall(invocation: Invocation) -> None:
        act.fired(name)
        invocation.frozen_until = act.world.hub.now + span

    _at_a_call(act, act.dice.randint(1, 16), stall, act.world.after_call)


@fault(
    "controller-stalls",
    "Process",
    complicates=True,
    sees="nothing, or a failover some seconds later",
    does="the next wake-up finds the lease taken and leaves its news in the inbox",
    never="acts on what it saw before it stalled, once its lease is over",
)
def _stalls(act: Act) -> None:
    _freeze(act, "controller-stalls", act.dice.randrange(SECOND, 15 * SECOND))


@fault(
    "lease-ends-mid-plan",
    "Process",
    complicates=True,
    weight=4,
    sees="nothing, or `Errors`",
    does="whoever has the lease now goes on; the one that woke up too late stops at its next call",
    never="begins a write after its lease is over",
)
def _outlives(act: Act) -> None:
    _freeze(act, "lease-ends-mid-plan", act.dice.randrange(26 * SECOND, 70 * SECOND))


@fault(
    "two-controllers",
    "Process",
    complicates=True,
    weight=4,
    sees="nothing",
    does="one takes the lease, the other leaves its news and asks once more",
    never="flaps because two passes disagree",
)
def _two(act: Act) -> None:
    functions = act.world.functions
    wake = functions.wake
    act.fired("two-controllers")

    def twice(event: object, request_id: str | None = None, attempt: int = 0) -> None:
        wake(event, request_id, attempt)
        if act.world.hub.now < act.ends_at:
            wake(event)

    functions.wake = twice  # type: ignore[method-assign]


@fault(
    "invocation-delivered-twice",
    "Process",
    complicates=True,
    weight=3,
    sees="nothing",
    does="each pass has a name of its own in the ledger, so one of them leaves its news to the other",
    never="opens or closes an incident twice",
)
def _same_id(act: Act) -> None:
    functions = act.world.functions
    wake = functions.wake

    def twice(event: object, request_id: str | None = None, attempt: int = 0) -> None:
        if request_id is None:
            request_id = f"r{functions.next_number()}"
        wake(event, request_id, attempt)
        if act.world.hub.now < act.ends_at and act.dice.random() < 0.5:
            act.fired("invocation-delivered-twice")
            wake(event, request_id, 2)

    functions.wake = twice  # type: ignore[method-assign]


@fault(
    "clock-ahead",
    "Process",
    complicates=True,
    sees="`Errors` where leases look over; downtime intervals that are wider",
    does="works as ever: spans between rounds come from one prober's clock",
    never="moves traffic because of a wall clock",
)
def _ahead(act: Act) -> None:
    act.world.controller_skew = act.dice.randrange(1, SKEW // SECOND) * SECOND
    act.fired("clock-ahead")
    act.fired("clock-skew")


@fault(
    "clock-behind",
    "Process",
    complicates=True,
    sees="nothing, or a pass that finds a lease not over yet; downtime intervals that are wider",
    does="works as ever, or waits a little longer for leases to end",
    never="moves traffic because of a wall clock",
)
def _behind(act: Act) -> None:
    act.world.controller_skew = -act.dice.randrange(1, SKEW // SECOND) * SECOND
    act.fired("clock-behind")
    act.fired("clock-skew")


@fault(
    "prober-clock-wrong",
    "Process",
    complicates=True,
    sees="verifications that say nothing; failover all the same",
    does="judges by watch runs; a report from the future is not waited for",
    never="calls an outage longer or shorter than its own clock shows without widening the interval",
)
def _prober_clock(act: Act) -> None:
    act.world.prober_skew[act.group()] = act.dice.choice((-1, 1)) * act.dice.randrange(1, 20) * SECOND
    act.fired("prober-clock-wrong")
    act.fired("clock-skew")


@fault(
    "controller-throttled",
    "Process",
    complicates=True,
    sees="failover later by Lambda's back-off",
    does="every invocation that gets through does all that is due",
    never="needs reserved concurrency as a lock",
)
def _throttled(act: Act) -> None:
    act.world.functions.throttled_until = act.world.hub.now + act.dice.randrange(2, 15) * SECOND


@fault(
    "old-memory",
    "Process",
    complicates=True,
    weight=3,
    sees="nothing",
    does="reads what another version wrote: unknown fields are dropped, missing ones have defaults",
    never="loses a group because of a field",
)
def _old_memory(act: Act) -> None:
    world = act.world
    for key, item in list(world.table.items.items()):
        if key[0] != "group" or "memory" not in item:
            continue
        memory = remembered_by(item)
        for field in act.dice.sample(("recent", "seen_runs", "observed", "watch_starts", "egress_address"), 2):
            memory.pop(field, None)
        memory["a_field_of_tomorrow"] = {"is": ["unknown"]}
        world.table.items[key] = {**item, "memory": {"S": json.dumps(memory)}}
        act.fired("old-memory")


@fault(
    "memory-lost",
    "Process",
    complicates=True,
    weight=2,
    sees="an incident that was under way is not closed by a message",
    does="finds where traffic is by the routes themselves, and goes on",
    never="takes an empty memory for an outage",
)
def _memory_lost(act: Act) -> None:
    for key in [each for each in act.world.table.items if each[0] == "group"]:
        del act.world.table.items[key]
        act.fired("memory-lost")


@fault(
    "configuration-changed",
    "Process",
    complicates=True,
    weight=3,
    sees="what the new parameters say",
    does="the next pass works by them, on the memory of the old",
    never="treats a standby that is not wanted any more as a NAT to go home to",
)
def _configured(act: Act) -> None:
    world = act.world
    setting = replace(world.setting, quiet=act.dice.choice((10, 20, 40)), run=act.dice.choice((20, 30, 55)))
    world.setting, world.settings = setting, settings_of(setting)
    world.policy, world.launches = world.settings.policy, launches_of(setting)
    act.fired("configuration-changed")


@fault(
    "prober-crashes",
    "Process",
    complicates=True,
    weight=3,
    sees="`Unknown`, and `Observed` below 99 %",
    does="starts the next run; blindness is never an outage",
    never="fails over because a prober died",
)
def _prober_dies(act: Act) -> None:
    act.world.functions.probers_fail_until = act.world.hub.now + act.dice.randrange(2, 25) * SECOND


@fault(
    "prober-not-invoked",
    "Process",
    complicates=True,
    weight=2,
    sees="`Errors`, and `Observed` below 99 %",
    does="starts the run again in the next pass",
    never="counts a run that was never started as in flight",
)
def _not_invoked(act: Act) -> None:
    refusal = ApiError("TooManyRequestsException", "Rate Exceeded.", 429)
    act.rule("prober-not-invoked", ("Invoke",), refuses=refusal, times=act.dice.randint(1, 5))


@fault(
    "prober-result-lost",
    "Process",
    complicates=True,
    weight=3,
    sees="`Observed` below 100 %",
    does="counts the run as lost when it is overdue, and starts another at the next tick",
    never="waits for a report for ever",
)
def _result_lost(act: Act) -> None:
    act.world.functions.lost_results += act.dice.randint(1, 3)


@fault(
    "prober-result-twice",
    "Process",
    complicates=True,
    weight=3,
    sees="nothing",
    does="knows the run by its id",
    never="starts two runs, or counts an outage twice",
)
def _result_twice(act: Act) -> None:
    act.world.functions.duplicates += act.dice.randint(1, 4)
