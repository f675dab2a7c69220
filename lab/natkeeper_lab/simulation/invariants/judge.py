"""The world's judge: hands each step to the invariants that are about it, and keeps the book.

What a call did is judged at the instant of its effect, a plan when it is made, an incident when it closes, an
invocation when it ends.
"""

from __future__ import annotations

import json

from natkeeper.core.news import ProbeReport
from natkeeper.core.plan import Happening, IncidentClosed, Plan, Reason
from natkeeper.errors import Trouble
from natkeeper.ports import Outcome
from natkeeper_lab.simulation.api import Call
from natkeeper_lab.simulation.book import HELD, MOVES, Book, Move
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND, Killed
from natkeeper_lab.simulation.invariants.bounds import (
    lease_is_no_longer_than_a_lease,
    note_lease,
    nothing_of_the_future_is_remembered,
)
from natkeeper_lab.simulation.invariants.calls import SENT, WRITES, group_of, no_secret_is_written
from natkeeper_lab.simulation.invariants.moves import (
    a_move_is_followed_only_when_its_target_is_dead,
    one_cause_brings_one_failover,
    planned_move_is_not_rolled_back,
)
from natkeeper_lab.simulation.invariants.plans import PLANS, another_path_proves_nothing, is_default, remembered_moves
from natkeeper_lab.simulation.invariants.silence import heard, looked, who_does_not_know_says_so
from natkeeper_lab.simulation.invocation import Invocation
from natkeeper_lab.simulation.truth import truth_of
from natkeeper_lab.simulation.world import Judge, World

MOVES_AFTER_MOVES = (
    (25, one_cause_brings_one_failover),
    (28, planned_move_is_not_rolled_back),
    (31, a_move_is_followed_only_when_its_target_is_dead),
)


def interval_contains_the_truth(book: Book, invocation: Invocation, closed: IncidentClosed) -> str | None:
    """18. lo ≤ true downtime ≤ hi, always."""
    moves = [each.at for each in remembered_moves(book, invocation, closed.incident.group)]
    truth = truth_of(book.world, closed.incident, moves)
    if truth is None:
        return None
    low, high = truth
    if closed.low.total_seconds() * SECOND > high:
        return (
            f"{closed.incident.incident_id}: at least {closed.low.total_seconds():.3f} s, but it was {high / 1e6:.3f} s"
        )
    if closed.high is not None and closed.high.total_seconds() * SECOND < low:
        return (
            f"{closed.incident.incident_id}: at most {closed.high.total_seconds():.3f} s, but it was {low / 1e6:.3f} s"
        )
    return None


