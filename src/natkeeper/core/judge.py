"""Is the group's egress alive? The one place that turns evidence into a verdict.

What an event says is not evidence; what EC2's API shows and what packets did is. May not import
anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from natkeeper.core.arrival import is_under_way
from natkeeper.core.incident import RECENT_ROUNDS, Cause
from natkeeper.core.model import ControlProbe, InstanceState
from natkeeper.core.view import View
from natkeeper.core.way import another_way

DELIVERY = timedelta(seconds=5)
"""From a verdict to the next run's first round, and back to a pass, with room. The prober's word that the path is down
is good for as long as its next one may take: after an outage of EC2's API, the word of before it once moved traffic off
a path that worked again (simulation, seed 1004137)."""


THROUGH = timedelta(seconds=5)
"""So old may the last good round be where a look says that the address is not there: looks may be older."""


class Health(Enum):
    """The verdict on the present path."""

    ALIVE = "alive"
    DEAD = "dead"
    UNOBSERVED = "unobserved"
    NEEDS_CONTROL = "needs-control"
    EXTERNAL = "external"
    COMMON_MODE = "common-mode"


@dataclass(frozen=True)
class Verdict:
    """`cause` belongs to DEAD, `detail` is for people."""

    health: Health
    cause: Cause | None = None
    detail: str = ""


def judge(view: View, control: ControlProbe | None) -> Verdict:
    """The verdict on where the group's traffic belongs. Total: every combination of facts has an answer."""
    target = view.target
    if target is None:
        return Verdict(Health.DEAD, Cause.ROUTE_MISSING, "no default route in the group's tables")
    by_state = _by_state(view, target) or _by_address(view, target)
    if by_state is not None:
        return by_state
    if (elsewhere := another_way(view)) != "":
        return Verdict(Health.UNOBSERVED, detail=elsewhere)
    if view.memory.is_down:
        return _by_probes(view, control, view.memory.down_at)
    if (heard_at := _owner_down_at(view, target)) is not None:
        return _by_probes(view, control, heard_at)
    proof = view.memory.proof_of(target)
    if proof is not None and view.now - proof.at <= view.policy.freshness:
        return Verdict(Health.ALIVE)
    return Verdict(Health.UNOBSERVED, detail="no recent probe went through the present path")


def _by_state(view: View, target: str) -> Verdict | None:
    owner = view.network.owner_of(target)
    if owner is not None and owner.state is not InstanceState.RUNNING:
        cause = Cause.INSTANCE_GONE if owner.state.is_gone else Cause.INSTANCE_STOPPED
        return Verdict(Health.DEAD, cause, f"{owner.instance_id} is {owner.state.value}")
    if owner is None and view.is_blackhole(target):
        # Blackhole is certain only after the target is gone, so a NAT that runs is judged by its packets instead: an
        # old look may still show the blackhole of the minute before (docs/aws.md).
        return Verdict(Health.DEAD, Cause.ROUTE_BLACKHOLE, f"EC2 reports the route to {target} as blackhole")
    return None


def _by_address(view: View, target: str) -> Verdict | None:
    """Its packets leave from no public address, and its own cannot be moved there: dead, whatever the NAT does. Where
    the last round got through, an old look only does not show it."""
    path = next((each for each in view.paths if each.target == target), None)
    last = view.memory.recent[-1] if view.memory.recent else None
    is_through = last is not None and last.is_ok and view.now - last.sent_at < THROUGH
    if path is None or is_through or not view.is_mute(path):
        return None
    allocation = view.group.allocation_id
    if view.is_address_gone:
        text = f"the Elastic IP {allocation} ({view.group.public_address}) is gone: somebody released it"
        return Verdict(Health.DEAD, Cause.ADDRESS_GONE, text)
    return Verdict(Health.DEAD, Cause.ADDRESS_REFUSED, f"EC2 refuses to move the Elastic IP {allocation} to {target}")


def _owner_down_at(view: View, target: str) -> datetime | None:
    """When the packets of the group whose NAT it is were last heard to fail there, while this group's own fail too and
    its Elastic IP may be under way: what both lose is the NAT's fault, not the address's."""
    owner = view.network.owner_of(target)
    theirs = view.others.get(owner.group) if owner is not None else None
    last = view.memory.recent[-1:]
    if theirs is None or not theirs.is_down or theirs.target != target or not last or last[0].is_ok:
        return None
    moved_at, heard_at = view.memory.moved_at, theirs.down_at
    if heard_at is None or moved_at is None or heard_at <= moved_at:
        return None  # what was heard before this group came there was no reason to stay away, and is none to leave
    return heard_at if is_under_way(view.memory, view.now, view.policy) else None


def _by_probes(view: View, control: ControlProbe | None, heard_at: datetime | None) -> Verdict:
    if heard_at is not None and view.now - heard_at > view.policy.rounds_to_fail * view.policy.interval + DELIVERY:
        return Verdict(Health.UNOBSERVED, detail="probes failed a while ago; what they say now is waited for")
    if control is None:
        return Verdict(Health.NEEDS_CONTROL, detail="probes failed; the targets must be tried from outside first")
    if not control.is_ok:
        return Verdict(Health.EXTERNAL, detail=f"the targets fail from outside the VPC too: {control.detail}")
    if view.memory.external_at is not None and not _has_failed_since_then(view):
        return Verdict(Health.EXTERNAL, detail="the targets are back; rounds sent since then will tell")
    others = view.others.values()
    targets = {view.target} | {each.target for each in others}
    is_common = all(each.is_down for each in others) and all(_runs(view, each) for each in targets)
    if len(targets) > 1 and is_common and not _has_a_way_out(view, targets):
        return Verdict(Health.COMMON_MODE, detail="every group fails at once while its NAT runs")
    return Verdict(Health.DEAD, Cause.PROBES_FAILED, "probes from the private subnet fail, the control probe does not")


def _has_a_way_out(view: View, taken: Set[str | None]) -> bool:
    """A NAT gateway of the group's shares nothing with NAT instances that all fail; nor does a standby through which
    packets get since this group's began to fail. `taken`: where the groups are."""
    free = [each for each in view.paths if each.target not in taken and view.is_usable(each)]
    return any(view.is_verified_since(each, view.failing_since) for each in free)


def _has_failed_since_then(view: View) -> bool:
    """After a fault of the targets': enough rounds failed that were sent when the control probe had succeeded again. A
    report that was under way when they came back would otherwise move traffic off a NAT that never failed."""
    back_at, wanted = view.memory.targets_back_at, min(view.policy.rounds_to_fail, RECENT_ROUNDS)
    failed = [each for each in view.memory.recent if back_at is not None and each.sent_at > back_at and not each.is_ok]
    return len(failed) >= wanted


def _runs(view: View, target: str | None) -> bool:
    """Routes lead there and EC2 does not show it as stopped or gone: else the group is down for a reason of its own. So
    it is on somebody's interface that is none of natkeeper's NATs, of which nobody knows whether it ever forwarded."""
    return (
        target is not None
        and (target.startswith("nat-") or view.network.owner_of(target) is not None)
        and target in view.network.default_targets
        and _by_state(view, target) is None
    )
