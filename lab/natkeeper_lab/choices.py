"""What a run of the lab may choose, and what that means for the deployment.

`stack` reads it; the demo, the benchmarks and tests fill it in. May not import natkeeper or boto3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from natkeeper_lab.api import ApiOptions
from natkeeper_lab.network import CANARY, TARGETS
from natkeeper_lab.network.security_group import MidStream
from natkeeper_lab.vpc import WEB_HOST

SHORTEST_RUN = 10
SHORTEST_QUIET = 30
"""What the template allows (ProbeRunSeconds, QuietPeriod); the lab's time scale goes below."""


@dataclass
class Choices:
    """Times in seconds.

    `parameters` are the template's, as a user would pass them, and win over everything here that is passed as one. The
    lab's own time scale: where `run` or `quiet` are shorter than the template allows, they are set in the controller's
    environment after the deployment, and so are `settings`; `tick` is how long the Scheduler's minute lasts, and `seed`
    decides when inside it the schedule fires.
    """

    zones: int = 2
    tables: int = 1
    apart: tuple[str, ...] = ()
    """Zones whose prober has a subnet of its own, beside the workloads'."""
    gateways: tuple[str, ...] = ()
    """Zones that have a NAT gateway."""
    mid_stream: MidStream = "accept"
    quiet: float = 4.0
    run: float = 5.0
    tick: float = 20.0
    seed: int = 0
    standby: str = "auto"
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    has_share: bool = False
    """Functions run within the processor share of their MemorySize, as on Lambda."""
    ports: tuple[int, ...] = ()
    """On which the lab's internet listens beside 80 and 443."""
    api: ApiOptions = field(default_factory=ApiOptions)

    def deployed(self) -> dict[str, str]:
        """Template parameters, beside the network's: the story's rules, and targets that the lab's internet has."""
        targets = (f"tcp://{TARGETS[0]}:443", f"tcp://{TARGETS[1]}:443", f"https://{TARGETS[2]}/")
        return {
            "EgressProfile": "web",
            "BastionCidr": f"{WEB_HOST}/32",
            "StandbyMode": self.standby,
            "ProbeTargets": ",".join(targets),
            "CanaryAddress": CANARY,
            "ProbeRunSeconds": str(max(SHORTEST_RUN, math.ceil(self.run))),
            "QuietPeriod": str(max(SHORTEST_QUIET, math.ceil(self.quiet))),
            **self.parameters,
        }

    def overridden(self) -> dict[str, str]:
        """Values of the controller's environment that the template's limits do not allow."""
        scaled = {}
        if self.run < SHORTEST_RUN and "ProbeRunSeconds" not in self.parameters:
            scaled["NATKEEPER_PROBE_RUN"] = str(self.run)
        if self.quiet < SHORTEST_QUIET and "QuietPeriod" not in self.parameters:
            scaled["NATKEEPER_QUIET_PERIOD"] = str(self.quiet)
        return {**scaled, **self.settings}
