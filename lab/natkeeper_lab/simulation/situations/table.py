"""The table of starting situations: one for each plan that the controller can make with two zones and two tables.

Filled by the modules beside this one. A row arranges a world, says what wakes the controller, and which reason its
first wake-up must give for zone a: a situation that stops calling for its plan fails, instead of proving nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from natkeeper.core.plan import Reason
from natkeeper_lab.simulation.scene import Scene
from natkeeper_lab.simulation.setting import Setting

Arrange = Callable[[Scene], dict[str, Any]]


@dataclass(frozen=True)
class Situation:
    """`arrange` returns what wakes the controller. `expects`: a reason of zone a in that wake-up. `is_home_reachable`:
    traffic is on its own NAT in the end; not where a bound holds it or no canary can prove anything."""

    name: str
    expects: Reason
    arrange: Arrange
    setting: Setting
    is_home_reachable: bool


SITUATIONS: dict[str, Situation] = {}
SMALL = {"zones": 2, "tables": 2, "quiet": 20, "run": 30}


def situation(
    name: str, expects: Reason, *, is_home_reachable: bool = True, **setting: Any
) -> Callable[[Arrange], Arrange]:
    """Adds a row."""

    def add(arrange: Arrange) -> Arrange:
        assert name not in SITUATIONS, name
        SITUATIONS[name] = Situation(name, expects, arrange, Setting(**{**SMALL, **setting}), is_home_reachable)
        return arrange

    return add
