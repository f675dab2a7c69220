"""What a pass may ask for: a closed set of actions, and the plan that carries them. Made by `decide`, done by
`reconcile`.

What was asked (`Action`) and what happened (`Outcome`, in `ports`) are different types. May not import anything but
the standard library's data types.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from natkeeper.core.incident import Incident, Memory
from natkeeper.core.model import Role


class Reason(Enum):
    """Why the plan is as it is: one word for machines (log field `reason_code`), `Plan.detail` for people."""

    AT_REST = "at-rest"
    PAUSED = "paused"
    CANNOT_LOOK = "cannot-look"
    UNOBSERVED = "unobserved"
    LOOK_AGAIN = "look-again"
    NEEDS_CONTROL_PROBE = "needs-control-probe"
    EXTERNAL = "external"
    COMMON_MODE = "common-mode"
    ASK_NEIGHBOURS = "ask-neighbours"
    AWAITING_ADDRESS = "awaiting-address"
    BUDGET_EXHAUSTED = "budget-exhausted"
    NO_CANDIDATE = "no-candidate"
    FAIL_OVER = "fail-over"
    LAST_RESORT = "last-resort"
    CONVERGE = "converge"
    LEAVE_DOOMED = "leave-doomed"
    OPERATOR_MOVE = "operator-move"
    OPERATOR_REFUSED = "operator-refused"
    GO_HOME = "go-home"
    ADOPT = "adopt"
    BORROW_ADDRESS = "borrow-address"
    HEALING = "healing"
    TIDYING = "tidying"


@dataclass(frozen=True)
class PointRoute:
    """Make one destination of one table point at a target: ReplaceRoute, or CreateRoute when it is missing."""

    table_id: str
    destination: str
    target: str
    is_missing: bool = False


@dataclass(frozen=True)
class MoveAddress:
    """AssociateAddress: the group's Elastic IP to a landing address."""

    allocation_id: str
    interface_id: str
    private: str


@dataclass(frozen=True)
class ReleaseAddress:
    """DisassociateAddress: the stack's proving address off the NAT that it proved. Never a group's own."""

    association_id: str
    interface_id: str


@dataclass(frozen=True)
class DisableSourceDestCheck:
    """Without this an interface drops every packet that is not its own."""

    interface_id: str


@dataclass(frozen=True)
class GivePublicAddress:
    """An auto-assigned public address on the primary, so that packets can prove the instance."""

    interface_id: str


@dataclass(frozen=True)
class TakePublicAddress:
    """Makes a landing address bare again."""

    interface_id: str


@dataclass(frozen=True)
class StartInstance:
    """Start a stopped instance."""

    instance_id: str


@dataclass(frozen=True)
class StopInstance:
    """Stop an instance that carries nothing."""

    instance_id: str


@dataclass(frozen=True)
class TerminateInstance:
    """Terminate a surplus instance that carries nothing."""

    instance_id: str


@dataclass(frozen=True)
class LaunchInstance:
    """Launch a NAT. `token` is a function of group, repair and attempt, so that a repeat launches nothing new.

    `has_alternative`: where AWS has none of this type, another can be asked for at once.
    """

    group: str
    role: Role
    token: str
    instance_type: str
    has_alternative: bool = False


@dataclass(frozen=True)
class StartWatch:
    """Start the group's next watch run, asynchronously."""

    group: str
    run_id: str
    lasts: timedelta


Action = (
    PointRoute
    | MoveAddress
    | ReleaseAddress
    | DisableSourceDestCheck
    | GivePublicAddress
    | TakePublicAddress
    | StartInstance
    | StopInstance
    | TerminateInstance
    | LaunchInstance
    | StartWatch
)


@dataclass(frozen=True)
class IncidentOpened:
    """For telemetry and the ledger."""

    incident: Incident


@dataclass(frozen=True)
class IncidentClosed:
    """For telemetry, the ledger and the person who carries the pager."""

    incident: Incident
    low: timedelta
    high: timedelta | None
    closed_at: datetime
    left: str = ""
    """What is left to do for a person; empty where nothing is."""
    is_quiet: bool = False
    """For ledger, metrics and log, but for nobody's pager."""


@dataclass(frozen=True)
class IncidentLasts:
    """An incident has not ended within seconds. `detail`: what is being done about it."""

    incident: Incident
    detail: str


@dataclass(frozen=True)
class Warned:
    """Something a person should know now. `key`: what it is about, so that they are told once; None where an incident's
    own messages tell, so that it is for the log alone."""

    text: str
    key: str | None = None


@dataclass(frozen=True)
class AddressArrived:
    """For telemetry: how long AWS took to let packets follow the group's Elastic IP."""

    took: timedelta


Happening = IncidentOpened | IncidentLasts | IncidentClosed | Warned | AddressArrived


@dataclass(frozen=True)
class Standing:
    """What alarms are told of a group (`core.standing`). None is said by saying nothing."""

    is_up: bool | None = None
    is_unknown: bool = True
    is_not_healing: bool | None = None
    is_paused: bool = False


@dataclass(frozen=True)
class Plan:
    """Stages run one after the other; the actions of a stage run at the same time and independently.

    `verifies`: ask the prober afterwards, and wait for its answer. `records_first`: the memory must be in the ledger
    before the first stage (a launch must never be repeated under another token); otherwise it is written beside it.
    `wake_at`: when to look again without being woken; None leaves it to the next trigger.
    """

    group: str
    memory: Memory
    reason: Reason
    detail: str = ""
    stages: tuple[tuple[Action, ...], ...] = ()
    pause: timedelta = timedelta(0)
    """Between two stages: lets a new NAT learn the connections it will carry before their address moves to it."""
    verifies: bool = False
    records_first: bool = False
    wake_at: datetime | None = None
    wants_control_probe: bool = False
    carried_by: str = ""
    """Who carries the group's traffic once the plan is done: a group's name, `standby`, `gateway` or `unknown`."""
    is_backed: bool | None = None
    """Whether something verified could take over now; None when we could not look."""
    happenings: tuple[Happening, ...] = field(default=())
    probed_tables: frozenset[str] = frozenset()
    """The tables that the prober's packets follow."""
    asks: tuple[str, ...] = ()
    """The groups whose probers must say whether their packets get through, before traffic follows them."""
    standing: Standing = Standing()
    """What alarms are told of the group."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """Every action, in order."""
        return tuple(action for stage in self.stages for action in stage)

    @property
    def unclosed(self) -> Memory:
        """The memory until the closing that the plan tells of is in the ledger: a pass that died before, with the
        incident forgotten already, would leave it open there for ever (simulation, seed 300106992)."""
        closed = [each.incident for each in self.happenings if isinstance(each, IncidentClosed)]
        return replace(self.memory, incident=closed[0]) if closed else self.memory

    @property
    def is_opening(self) -> bool:
        """An incident begins with this plan and does not end with it. There is at most one."""
        kinds = {type(each) for each in self.happenings}
        return IncidentOpened in kinds and IncidentClosed not in kinds
