"""Proving the group's own NAT with canary packets: its route, the public address that they leave from, and how long.

AWS gives an auto-assigned public address within minutes, or never to a NAT that hosts a neighbour's Elastic IP on
another address (EC2 user guide, "Public IPv4 addresses"). So the stack has one spare Elastic IP, the *proving address*,
which a NAT without a public address borrows. Called by `heal`. May not import anything but the standard library's data
types.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from natkeeper.core.incident import Canary, Memory
from natkeeper.core.launches import is_outstanding, repair_of
from natkeeper.core.model import DEFAULT_ROUTE, ElasticIp, Instance, Role
from natkeeper.core.move import Stages, point_routes
from natkeeper.core.plan import Action, GivePublicAddress, MoveAddress, ReleaseAddress, TakePublicAddress
from natkeeper.core.view import NOTHING, Path, View


def canary_at(view: View, path: Path) -> tuple[Canary, tuple[Action, ...]]:
    """The record of the canary at that path, begun if it was elsewhere, and what points its routes there."""
    destination, canary = view.policy.canary_destination, view.memory.canary
    assert destination is not None
    if canary is None or canary.target != path.target:
        canary = Canary(path.target, view.now)
    return canary, point_routes(view, destination, path.target)


def canary_on(view: View, path: Path, nat: Instance) -> tuple[Memory, tuple[Action, ...]]:
    """The canary pointed at it, with a public address to leave from; and the memory of since when it has both."""
    assert nat.interface is not None
    memory, public = view.memory, nat.interface.primary.public
    canary, actions = canary_at(view, path)
    if public is not None:
        canary = replace(canary, addressed_at=canary.addressed_at or view.now)
    elif memory.target is not None and view.present is not None and _is_led_to(view, path):
        # A table that refused to be moved still leads there: the group's packets would leave from that address. (Not
        # where somebody put that route there: of a group that is being set up, or whose other table goes by a route
        # that is not natkeeper's. That table was dark for as long as nobody proved its NAT: seed 1792008077.)
        canary = replace(canary, addressed_at=None)
    elif canary.asked_at is None or view.now - canary.asked_at >= view.policy.address_limit:
        # Asked again only after a while: it is a matter of minutes, and a pass comes every few seconds.
        asking = _asking_for_address(view, path, nat)
        actions = (*asking, *actions)
        canary = replace(canary, asked_at=view.now if asking else None, addressed_at=None)
    else:
        canary = replace(canary, addressed_at=None)
    return replace(memory, canary=canary), actions


def _is_led_to(view: View, path: Path) -> bool:
    return path.target in view.points_at(DEFAULT_ROUTE).values()


def fails_at(view: View, home: Instance, canary: Canary) -> datetime | None:
    """When it has had its time without a packet coming through; None while it only lacks its public address."""
    if canary.addressed_at is None:
        return None
    repair = repair_of(view.memory, Role.NAT)
    begun, takes = max(canary.pointed_at, home.launched_at), view.boot_time(home)
    if is_outstanding(repair, view.instances(Role.NAT)):
        takes = view.policy.start_limit  # it is none that boots, or it has had its boot's time when that was asked for
    else:
        begun = max(begun, repair.started_at if repair is not None else view.now)
    return max(begun + takes, canary.addressed_at + view.policy.address_limit)


def bare_again(view: View, path: Path, home: Instance) -> Stages:
    """Takes every public address off its primary: the proving address if it has that, and whatever AWS may give."""
    assert home.interface is not None
    proving = view.proving_address
    actions: list[Action] = [TakePublicAddress(path.target)]
    if proving is not None and proving.association_id is not None and proving.interface_id == path.target:
        actions.append(ReleaseAddress(proving.association_id, path.target))
    return (tuple(actions),)


def _asking_for_address(view: View, path: Path, nat: Instance) -> tuple[Action, ...]:
    """The stack's proving address unless another group proves with it, else one of AWS's; a standby was launched with
    that asked for, and keeps it."""
    proving = view.proving_address
    assert nat.interface is not None
    is_free = proving is not None and not is_carrying(view, proving)
    if proving is not None and is_free and not _is_lent(view, proving.interface_id, nat.role):
        return (MoveAddress(proving.allocation_id, path.target, nat.interface.primary.address),)
    return (GivePublicAddress(path.target),) if nat.role is Role.NAT else ()


def is_carrying(view: View, proving: ElasticIp) -> bool:
    """Some group's traffic leaves from it, because its own Elastic IP is gone or refused (`core.address`)."""
    owner = view.network.owner_of(proving.interface_id or "")
    if owner is None or not owner.is_running:
        return False
    known = {view.group.name: view.target, **{name: each.target for name, each in view.others.items()}}
    users = [each for each in view.policy.groups if known.get(each.name) == proving.interface_id]
    users = [each for each in users if not _is_there(view, each.allocation_id, proving)]
    paths = (replace(view, group=each).path_to(owner) for each in users)
    return any(path is not None and path.landing == proving.private for path in paths)


def _is_there(view: View, allocation_id: str, proving: ElasticIp) -> bool:
    """The Elastic IP is where the proving address is, which it has replaced."""
    elastic = view.network.addresses.get(allocation_id)
    where = (proving.interface_id, proving.private)
    return elastic is not None and (elastic.interface_id, elastic.private) == where


def _had_its_time(view: View, theirs: Memory, canary: Canary) -> bool:
    """Its packets have been lost for as long as an address may be on its way. One of which nobody has heard for a while
    keeps it: three standbys that were proven took it from each other at rest (simulation, seed 1791028502)."""
    is_failing = theirs.proof_of(canary.target) is None and canary.failed_since is not None
    return (
        is_failing and canary.addressed_at is not None and view.now - canary.addressed_at >= view.policy.address_limit
    )


def _is_lent(view: View, interface_id: str | None, role: Role) -> bool:
    """Another group proves its own NAT with it, or its standby where it is for a standby only: two of those would take
    it from each other for ever. One that died with it, or has come home since, does not; nor one that has had it for
    its time in vain, so that two groups in one outage take turns (simulation, seed 1760016509)."""
    owner = view.network.owner_of(interface_id) if interface_id is not None else None
    if owner is None or not owner.is_running or owner.group == view.group.name:
        return False
    theirs = view.others.get(owner.group, NOTHING)
    canary = theirs.canary
    if canary is None or canary.target != interface_id or _had_its_time(view, theirs, canary):
        return False
    return theirs.target != interface_id and (role is Role.STANDBY or _is_away(view, owner, theirs))


def _is_away(view: View, proving: Instance, theirs: Memory) -> bool:
    """The group proves a NAT of its own to come home to, and is on none: at home it only watches one that was replaced,
    which may carry a guest for long (simulation, seed 1791042000)."""
    carrier = view.network.owner_of(theirs.target or "")
    is_home = carrier is not None and (carrier.role, carrier.group) == (Role.NAT, proving.group)
    return proving.role is Role.NAT and not is_home
