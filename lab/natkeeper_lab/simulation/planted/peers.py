"""The mistakes of others (docs/planted-bugs.md, "Mistakes of others"), made in natkeeper. Rows of the planted bugs.

Mistakes 2 and 13 are about settings and the template, which a simulated stack does not go through: what catches them is
in `tests/template/test_planted.py`, with the half of mistake 8 that is IAM's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from natkeeper import acting, opening, reconcile
from natkeeper.adapters import ec2, ec2_facts
from natkeeper.adapters.ledger import DynamoLedger
from natkeeper.adapters.prober import LambdaProber
from natkeeper.core import decide, heal, judge, replacement, spare
from natkeeper.core.model import ControlProbe, Instance, Network, Role, Stranger, Unknown
from natkeeper.core.news import ProbeReport, Round, RunMode, Verdict
from natkeeper.core.plan import LaunchInstance, Reason
from natkeeper.core.view import View
from natkeeper.triggers import report
from natkeeper_lab.simulation.planted.table import Patch, mutant, original

DEAD_BY_PACKETS = ("nat-hangs", "forwarding-off", "ruleset-flushed", "new-flows-fail", "conntrack-full", "tcp-refused")
NO_LAUNCH = ("no-capacity", "vcpu-quota", "address-quota", "interface-quota", "subnet-full")


@mutant(
    "first-failed-route-ends-the-loop",
    "calls are made one after the other, and the first one that fails ends the plan",
    anchor=1,
    breaks=(17,),
    among=("one-table-refuses",),
)
def _first_failure() -> Sequence[Patch]:
    def stages(group: Any, plan: Any, outcomes: Any, ports: Any) -> None:
        for action in plan.actions:
            outcomes.append(acting._do(group, action, plan, ports))
            if outcomes[-1].trouble is not None:
                return

    return [Patch(reconcile, "run_stages", stages)]


@mutant(
    "no-connection-is-success",
    "a round without an answer counts as a good one",
    anchor=3,
    breaks=(18, 21),
    among=DEAD_BY_PACKETS,
)
def _no_connection() -> Sequence[Patch]:
    read = report._round

    def round_of(row: Any, *rest: Any) -> Any:
        found = read(row, *rest)
        return replace(found, is_ok=True) if found.rtt_ms is None else found

    return [Patch(report, "_round", round_of)]


@mutant(
    "one-lost-round-moves-routes",
    "one failed round is a verdict",
    anchor=4,
    breaks=(12,),
    among=("hang-passes", "packet-loss", *DEAD_BY_PACKETS),
)
def _no_hysteresis() -> Sequence[Patch]:
    absorb, request = original(decide, "absorb"), LambdaProber._request

    def hasty(group: Any, memory: Any, news: Any, now: Any, policy: Any) -> Any:
        return absorb(group, memory, news, now, replace(policy, rounds_to_fail=1))

    def ask(self: Any, *rest: Any) -> Any:
        return request(self, *rest) | {"rounds_to_fail": 1}

    return [Patch(decide, "absorb", hasty), Patch(LambdaProber, "_request", ask)]


@mutant(
    "no-control-probe",
    "failed probes are believed without trying the targets from outside",
    anchor=4,
    breaks=(11,),
    among=("targets-down", *DEAD_BY_PACKETS),
)
def _no_control() -> Sequence[Patch]:
    by_probes = judge._by_probes
    return [Patch(judge, "_by_probes", lambda view, _control, heard_at: by_probes(view, ControlProbe(True), heard_at))]


@mutant(
    "failed-look-is-empty",
    'a describe call that fails is read as "nothing there"',
    anchor=5,
    breaks=(10,),
    among=("region-down", "expired-credentials", "throttle-all-calls"),
)
def _empty_look() -> Sequence[Patch]:
    look = opening.look

    def empty(*asked: Any, **how: Any) -> Any:
        found = look(*asked, **how)
        return Network((), {}, {}) if isinstance(found, Unknown) else found

    return [Patch(opening, "look", empty)]


@mutant(
    "failed-launch-is-success",
    "a launch that EC2 refuses counts as accepted, and what was accepted is waited for",
    anchor=6,
    breaks=(6, 21),
    among=NO_LAUNCH,
)
def _launch_succeeds() -> Sequence[Patch]:
    judge_outcome, launch = acting.judge_outcome, replacement.launch

    def believe(group: Any, outcome: Any, ports: Any, policy: Any) -> None:
        is_launch = isinstance(outcome.action, LaunchInstance)
        judge_outcome(group, replace(outcome, trouble=None) if is_launch else outcome, ports, policy)

    def wait(view: Any, role: Role) -> Any:
        repair = view.memory.repair if role is Role.NAT else view.memory.standby_repair
        if repair is not None and repair.is_accepted:
            return replacement.Step(view.memory, Reason.HEALING, "waiting for what was launched")
        return launch(view, role)

    return [Patch(reconcile, "judge_outcome", believe), *(Patch(each, "launch", wait) for each in (heal, spare))]


@mutant(
    "reserved-concurrency-is-the-lock",
    "the ledger's writes have no condition: whoever comes takes the lease, whoever ends writes",
    anchor=7,
    breaks=(2, 13, 14, 19),
    among=("two-controllers", "event-burst", "invocation-delivered-twice", "lease-ends-mid-plan"),
)
def _no_lease() -> Sequence[Patch]:
    update = DynamoLedger._update

    def unconditional(self: Any, group: Any, change: Any, _condition: Any, values: Any) -> Any:
        return update(self, group, change, "attribute_not_exists(nothing)", values)

    return [Patch(DynamoLedger, "_update", unconditional)]


@mutant(
    "anything-can-be-terminated",
    "every instance of the account that forwards packets counts as the stack's own, whatever its tags say",
    anchor=8,
    breaks=(15,),
    among=("route-edited", "second-stack"),
    home=True,
)
def _terminates_anything() -> Sequence[Patch]:
    read = ec2_facts.instance
    ours = {"Key": ec2_facts.ROLE_TAG, "Value": Role.NAT.value}

    def instances(self: Any) -> tuple[list[Instance], list[Stranger]]:
        pages = self._client.get_paginator("describe_instances").paginate()
        found = [item for page in pages for each in page["Reservations"] for item in each["Instances"]]
        zone = {"Key": ec2_facts.GROUP_TAG, "Value": self._policy.groups[0].name}
        parsed = (read(each) or read({**each, "Tags": [ours, zone]}) for each in found)
        return [each for each in parsed if each is not None], []

    return [Patch(ec2.Ec2, "_instances", instances)]


@mutant(
    "running-is-forwarding",
    "an instance that EC2 calls running is taken for one that forwards packets",
    anchor=9,
    breaks=(1,),
    among=("nat-terminated", "nat-stops", "user-data-fails"),
)
def _running() -> Sequence[Patch]:
    def is_verified(_self: View, path: Any) -> bool:
        return path.instance is None or bool(path.instance.is_running)

    return [Patch(View, "is_verified", is_verified)]


@mutant(
    "waits-for-the-dying",
    "a group's NAT is whatever has its tag, and a replacement waits until that one is done with its interface",
    anchor=10,
    breaks=(6, 21),
    among=("nat-terminated",),
)
def _waits() -> Sequence[Patch]:
    launch = replacement.launch

    def wait(view: View, role: Role) -> replacement.Step:
        named = [each for each in view.network.instances if each.group == view.group.name and each.role is role]
        if any(each.state.is_gone for each in named):
            return replacement.Step(view.memory, Reason.HEALING, "waiting for the interface")
        return launch(view, role)

    return [Patch(each, "launch", wait) for each in (heal, spare)]


@mutant(
    "routes-to-instance-ids",
    "routes are pointed at instances instead of interfaces",
    anchor=11,
    breaks=(21,),
    among=("nat-terminated", "nat-stops", "route-deleted"),
)
def _instance_ids() -> Sequence[Patch]:
    def target(action: Any) -> dict[str, Any]:
        return {"InstanceId": action.target.replace("eni-", "i-")}

    return [Patch(ec2, "_route_target", target)]


@mutant(
    "returning-is-recovery",
    "once ReplaceRoute has returned, egress counts as back: nobody sends a packet to see",
    anchor=12,
    breaks=(1, 18, 21),
    among=("nat-stops", "nat-terminated", *DEAD_BY_PACKETS),
)
def _no_verification() -> Sequence[Patch]:
    def claim(group: Any, ports: Any) -> None:
        now = ports.clock.now()
        rounds = (Round(now, "nobody's", True, 1.0),)
        made_up = ProbeReport(group.name, f"none-{now}", RunMode.VERIFY, Verdict.PASSED, rounds)
        group.news = (*group.news, made_up)

    return [Patch(reconcile, "verify", claim)]


@mutant(
    "moves-are-not-verified",
    "after a move nobody asks the prober: the next watch run will tell",
    anchor=12,
    breaks=(21,),
    among=("nat-stops", "nat-terminated", *DEAD_BY_PACKETS),
)
def _unverified() -> Sequence[Patch]:
    return [Patch(reconcile, "verify", lambda _group, _ports: None)]
