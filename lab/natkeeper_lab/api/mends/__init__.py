"""What moto gets wrong, one small function each. `api.server` installs them and takes them back."""

from __future__ import annotations

from natkeeper_lab.api.mends import (
    associations,
    dry_run,
    interfaces,
    launch,
    lifecycle,
    nat_gateways,
    public_addresses,
    public_images,
    routes,
    rules,
    schedules,
    stack_resources,
    stacks,
    status,
)
from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World


def install(patches: Patches, world: World) -> None:
    """Put every mend in place. Order matters only where one mend wraps another's."""
    for module in (
        dry_run,
        interfaces,
        public_addresses,
        public_images,
        associations,
        lifecycle,
        launch,
        routes,
        nat_gateways,
        rules,
        schedules,
        stacks,
        stack_resources,
        status,
    ):
        module.install(patches, world)