class Invariants(Judge):
    """The world's judge. `book.violations` is what did not hold."""

    def __init__(self) -> None:
        self.book: Book

    def watch(self, world: World) -> None:
        """Begins with a world as it stands."""
        self.book = Book(world)
        self.book.ours = set(world.ec2.machines)
        self.changed()
        for (kind, group), item in world.table.items.items():
            if kind == "group" and "memory" in item:
                self._remembered(group, item["memory"]["S"])
        self.book.recorded_at.clear()  # what a world begins with has been so for long

    def sent(self, call: Call) -> None:
        """When a call leaves: once it is on its way, nothing can hold it back."""
        if (wrong := no_secret_is_written(call)) is not None:
            self.book.broke(23, wrong)
        if not call.is_write:
            return
        for number, judge in SENT:
            if (wrong := judge(self.book, call)) is not None:
                self.book.broke(number, wrong)

    def called(self, call: Call, error: ApiError | None) -> None:
        """At the instant of a call's effect."""
        book = self.book
        if call.operation == "Invoke" and call.params["InvocationType"] == "RequestResponse":
            book.unproven -= {each for each in book.unproven if each[0] == call.invocation.serial}
        if not call.is_write:
            if call.service == "dynamodb":
                note_lease(book, call, error)
            if call.service == "dynamodb" and call.operation != "Query" and error is None:
                book.ledger_writes += 1
                self._recorded(call)
                if (wrong := nothing_of_the_future_is_remembered(call)) is not None:
                    book.broke(29, wrong)
            return
        if call.operation == "RunInstances" and error is None:
            self._launched(call)
        for number, judge in WRITES:
            if (wrong := judge(book, call)) is not None:
                book.broke(number, wrong)
        if error is None:
            book.writes += 1
            book.wrote_at = book.now
        elif error.code == "IdempotentParameterMismatch":
            book.broke(5, f"token {call.params['ClientToken']} was used for another request")

    def _recorded(self, call: Call) -> None:
        """What a group is remembered to say of its path: that is all that the other groups' passes can know of it. A
        verdict that died with its pass is none (seed 1000372)."""
        memory = call.params.get("ExpressionAttributeValues", {}).get(":memory")
        if memory is None:
            return
        group = call.params["Key"]["sk"]["S"]
        self.book.was_recorded(group, call.invocation.serial)
        self._remembered(group, memory["S"])

    def _remembered(self, group: str, memory: str) -> None:
        known = json.loads(memory)
        if self.book.recorded.get(group) != known.get("target"):
            self.book.recorded_at[group] = self.book.now
        self.book.recorded[group] = known.get("target")
        if known.get("is_down"):
            self.book.down_since.setdefault(group, self.book.now)
        else:
            self.book.down_since.pop(group, None)

    def _launched(self, call: Call) -> None:
        book = self.book
        new = [each for each in book.world.ec2.machines.values() if each.token == call.params["ClientToken"]]
        fresh = [each for each in new if each.instance_id not in book.ours]
        book.ours |= {each.instance_id for each in fresh}
        group = group_of(book, call)
        if fresh and group is not None:
            book.launches[group] = [each for each in book.launches[group] if book.now - each < 86_400 * SECOND]
            book.launches[group].append(book.now)

    def decided(self, invocation: Invocation, plan: Plan) -> None:
        """When a plan is made."""
        book = self.book
        if (wrong := another_path_proves_nothing(book, invocation, plan)) is not None:
            book.broke(29, wrong)
        if plan.stages or plan.reason in MOVES:
            for number, judge in (*PLANS, *MOVES_AFTER_MOVES):
                if (wrong := judge(book, invocation, plan)) is not None:
                    book.broke(number, wrong)
        looked(book, invocation, plan)
        if (wrong := who_does_not_know_says_so(book, invocation, plan)) is not None:
            book.broke(27, wrong)
        key = (invocation.serial, plan.group)
        if plan.reason in MOVES and any(is_default(each) for each in plan.actions):
            move = Move(book.now, plan.reason, plan.memory.target or "", invocation.serial)
            book.moves[plan.group].append(move)
            book.unrecorded[plan.group].add(move)
            book.unproven.add(key)
        book.expected[key] = book.expected.get(key, 0) + len(plan.actions)
        book.plans[plan.group] = (invocation.serial, plan)
        if plan.reason is Reason.BORROW_ADDRESS:
            book.borrowers[invocation.serial] = (plan.group, plan.memory.target)
        if plan.reason in HELD:
            book.held_at = book.now
        if plan.reason is Reason.PAUSED:
            book.paused_at[plan.group] = book.now
        else:
            book.paused_at.pop(plan.group, None)

    def acted(self, invocation: Invocation, group: str, outcome: Outcome) -> None:
        """Each action has an outcome. What was only throttled is not done yet, so there is nothing to ask packets; nor
        is there where the address that they would leave from may not be moved."""
        self.book.expected[invocation.serial, group] -= 1
        trouble = outcome.trouble
        if trouble is not None and (trouble.is_throttle or outcome.is_address_refused):
            self.book.unproven.discard((invocation.serial, group))

    def troubled(self, invocation: Invocation, group: str | None, trouble: Trouble) -> None:
        """A ledger that cannot be reached, or a lease that is lost, changes what may be asked of a pass."""
        for name in [group] if group is not None else [each.name for each in self.book.world.policy.groups]:
            if trouble.operation in ("UpdateItem", "Query"):
                self.book.ledgerless.add((invocation.serial, name))
            if trouble.operation == "Invoke":
                self.book.unasked.add(invocation.serial)
                self.book.unproven.discard((invocation.serial, name))

    def reported(self, _invocation: Invocation, report: ProbeReport) -> None:
        """A prober's rounds are heard."""
        if report.rounds:
            heard(self.book, report.group)

    def happened(self, invocation: Invocation, _group: str, happening: Happening) -> None:
        """Incidents."""
        if isinstance(happening, IncidentClosed):
            if (wrong := interval_contains_the_truth(self.book, invocation, happening)) is not None:
                self.book.broke(18, wrong)
            self.book.closed[happening.incident.incident_id] += 1

    def timed_out(self, invocation: Invocation) -> None:
        """20. A pass stops before Lambda's deadline, unless its host stood still."""
        if not invocation.frozen_until:
            self.book.broke(20, f"a pass was at work until its time-out: {invocation.calls} calls")

    def ended(self, invocation: Invocation, error: BaseException | None) -> None:
        """17. Every action of every plan was tried, unless the controller died or lost its lease. 20. A pass ends by
        itself: an exception is a bug. 21. Whoever moved a group asked whether packets get through."""
        book = self.book
        if error is not None and not isinstance(error, Killed):
            book.broke(20, f"a pass raised {error!r}")
        if error is None and (wrong := lease_is_no_longer_than_a_lease(book, invocation)) is not None:
            book.broke(29, wrong)
        if error is None:
            for group in book.unrecorded:
                book.was_recorded(group, invocation.serial)  # or should have been: it had the time
        for key in [each for each in book.unproven if each[0] == invocation.serial]:
            book.unproven.discard(key)
            if error is None and key not in book.ledgerless:
                book.broke(21, f"zone {key[1]} was moved, and nobody asked whether packets get through")
        for key in [each for each in book.expected if each[0] == invocation.serial]:
            left = book.expected.pop(key)
            if left and error is None and key not in book.ledgerless:
                book.broke(17, f"{left} actions of {key[1]}'s plan were never tried")

    def changed(self) -> None:
        """Nothing is judged by state alone; who forwards since when is kept for what is."""
        book = vars(self).get("book")
        if book is None:
            return  # the world is still being furnished
        world, since = book.world, book.forwards_since
        for machine in world.ec2.machines.values():
            interface = machine.interface
            if interface is None:
                continue
            if world.packets.guest(machine, interface) is not None:
                since.pop(interface.interface_id, None)
            else:
                since.setdefault(interface.interface_id, book.now)
