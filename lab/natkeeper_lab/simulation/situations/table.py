"""The table of starting situations: one for each plan that the controller can make with two zones and two tables.

Filled by the modules beside this one. A row arranges a world, says what wakes the controller, and which of natkeeper's
rules must decide about zone a in its first wake-up: a situation that stops calling for its rule fails, instead of
proving nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from natkeeper.core.plan import Reason
from natkeeper.core.rules import RULES
from natkeeper_lab.simulation.scene import Scene
from natkeeper_lab.simulation.setting import Setting

Arrange = Callable[[Scene], dict[str, Any]]


@dataclass(frozen=True)
class Situation:
    """`arrange` returns what wakes the controller. `rule`: the one that decides about zone a in that wake-up, or what
    stands beside the table. `is_home_reachable`: traffic is on its own NAT in the end; not where a bound holds it or no
    canary can prove anything."""

    name: str
    rule: str
    arrange: Arrange
    setting: Setting
    is_home_reachable: bool

    @property
    def expects(self) -> Reason:
        """The reason that zone a is given in that wake-up."""
        return BESIDE_THE_TABLE.get(self.rule) or next(rule.reason for rule in RULES if rule.name == self.rule)


BESIDE_THE_TABLE = {"cannot look": Reason.CANNOT_LOOK, "awaiting address": Reason.AWAITING_ADDRESS}
SITUATIONS: dict[str, Situation] = {}
SMALL = {"zones": 2, "tables": 2, "quiet": 20, "run": 30}


def situation(name: str, rule: str, *, is_home_reachable: bool = True, **setting: Any) -> Callable[[Arrange], Arrange]:
    """Adds a row."""

    def add(arrange: Arrange) -> Arrange:
        assert name not in SITUATIONS, name
        SITUATIONS[name] = Situation(name, rule, arrange, Setting(**{**SMALL, **setting}), is_home_reachable)
        return arrange

    return add
