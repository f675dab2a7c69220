"""Egress for a group whose own Elastic IP is gone, or may not be moved: from some address, as fast as there is one.

Called by `failover` when no path has a public address, asked by `proving` before it lends the same one. The group comes
back to its own address by itself once EC2 has it and moves it (`move`). May not import anything but the standard
library's data types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from natkeeper.core.backoff import waits
from natkeeper.core.finish import plan_for
from natkeeper.core.incident import Memory
from natkeeper.core.judge import Verdict
from natkeeper.core.model import DEFAULT_ROUTE, ElasticIp
from natkeeper.core.move import point_routes
from natkeeper.core.plan import Action, GivePublicAddress, MoveAddress, Plan, Reason, Warned
from natkeeper.core.proving import is_carrying
from natkeeper.core.view import Path, View


def borrow(view: View, verdict: Verdict) -> Plan | None:
    """Another address for the group, with its routes where that goes; None where there is none to ask for now."""
    for path in _running(view):
        action = _asking(view, path)
        if action is None:
            continue
        memory = view.memory if path.target == view.target else view.memory.moving(path.target, view.now)
        memory = replace(memory, is_down=False, borrowed_at=view.now)
        text = f"{verdict.detail}; {_described(view, action)} stands in for it on {path.target}"
        stage = (action, *point_routes(view, DEFAULT_ROUTE, path.target))
        plan = replace(plan_for(view, Reason.BORROW_ADDRESS, text), memory=memory, stages=(stage,), verifies=True)
        return replace(plan, happenings=(Warned(f"group {view.group.name}: {text}; {_remedy(view)}", "address"),))
    return None


def as_returned(view: View, memory: Memory) -> Memory:
    """The memory after a look: the group's own Elastic IP is back where its traffic is."""
    elastic = view.network.addresses.get(view.group.allocation_id)
    is_back = elastic is not None and elastic.interface_id is not None and elastic.interface_id == memory.target
    return replace(memory, borrowed_at=None) if is_back and memory.borrowed_at is not None else memory


def _running(view: View) -> Iterator[Path]:
    """Where packets may be translated for the group: where its traffic is, then what is verified, then the others, each
    in the order of preference."""
    found = [each for each in view.paths if each.instance is not None and each.instance.is_running and each.landing]
    found = [each for each in found if not view.is_checked(each) and not view.memory.is_excluded(each.target, view.now)]
    return iter(sorted(found, key=lambda each: (each.target != view.target, not view.is_verified(each))))


def _asking(view: View, path: Path) -> Action | None:
    """The proving address, unless it stands in for somebody else's already; or one of AWS's, which only a group's own
    NAT can have on the address that its packets leave from (its primary one), and which takes minutes."""
    asked_at, proving = view.memory.borrowed_at, view.proving_address
    is_asked = asked_at is not None and view.now - asked_at < view.policy.address_limit
    assert path.instance is not None
    assert path.landing is not None
    if proving is not None and not is_carrying(view, proving):
        action = MoveAddress(proving.allocation_id, path.target, path.landing)
        if not waits(view.memory, action, view.now):
            return action
    give = GivePublicAddress(path.target)
    return None if is_asked or path.instance is not view.home or waits(view.memory, give, view.now) else give


def _described(view: View, action: Action) -> str:
    proving: ElasticIp | None = view.proving_address
    if isinstance(action, MoveAddress) and proving is not None:
        return f"the proving address {proving.public}"
    return "a public address of AWS's"


def _remedy(view: View) -> str:
    if view.is_address_gone:
        return "allow-lists at the far end need the new address; allocate an Elastic IP and update the stack"
    return "allow AssociateAddress in the controller's role and the account's policies"
