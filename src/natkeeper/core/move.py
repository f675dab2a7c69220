"""The three orders of moving a group's traffic (docs/architecture.md), and mending what drifted.

The rule: a packet of the group is never translated to an address that the far end knows by
another name, because it would answer with a reset and kill the connection. May not import anything but the standard
library's data types.
"""

from __future__ import annotations

from natkeeper.core.model import DEFAULT_ROUTE
from natkeeper.core.plan import Action, MoveAddress, PointRoute
from natkeeper.core.view import Path, View

Stages = tuple[tuple[Action, ...], ...]


def stages_to(view: View, path: Path, *, is_planned: bool) -> Stages:
    """The calls that put the group's routes and its Elastic IP on `path`, in the order that loses least.

    Landing bare, planned: routes, then the address. Bare, unplanned: both at once, one round trip. Not bare: the
    address, then the routes. Nothing to do gives no stages.
    """
    routes = point_routes(view, DEFAULT_ROUTE, path.target)
    address = move_address(view, path)
    if not path.is_bare:
        ordered: Stages = (address, routes)
    elif is_planned:
        ordered = (routes, address)
    else:
        ordered = ((*address, *routes),)
    return tuple(stage for stage in ordered if stage)


def point_routes(view: View, destination: str, target: str) -> tuple[Action, ...]:
    """One call for each table whose route is not there yet; each stands alone."""
    return tuple(
        PointRoute(table_id, destination, target, is_missing=present is None)
        for table_id, present in view.points_at(destination).items()
        if present != target
    )


def move_address(view: View, path: Path) -> tuple[Action, ...]:
    """The call that brings the Elastic IP to the landing address, where it is elsewhere and may be moved."""
    if path.landing is None:
        return ()
    elastic = None if view.is_address_stuck else view.network.addresses.get(view.group.allocation_id)
    if elastic is None or (elastic.interface_id == path.target and elastic.private == path.landing):
        return ()
    return (MoveAddress(view.group.allocation_id, path.target, path.landing),)
