"""How long AWS takes from now on: `ApiOptions` say it for the start, and a scenario changes it while the API runs.

Made by `api.world`; the mends, the event bus and Lambda's control plane read it at the moment they need it. May not
import moto or boto3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from natkeeper_lab.api.options import ApiOptions

Remap = Literal["late", "dark"]
REMAPS: tuple[Remap, ...] = ("late", "dark")
"""Until packets follow an Elastic IP the former mapping works on, or neither works: AWS says nothing of it."""


@dataclass
class Paces:
    """Seconds.

    `launch`: from RunInstances, and `start`: from StartInstances, until the guest is on the wire and runs what it runs
    at a boot; None is the pace of `ApiOptions`. `public_address`: from a lost Elastic IP, or the attribute set, to the
    auto-assigned address; None is never. `route`: from an answered route call until packets follow it.
    """

    launch: float | None
    start: float | None
    remap: float
    remap_model: Remap
    public_address: float | None
    destination: float
    event: float
    route: float

    @classmethod
    def of(cls, options: ApiOptions) -> Paces:
        """What an Api begins with."""
        return cls(
            launch=options.launch_seconds,
            start=options.start_seconds,
            remap=options.remap_seconds,
            remap_model=options.remap_model,
            public_address=options.auto_address_delay,
            destination=options.destination_delay,
            event=options.event_delay,
            route=options.route_delay,
        )
