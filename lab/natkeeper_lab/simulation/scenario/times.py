"""AWS's times by name (`scenario.times`) as what they change in the paces of the simulated AWS.

Called by `simulation.scenario.hands`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.paces import Paces, Span

SPANS = {"remap": "remap", "route": "propagation", "public": "public", "destination": "destination"}
SCRIPTS = {"boot": ("script", "start_script"), "start": ("start_script", "script")}


def changed(paces: Paces, name: str, value: float | str | None) -> Mapping[str, Any]:
    """The fields of the paces that differ once a time is this."""
    if name == "model":
        return {"is_remap_dark": value == "dark"}
    if value is None:
        return {SPANS[name]: None}
    wanted = int(float(value) * SECOND)
    if name in SCRIPTS:
        return _boots(paces, *SCRIPTS[name], wanted)
    if name == "events":
        return {"events": (wanted, wanted + 1)}
    return {SPANS[name]: (wanted, wanted)}


def _boots(paces: Paces, script: str, other: str, wanted: int) -> dict[str, Span]:
    """EC2 shows a machine as running as early as before, and the rest of the time goes by until it forwards."""
    running = min(paces.to_running[0], wanted)
    sooner, rest = paces.to_running[0] - running, wanted - running
    low, high = getattr(paces, other)
    return {script: (rest, rest), other: (low + sooner, high + sooner), "to_running": (running, running)}
