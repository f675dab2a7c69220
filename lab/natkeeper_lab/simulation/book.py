"""What the invariants remember of a schedule: who moved what when, and what broke.

Filled by `simulation.invariants`, which is the world's judge. Instants are the hub's microseconds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from natkeeper.core.plan import Plan, Reason
from natkeeper_lab.simulation.answers import BEGINNING

if TYPE_CHECKING:
    from natkeeper_lab.simulation.world import World

MICROSECOND = 1_000_000
MOVES = (
    *(Reason.FAIL_OVER, Reason.LAST_RESORT, Reason.GO_HOME, Reason.OPERATOR_MOVE, Reason.LEAVE_DOOMED, Reason.ADOPT),
    Reason.CONVERGE,
)
SKEW = 40 * MICROSECOND
"""What the faults that set a controller's clock wrongly set it wrong by, at most, in microseconds."""
HELD = (Reason.BUDGET_EXHAUSTED, Reason.COMMON_MODE)
"""natkeeper holds and pages, on purpose. An operator's pause is held too, until they take it back."""


@dataclass(frozen=True)
class Violation:
    """One invariant that did not hold. `at` is in microseconds since the schedule began."""

    number: int
    at: int
    text: str

    def __str__(self) -> str:
        return f"{self.at / 1e6:10.3f}  invariant {self.number}: {self.text}"


@dataclass(frozen=True)
class Move:
    """A plan that moved a group's default routes."""

    at: int
    reason: Reason
    target: str
    serial: int
    """Of the invocation that made it."""


@dataclass
class Book:
    """One schedule's."""

    world: World
    violations: list[Violation] = field(default_factory=list)
    moves: defaultdict[str, list[Move]] = field(default_factory=lambda: defaultdict(list))
    unrecorded: defaultdict[str, set[Move]] = field(default_factory=lambda: defaultdict(set))
    """Group to the moves of passes that have not written to the ledger since, and are not over or died."""
    launches: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    obeyed: defaultdict[str, set[tuple[int, str | None]]] = field(default_factory=lambda: defaultdict(set))
    """Group to the moves that were made because an operator asked: whose invocation, and where to."""
    recorded: dict[str, str | None] = field(default_factory=dict)
    """Group to the target that its memory in the ledger names, if it names one."""
    recorded_at: dict[str, int] = field(default_factory=dict)
    """Group to when that changed last."""
    down_since: dict[str, int] = field(default_factory=dict)
    """Group to since when its memory in the ledger says that probes failed."""
    expected: dict[tuple[int, str], int] = field(default_factory=dict)
    """(invocation's serial number, group) to actions whose outcome is still to come."""
    ledgerless: set[tuple[int, str]] = field(default_factory=set)
    borrowers: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    """Invocation to the group that borrowed an address in it, and where to: a try of that may arrive late."""
    unasked: set[int] = field(default_factory=set)
    """Invocations in which some prober could not be asked."""
    unproven: set[tuple[int, str]] = field(default_factory=set)
    """Who moved a group's routes and has not asked the prober yet whether packets get through."""
    ours: set[str] = field(default_factory=set)
    """Instances that are natkeeper's, whatever their tags say now."""
    forwards_since: dict[str, int] = field(default_factory=dict)
    """Interface to since when the machine behind it has forwarded without a break, whatever becomes of addresses."""
    closed: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    plans: dict[str, tuple[int, Plan]] = field(default_factory=dict)
    """Group to the newest plan and whose it is."""
    held_at: int | None = None
    """When a plan of any group was last to hold, for a reason that nobody can take back."""
    paused_at: dict[str, int] = field(default_factory=dict)
    """Group to when a plan last said that it is paused, until one says something else."""
    heard_at: dict[str, int] = field(default_factory=dict)
    """Group to when its prober's rounds last reached a pass."""
    unseen_since: dict[str, int] = field(default_factory=dict)
    """Group to since when every look for it has failed."""
    refused_since: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Group to since when nobody has got its lease and somebody was refused it, and who was the last."""
    writes: int = 0
    wrote_at: int = 0
    ledger_writes: int = 0

    @property
    def now(self) -> int:
        return self.world.hub.now

    def broke(self, number: int, text: str) -> None:
        """Keeps the first of each kind; the rest of a broken world says little."""
        self.world.tell(f"BROKEN invariant {number}: {text}")
        if len(self.violations) < 5:
            self.violations.append(Violation(number, self.now, text))

    def was_recorded(self, group: str, serial: int) -> None:
        """The invocation's moves of the group are in the ledger, where every later pass reads them."""
        self.unrecorded[group] = {each for each in self.unrecorded[group] if each.serial != serial}

    def group_of_table(self, table_id: str) -> str | None:
        """Whose table it is; None for one that is not the stack's."""
        return next((each.name for each in self.world.policy.groups if table_id in each.table_ids), None)

    def group_of_address(self, allocation_id: str) -> str | None:
        """Whose Elastic IP it is; None for the proving address, which belongs to the stack."""
        return next((each.name for each in self.world.policy.groups if each.allocation_id == allocation_id), None)


def on_hub(moment: datetime) -> int:
    """A wall clock's instant on the hub."""
    span = moment - BEGINNING
    return (span.days * 86_400 + span.seconds) * MICROSECOND + span.microseconds
