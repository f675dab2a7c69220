"""Mistakes in moving traffic: whether, where, and what must be left alone. Rows of the planted bugs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from natkeeper import opening
from natkeeper.adapters import ec2
from natkeeper.adapters.ec2 import Ec2
from natkeeper.core import absorb, arrival, case, decide, failover, heal, incident, judge, replacement, rules, spare
from natkeeper.core.case import Case
from natkeeper.core.move import point_routes
from natkeeper.core.plan import MoveAddress, Reason, TerminateInstance
from natkeeper.core.view import View
from natkeeper.errors import Trouble
from natkeeper_lab.simulation.answers import BEGINNING
from natkeeper_lab.simulation.planted.peers import DEAD_BY_PACKETS
from natkeeper_lab.simulation.planted.table import Patch, mutant, original, with_rule

ZERO = timedelta(0)
NAT_LOST = ("nat-stops", "nat-terminated")


# -- failover


@mutant(
    "common-mode-is-a-failover",
    "when every zone fails at once while its NAT runs, traffic is moved all the same",
    breaks=(11,),
    among=("all-nats-hang", "targets-down"),
)
def _no_common_mode() -> Sequence[Patch]:
    return [Patch(judge, "_runs", lambda _view, _target: False)]


@mutant(
    "budget-keeps-a-group-dark",
    "when the hour's failovers are used up, traffic stays on a dead NAT beside a neighbour's that is proven",
    breaks=(30,),
    among=("nat-flaps", "nat-stops"),
    bounds=True,
    lasts=60,
)
def _kept_dark() -> Sequence[Patch]:
    return [Patch(Case, "has_failed_on", lambda *_: True)]


@mutant(
    "others-failures-condemn-the-new-path",
    "the word that the group whose NAT it is was down, of before this group came there, takes the traffic away again",
    breaks=(31,),
    among=("prober-cut-off", "switchover-by-hand", "nats-hang-together"),
)
def _others_word() -> Sequence[Patch]:
    def down(view: View, target: str) -> Any:
        owner = view.network.owner_of(target)
        theirs = view.others.get(owner.group) if owner is not None else None
        return view.now if theirs is not None and theirs.is_down else None

    return [Patch(judge, "_owner_down_at", down)]


@mutant(
    "neighbour-is-not-asked",
    "on packets alone traffic follows to whatever was proven a while ago, though its packets may fail by now too",
    breaks=(11,),
    among=("all-nats-hang", "nats-hang-together"),
)
def _not_asked() -> Sequence[Patch]:
    return [Patch(rules, "to_ask", lambda *_: ()), Patch(case, "is_apart", lambda *_: True)]


@mutant(
    "every-success-is-a-proof",
    "what gets through by somebody else's route proves the NAT that traffic should be on",
    breaks=(1, 11),
    among=("second-stack", "terraform-puts-it-back", "route-edited"),
)
def _every_success() -> Sequence[Patch]:
    return [Patch(absorb, "proving", lambda _memory, rounds: tuple(rounds))]


@mutant(
    "packets-of-any-path-count",
    "where the prober's subnet is behind none of the group's tables, its packets count for any of them",
    breaks=(1, 29),
    among=("association-lost",),
)
def _any_path() -> Sequence[Patch]:
    asked = original(View, "probed_tables").func

    def any_of_them(view: View) -> frozenset[str]:
        return frozenset(asked(view)) or frozenset(view.group.table_ids)

    probed = cached_property(any_of_them)
    probed.__set_name__(View, "probed_tables")
    return [Patch(View, "probed_tables", probed)]


@mutant(
    "three-tags-are-enough",
    "whatever carries the stack's tags is one of its NATs",
    breaks=(1, 15),
    among=("tagged-foreign-instance",),
)
def _by_tags() -> Sequence[Patch]:
    return [Patch(ec2, "differs", lambda *_: "")]


@mutant(
    "event-is-the-truth",
    "an event that says a NAT stopped is enough to move",
    breaks=(8, 11),
    among=("event-forged",),
)
def _believes() -> Sequence[Patch]:
    def believe(read: Case, _found: Any) -> Any:
        dead = judge.Verdict(judge.Health.DEAD, incident.Cause.INSTANCE_STOPPED, "an event")
        return rules.act(replace(read, verdict=dead))

    return [with_rule("event ahead of EC2", plans=believe)]


@mutant(
    "notice-is-the-truth",
    "a notice that AWS will take a NAT is believed without asking EC2",
    breaks=(7,),
    among=("event-forged",),
)
def _believes_notices() -> Sequence[Patch]:
    def believe(_self: Ec2, suspects: frozenset[str]) -> dict[str, datetime]:
        return dict.fromkeys(suspects, BEGINNING)

    return [Patch(Ec2, "_spot_stops", believe)]


@mutant(
    "told-in-vain",
    "without a ledger a report of failed probes finds nobody who remembers the path, and is forgotten",
    breaks=(21,),
    among=("ledger-down",),
    lasts=100,
)
def _told_in_vain() -> Sequence[Patch]:
    return [Patch(decide, "_says_down", lambda *_: False), Patch(opening, "is_rumoured", lambda *_: False)]


@mutant(
    "control-probe-is-not-read",
    "the control probe is sent and its answer is not read",
    breaks=(11,),
    among=("targets-down",),
)
def _control_unread() -> Sequence[Patch]:
    by_probes = judge._by_probes

    def unread(view: View, control: Any, heard_at: Any) -> Any:
        return by_probes(view, replace(control, is_ok=True) if control is not None else None, heard_at)

    return [Patch(judge, "_by_probes", unread)]


@mutant(
    "one-table-is-enough",
    "a move has a call for the first table only",
    breaks=(17,),
    among=NAT_LOST,
)
def _one_table() -> Sequence[Patch]:
    from natkeeper.core import move

    return [Patch(move, "point_routes", lambda *args: point_routes(*args)[:1])]


@mutant(
    "missing-route-is-only-replaced",
    "a route that somebody deleted is replaced, which EC2 refuses, and never created",
    breaks=(21,),
    among=("route-deleted", "all-routes-deleted"),
)
def _never_created() -> Sequence[Patch]:
    def refuse(_self: Ec2, _action: Any) -> None:
        raise Trouble("CreateRoute", "NotAsked")

    return [Patch(Ec2, "_create_route", refuse)]


@mutant(
    "address-stays-behind",
    "routes are moved, and the Elastic IP is left where it was",
    breaks=(6, 22),
    among=NAT_LOST,
    home=True,
)
def _no_address() -> Sequence[Patch]:
    do = Ec2.do

    def skip(self: Ec2, action: Any, *rest: Any) -> None:
        if not isinstance(action, MoveAddress):
            do(self, action, *rest)

    return [Patch(Ec2, "do", skip)]


# -- what is left alone


@mutant(
    "surplus-is-the-wrong-one",
    "of two NATs the one that carries the traffic is terminated",
    breaks=(8, 9),
    among=("user-data-fails", "stuck-pending", *DEAD_BY_PACKETS),
    home=True,
)
def _wrong_one() -> Sequence[Patch]:
    surplus = spare._surplus

    def other(view: View) -> Any:
        found = surplus(view)
        if found.stages and view.home is not None:
            return replace(found, stages=((TerminateInstance(view.home.instance_id),),))
        return found

    return [Patch(spare, "_surplus", other)]


@mutant(
    "killed-before-it-is-replaced",
    "a group's own NAT that does not pass its proof is terminated first and replaced then",
    breaks=(9,),
    among=DEAD_BY_PACKETS,
)
def _kill_first() -> Sequence[Patch]:
    def prove(view: View, _path: Any, home: Any, *_: Any) -> Any:
        kill = ((TerminateInstance(home.instance_id),),)
        return replacement.Step(view.memory, Reason.HEALING, "it does not forward", kill)

    return [Patch(heal, "_prove", prove)]


def _impatient(*, with_failovers: bool) -> Sequence[Patch]:
    speaking = arrival.speaking

    def at_once(memory: incident.Memory, failed: Sequence[Any], policy: Any) -> Any:
        is_failover = memory.moved_at is not None and memory.moved_at in memory.failovers
        return tuple(failed) if is_failover is with_failovers else speaking(memory, failed, policy)

    return [Patch(absorb, "speaking", at_once)]


@mutant(
    "slow-address-is-a-dead-path",
    "after a failover, packets that are lost while the Elastic IP is on its way condemn the new path",
    breaks=(25,),
    among=NAT_LOST,
)
def _slow_is_dead() -> Sequence[Patch]:
    return _impatient(with_failovers=True)


@mutant(
    "planned-move-is-rolled-back",
    "after a planned move, packets that are lost while the Elastic IP is on its way take the traffic back",
    breaks=(28,),
    among=NAT_LOST,
    home=True,
)
def _rolled_back() -> Sequence[Patch]:
    return _impatient(with_failovers=False)


@mutant(
    "kill-while-moving",
    "what is replaced is terminated in the plan that takes its traffic away",
    breaks=(9,),
    among=NAT_LOST,
)
def _kills_at_once() -> Sequence[Patch]:
    move = failover.move_to

    def and_kill(view: View, *rest: Any) -> Any:
        plan = move(view, *rest)
        left = view.network.owner_of(view.target or "")
        kill = ((TerminateInstance(left.instance_id),),) if left is not None else ()
        return replace(plan, stages=(*plan.stages, *kill))

    return [Patch(rules, "move_to", and_kill), Patch(failover, "move_to", and_kill)]


@mutant(
    "pause-is-forgotten",
    "a pause is remembered, and what is due is done all the same",
    breaks=(16,),
    among=("paused-mid-incident",),
)
def _no_pause() -> Sequence[Patch]:
    act = rules.act

    def go_on(read: Case) -> Any:
        until = read.seen.memory.paused_until
        plan = act(replace(read, seen=read.seen.remembering(replace(read.seen.memory, paused_until=None))))
        return replace(plan, memory=replace(plan.memory, paused_until=until))

    return [Patch(decide, "act", go_on)]
