"""What each expectation looks at, and what it sees at a given moment.

Called by `scenario.expect`, which decides when. Every look says what was expected and what was seen. `since` and
`until` are `time.monotonic()`; `since` is the step that the expectation counts from, or the clock's zero for one
without `after` that is about the whole run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from natkeeper_lab.scenario import counts, ledger_looks, metric_looks
from natkeeper_lab.scenario.file import Expectation
from natkeeper_lab.scenario.sight import GONE, CannotJudge, Sight
from natkeeper_lab.scenario.targets import Target
from natkeeper_lab.scenario.vocabulary import EXPECTATIONS

THROUGHOUT = (
    *("never_down", "downtime", "dark", "writes", "calls", "instances", "failovers", "moves", "egress_addresses"),
    "messages",
)
CALM = 1.0
"""So long new connections must have worked before egress counts as restored."""


@dataclass(frozen=True)
class Look:
    """`at`: when it was so, if that is not now."""

    holds: bool
    expected: str
    seen: str
    at: float | None = None


def look(scene: Sight, expectation: Expectation, since: float, until: float) -> Look:
    """One look. CannotJudge when there is nothing to look at."""
    return _LOOKS[expectation.kind](scene, expectation, since, until)


def is_throughout(expectation: Expectation) -> bool:
    """Must be true all the time, so one look that says no is enough."""
    if expectation.kind == "route":
        return bool(expectation.args["is"] == "unchanged")
    if expectation.kind == "instance":
        return bool(expectation.args["is"] == "kept")
    return expectation.kind in THROUGHOUT


def is_steady(expectation: Expectation) -> bool:
    """Something that must simply be so, and would be before anything happened: worthless if looked at too early."""
    wanted = expectation.args.get("is")
    if expectation.kind == "alarm":
        return wanted != "alarm"
    return wanted in ("home", "same", "running", "unchanged", "kept")


def lag(expectation: Expectation) -> float:
    """How long after a moment it can be known: a connection begun then has ended."""
    return (
        1.2
        if expectation.kind in ("restored", "downtime", "dark")
        else 2.4
        if expectation.kind == "never_down"
        else 0.0
    )


# -- packets


def _restored(scene: Sight, expectation: Expectation, since: float, until: float) -> Look:
    ruler = scene.rulers[expectation.subject]
    expected = f"new connections from zone {expectation.subject} work again"
    outages = [each for each in ruler.outages(since) if each.first_failed_ns / 1e9 <= until]
    if not outages:
        is_known = ruler.known_until >= until and until - since >= CALM
        return Look(is_known and expectation.within is not None, expected, "no connection failed since the step")
    last = outages[-1]
    if last.first_ok_after_ns is None:
        return Look(False, expected, f"still none since {scene.seconds(last.first_failed_ns / 1e9):.2f} s")
    back = last.first_ok_after_ns / 1e9
    seen = f"they worked again {back - since:.2f} s after the step"
    deadline = since + expectation.within if expectation.within is not None else None
    if deadline is not None and back > deadline:
        return Look(False, expected, seen, back)
    return Look(ruler.known_until - back >= CALM or (deadline is not None and until >= deadline), expected, seen, back)


def _never_down(scene: Sight, expectation: Expectation, since: float, until: float) -> Look:
    failed = [each for each in scene.patient[expectation.subject].failed(since) if each.sent_ns / 1e9 <= until]
    expected = f"no new connection from zone {expectation.subject} failed"
    if not failed:
        return Look(True, expected, "none failed")
    first, last = failed[0].sent_ns / 1e9, failed[-1].sent_ns / 1e9
    seen = f"{len(failed)} failed, begun between {scene.seconds(first):.2f} and {scene.seconds(last):.2f} s"
    return Look(False, expected, seen, first)


def _downtime(scene: Sight, expectation: Expectation, since: float, until: float) -> Look:
    outages = [each for each in scene.rulers[expectation.subject].outages(since) if each.first_failed_ns / 1e9 <= until]
    seen = sum(each.downtime_seen_ns for each in outages) / 1e9
    limit = expectation.args["at_most"]
    text = f"{seen:.2f} s in {len(outages)} outages"
    return Look(seen <= limit, f"zone {expectation.subject} down for at most {limit:g} s", text)


def _flows(scene: Sight, expectation: Expectation, _since: float, _until: float) -> Look:
    fates = [each for each in scene.fates if each.flow.group == expectation.subject]
    if not fates:
        raise CannotJudge(f"line {expectation.line}: {expectation.text}: the file opens no flows from this zone")
    opened, survived = sum(each.opened for each in fates), sum(each.survived for each in fates)
    share = expectation.args["surviving_at_least"]
    errors = sorted({error for each in fates for error in each.errors})
    seen = f"{survived} of {opened}" + (f"; the others: {', '.join(errors)}" if errors else "")
    return Look(survived >= share * opened, f"at least {share:.0%} of {opened} connections survive", seen)


def _egress_address(scene: Sight, expectation: Expectation, _since: float, _until: float) -> Look:
    before, now = scene.before_addresses[expectation.subject], scene.fetch(expectation.subject)
    wanted = expectation.args["is"]
    expected = f"the address that the far end sees to be {'still' if wanted == 'same' else 'another than'} {before}"
    holds = now is not None and (now == before) is (wanted == "same")
    return Look(holds, expected, str(now or "no answer"))


# -- routes, instances, calls


def _route(scene: Sight, expectation: Expectation, since: float, until: float) -> Look:
    group, wanted = expectation.subject, expectation.args["is"]
    if wanted == "unchanged":
        return _unchanged(scene, group, since, until)
    now = scene.journal.where(group)
    targets = {scene.journal.targets[table] for table in scene.tables_of(group)}
    seen = f"{now} (on {', '.join(sorted(scene.journal.carried_by(each) for each in targets))})"
    expected = f"the default routes of zone {group} to be {wanted}"
    if now != wanted and not is_steady(expectation) and expectation.eventually is None:
        # A route that was away may have come home again before its turn: that it was there is what was asked.
        past = [
            each for each in scene.journal.routes if each.group == group and each.where == wanted and each.at >= since
        ]
        if past:
            return Look(True, expected, f"{wanted} at {scene.seconds(past[0].at):.2f} s, {now} now", past[0].at)
    return Look(now == wanted, expected, seen)


def _unchanged(scene: Sight, group: str, since: float, until: float) -> Look:
    tables = scene.tables_of(group)
    before = scene.before_targets
    moved = [
        each
        for each in scene.journal.routes
        if each.group == group
        and since <= each.at <= until
        and not each.is_by_hand
        and each.target != before[each.table]
    ]
    expected = f"the default routes of zone {group} where they were"
    if moved:
        at = moved[0].at
        seen = f"{moved[0].table} moved to {scene.journal.carried_by(moved[0].target)} at {scene.seconds(at):.2f} s"
        return Look(False, expected, seen, at)
    changed = [table for table in tables if scene.journal.targets[table] != before[table]]
    seen = ", ".join(f"{table} on {scene.journal.carried_by(scene.journal.targets[table])}" for table in changed)
    return Look(not changed, expected, seen or "they are")


def _instances(scene: Sight, expectation: Expectation, since: float, until: float) -> Look:
    group, limit = expectation.subject, expectation.args["at_most"]
    counts = [(count, at) for at, each, count in scene.invariants.counts if each == group and since <= at <= until]
    most, at = max(counts, default=(0, since), key=lambda each: each[0])
    seen = f"{most} at {scene.seconds(at):.1f} s"
    return Look(
        most <= limit, f"at most {limit} instances of zone {group} at a time", seen, at if most > limit else None
    )


def _instance(scene: Sight, expectation: Expectation, _since: float, _until: float) -> Look:
    target, wanted = expectation.args["target"], expectation.args["is"]
    assert isinstance(target, Target)
    expected = f"{target.text} to be {wanted}"
    if wanted in ("kept", "terminated"):
        state = _state_of_the_first(scene, target)
        holds = (state not in (*GONE, "")) if wanted == "kept" else state == "terminated"
        return Look(holds, f"{expected} (the one there was before the first step)", state or "gone")
    try:
        found = scene.machine(target)
    except CannotJudge:
        return Look(False, expected, "there is none")
    return Look(found.state == wanted, expected, f"{found.instance_id} is {found.state}")


def _state_of_the_first(scene: Sight, target: Target) -> str:
    return scene.state_of(scene.initial_of(target))


def _log(scene: Sight, expectation: Expectation, since: float, until: float) -> Look:
    reason, group = expectation.args["reason_code"], expectation.subject
    lines = [each for each in scene.journal.decisions(since) if each.at <= until]
    found = [each for each in lines if each.fields["reason_code"] == reason and group in ("", each.fields["group"])]
    others = sorted({each.fields["reason_code"] for each in lines if group in ("", each.fields["group"])})
    seen = f"at {scene.seconds(found[0].at):.2f} s: {found[0].fields['message']}" if found else ", ".join(others)
    expected = f"a decision {reason}{f' for zone {group}' if group else ''} in the log"
    return Look(bool(found), expected, seen or "no decision", found[0].at if found else None)


def _invariants(scene: Sight, expectation: Expectation, _since: float, _until: float) -> Look:
    if not expectation.subject:
        return Look(True, "invariants not asked for", "not judged, as the file says")
    broken = scene.invariants.broken()
    return Look(not broken, "every invariant to hold after every API call", "; ".join(broken) or "they hold")


_COUNTS: Mapping[str, Callable[[Sight, Expectation, float, float], counts.Seen]] = {
    "dark": counts.dark,
    "failovers": counts.failovers,
    "moves": counts.moves,
    "egress_addresses": counts.egress_addresses,
    "message": counts.message,
    "messages": counts.messages,
    "calls": counts.calls,
    "writes": counts.writes,
}


def _counted(
    count: Callable[[Sight, Expectation, float, float], counts.Seen],
) -> Callable[[Sight, Expectation, float, float], Look]:
    return lambda *given: Look(*count(*given))


_LOOKS: Mapping[str, Callable[[Sight, Expectation, float, float], Look]] = {
    "restored": _restored,
    "never_down": _never_down,
    "downtime": _downtime,
    "egress_address": _egress_address,
    "flows": _flows,
    "route": _route,
    "incidents": lambda *given: Look(*ledger_looks.incidents(*given)),
    **{kind: _counted(look) for kind, look in _COUNTS.items()},
    "instances": _instances,
    "metric": lambda *given: Look(*metric_looks.metric(*given)),
    "alarm": lambda *given: Look(*metric_looks.alarm(*given)),
    "invariants": _invariants,
    "instance": _instance,
    "log": _log,
}
assert _LOOKS.keys() == EXPECTATIONS.keys()
