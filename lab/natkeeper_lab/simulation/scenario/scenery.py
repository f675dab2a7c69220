"""A scenario file's stack as a world is built from it: what the user chose, the lab's pace, and what workloads send.

Called by `simulation.scenario.stage`.
"""

from __future__ import annotations

from natkeeper_lab.scenario.file import Scenario
from natkeeper_lab.scenario.pace import Pace
from natkeeper_lab.scenario.vocabulary import PARAMETERS
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.paces import Paces
from natkeeper_lab.simulation.setting import CANARY, Setting

CALL = (50_000, 77_000)
"""The lab adds 50 ms to each of natkeeper's EC2 calls, and its server takes 2 to 27 (shared facts: Emulators)."""
RULER, LINE = 0.22, 0.0018
"""Mbit/s through a NAT, both ways together, of the lab's ruler in one zone, and Mbit of one line of a flow with what it
is answered. Measured in the lab: 0.22 with the ruler alone, 0.67 with 50 flows beside it that speak every 0.2 s."""
SCRIPT = (200_000, 600_000)
"""A boot script on the lab's namespaces: there is no package to load and no kernel to boot."""


def paces(lab: Pace) -> Paces:
    """The lab's: a boot and a stop take what its pace says, an Elastic IP is moved by one change of a map."""
    boot, stop = int(lab.boot * SECOND), int(lab.stop * SECOND)
    return Paces(
        to_running=(boot, boot),
        script=SCRIPT,
        start_script=SCRIPT,
        to_stopped=(stop, stop),
        to_terminated=(stop, stop),
        remap=(0, 20_000),
        public=(0, 100_000),
        taken=(0, 100_000),
    )


def setting(scenario: Scenario, lab: Pace) -> Setting:
    """The stack that a file speaks of. Any canary address is this world's own one: nothing depends on which it is."""
    standby = scenario.stack.get("StandbyMode", "auto")
    if standby == "auto":
        standby = "none" if len(scenario.zones) > 1 else "stopped"
    env = {PARAMETERS[key]: value for key, value in scenario.stack.items() if PARAMETERS[key]}
    env |= {"NATKEEPER_QUIET_PERIOD": str(lab.quiet), "NATKEEPER_PROBE_RUN": str(lab.run)}
    env["NATKEEPER_STANDBY"] = standby
    has_canary = bool(scenario.stack.get("CanaryAddress", CANARY))
    env["NATKEEPER_CANARY_ADDRESS"] = CANARY if has_canary else ""
    return Setting(
        zones=len(scenario.zones),
        tables=scenario.tables,
        standby=standby,
        has_canary=has_canary,
        gateways=scenario.gateways,
        begins="unknown",
        env=tuple(sorted(env.items())),
    )


def loads(scenario: Scenario) -> dict[str, float]:
    """What each zone's workloads send through their NAT, in Mbit/s."""
    lines = {
        zone: sum(each.count / each.every for each in scenario.flows if each.group == zone) for zone in scenario.zones
    }
    return {zone: RULER + LINE * each for zone, each in lines.items()}
