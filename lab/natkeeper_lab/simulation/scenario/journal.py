"""What happened in the world, as the lab's looks ask for it: calls, routes, the controller's log and metrics.

The world's judge beside the invariants; made by `simulation.scenario.stage`. Log and metrics are those of natkeeper's
own telemetry, caught before they are printed. Instants are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from aws_lambda_powertools.metrics import MetricUnit

from natkeeper.adapters.ec2_facts import GROUP_TAG, ROLE_TAG
from natkeeper.adapters.telemetry import CloudTelemetry
from natkeeper.core.news import ProbeReport
from natkeeper.core.plan import Happening, Plan
from natkeeper.errors import Trouble
from natkeeper.ports import Outcome
from natkeeper_lab.scenario.foreign import is_theirs
from natkeeper_lab.scenario.sight import GONE, Line, RouteChange, name_of, where_of
from natkeeper_lab.simulation.api import Call
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import Invocation

if TYPE_CHECKING:
    from natkeeper_lab.simulation.world import World


@dataclass(frozen=True)
class Answered:
    """A call of natkeeper's that reached AWS."""

    service: str
    operation: str
    params: Mapping[str, Any]
    error_code: str | None
    ended_at: float
    is_write: bool


class Journal:
    """Listens from the moment it is made. `counts`: when, which group, how many instances that are not gone."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tables = {each.name: each.table_ids for each in world.policy.groups}
        self._lines: list[Line] = []
        self._told = _Told(self, world.policy.stack)
        self.calls: list[Answered] = []
        self.routes: list[RouteChange] = []
        self.counts: list[tuple[float, str, int]] = []
        self.last: dict[str, Line] = {}
        """Each group's newest decision."""
        self.is_by_hand = False
        self.owners: dict[str, tuple[str, str]] = {}
        self.targets: dict[str, str | None] = {
            table: world.route_of(table) for tables in self._tables.values() for table in tables
        }
        self.over: set[str] = set()
        """Request ids of invocations that are over."""
        self.refused: dict[str, str] = {}
        self.changed()

    @property
    def now(self) -> float:
        return self._world.hub.now / SECOND

    def write(self, fields: Mapping[str, Any]) -> None:
        """One line of the log."""
        line = Line(self.now, fields)
        self._lines.append(line)
        if "reason_code" in fields:
            self.last[fields["group"]] = line

    # -- the world's judge

    def sent(self, _call: Call) -> None:
        """A call leaves: what counts is what becomes of it."""

    def called(self, call: Call, error: ApiError | None) -> None:
        """A call had its effect, or was refused."""
        code = error.code if error is not None else None
        self.calls.append(Answered(call.service, call.operation, call.params, code, self.now, call.is_write))

    def decided(self, _invocation: Invocation, plan: Plan) -> None:
        """A plan was made."""
        self._told.decided(plan)

    def acted(self, _invocation: Invocation, group: str, outcome: Outcome) -> None:
        """An action was answered."""
        self._told.acted(group, outcome)

    def troubled(self, _invocation: Invocation, group: str | None, trouble: Trouble) -> None:
        """A call outside a plan failed."""
        self._told.troubled(group, trouble)

    def happened(self, _invocation: Invocation, group: str, happening: Happening) -> None:
        """An incident opened or closed, or a warning."""
        self._told.happened(group, happening)

    def reported(self, _invocation: Invocation, report: ProbeReport) -> None:
        """A prober's report was heard."""
        self._told.reported(report)

    def messaged(self, _invocation: Invocation, text: str) -> None:
        """People are told."""
        self._told.send(text)

    def ended(self, invocation: Invocation, error: BaseException | None) -> None:
        """An invocation is over; one that went through says so (`handlers.controller`)."""
        self.over.add(invocation.request_id)
        if invocation.refused is not None:
            self.refused[invocation.request_id] = invocation.refused
        elif error is None:
            self._told.passed()

    def changed(self) -> None:
        """Something in the account did."""
        world = self._world
        for each in world.ec2.machines.values():
            if each.interface is not None and each.tag(GROUP_TAG) and not is_theirs(each.tags):
                owner = each.tag(GROUP_TAG), each.tag(ROLE_TAG)
                self.owners.setdefault(each.interface.interface_id, owner)
        for group, tables in self._tables.items():
            for table in tables:
                target = world.route_of(table)
                if target != self.targets[table]:
                    self.targets[table] = target
                    change = RouteChange(self.now, table, group, target, self.where(group), self.is_by_hand)
                    self.routes.append(change)
        self.count()

    def count(self) -> None:
        """Notes how many instances each group has now."""
        machines = [each for each in self._world.ec2.machines.values() if not is_theirs(each.tags)]
        alive = [each.tag(GROUP_TAG) for each in machines if each.state not in GONE]
        self.counts += [(self.now, group, alive.count(group)) for group in self._tables]

    # -- asking

    def where(self, group: str) -> str:
        """Where the group's default routes are now."""
        return where_of(group, {self.targets[table] for table in self._tables[group]}, self.owners)

    def carried_by(self, target: str | None) -> str:
        """A name for a route's target."""
        return name_of(target, self.owners)

    def writes(self, since: float = 0.0) -> list[Answered]:
        """Calls of natkeeper's that change EC2."""
        return [each for each in self.calls if each.is_write and each.ended_at >= since]

    def own_calls(self, since: float = 0.0) -> list[Answered]:
        """All calls of natkeeper's, to any service."""
        return [each for each in self.calls if each.ended_at >= since]

    def groups_of(self, call: Answered) -> set[str]:
        """Whom a call concerns, by what it names."""
        params, groups = call.params, self._world.policy.groups
        found = {each.name for each in groups if params.get("RouteTableId") in each.table_ids}
        found |= {each.name for each in groups if params.get("AllocationId") == each.allocation_id}
        if not found:
            found.add(self.owners.get(params.get("NetworkInterfaceId", ""), ("", ""))[0])
        machines = self._world.ec2.machines
        found |= {machines[each].tag(GROUP_TAG) for each in params.get("InstanceIds", ()) if each in machines}
        for each in params.get("TagSpecifications", ()):
            found |= {tag["Value"] for tag in each["Tags"] if tag["Key"] == GROUP_TAG}
        return found - {""}

    def lines(self, since: float = 0.0) -> list[Line]:
        """The controller's log, oldest first."""
        return [each for each in self._lines if each.at >= since]

    def throttles(self, _since: float = 0.0) -> list[float]:
        """Never: no concurrency is reserved here, and the account's has no end."""
        return []

    def decisions(self, since: float = 0.0) -> list[Line]:
        """Lines with a reason code."""
        return [each for each in self.lines(since) if "reason_code" in each.fields]


class _Told(CloudTelemetry):
    """natkeeper's telemetry as Lambda runs it, with the journal in place of CloudWatch and the topic."""

    def __init__(self, journal: Journal, stack: str) -> None:
        def say(message: str, extra: Mapping[str, Any] | None = None) -> None:
            journal.write({"message": message, **(extra or {})})

        def publish(**params: Any) -> None:
            journal.calls.append(Answered("sns", "Publish", params, None, journal.now, False))

        logger, topic = SimpleNamespace(info=say, warning=say, error=say), SimpleNamespace(publish=publish)
        super().__init__(cast(Any, logger), stack, "topic", lambda: cast(Any, topic))
        self._journal = journal

    def passed(self) -> None:
        """A wake-up went through."""
        self._journal.write({"_aws": {}, "Passes": 1})

    def _emit(self, group: str, values: dict[str, float], unit: MetricUnit = MetricUnit.Count) -> None:
        if values:
            self._journal.write({"_aws": {}, "group": group, "unit": unit.value, **values})
