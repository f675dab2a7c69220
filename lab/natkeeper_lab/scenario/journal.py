"""What happened, with times: calls, events, decisions, routes. What expectations and the report are made of.

Written to by the API's threads, read by `scenario.expect`, `invariants` and `record`. Times are `time.monotonic()`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from natkeeper.adapters import ec2_facts as adapter
from natkeeper_lab.api import Call, Machine
from natkeeper_lab.runtime import FunctionHost
from natkeeper_lab.scenario.foreign import is_theirs
from natkeeper_lab.scenario.sight import GONE as GONE
from natkeeper_lab.scenario.sight import Line, RouteChange, name_of, where_of
from natkeeper_lab.stack import ANYWHERE, Stack

READS = ("Describe", "Get", "List", "Query", "Scan")


@dataclass(frozen=True)
class Happened:
    """An event of AWS's, and what became of it on the way: delivered, lost, twice, late, held."""

    at: float
    event: Mapping[str, Any]
    fate: str


class Journal:
    """Listens from the moment it is made."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._lock = threading.Lock()
        self._wall = time.time() - time.monotonic()
        self._read: dict[int, int] = {}
        self._lines: list[Line] = []
        self.sources: list[FunctionHost] = [stack.hosts["controller"]]
        self.calls: list[Call] = []
        self.events: list[Happened] = []
        self.routes: list[RouteChange] = []
        self.owners: dict[str, tuple[str, str]] = {}
        """Interface to (group, role), kept when the instance is gone."""
        tables = [table for group in stack.groups.values() for table in group.tables]
        self.targets: dict[str, str | None] = {**dict.fromkeys(tables), **self._now()}
        stack.api.watch(self._on_call, self._on_event)

    def _now(self) -> dict[str, str | None]:
        tables = [table for group in self._stack.groups.values() for table in group.tables]
        found = self._stack.ec2.describe_route_tables(RouteTableIds=tables)["RouteTables"]
        return {
            table["RouteTableId"]: _target(route)
            for table in found
            for route in table["Routes"]
            if route.get("DestinationCidrBlock") == ANYWHERE
        }

    # -- listening

    def _on_call(self, call: Call) -> None:
        machines = self._stack.api.machines()
        with self._lock:
            self.calls.append(call)
            self.learn(machines)
            table = str(call.params.get("RouteTableId", ""))
            is_route = call.operation in ("CreateRoute", "ReplaceRoute", "DeleteRoute")
            if not is_route or call.error_code or call.params.get("DestinationCidrBlock") != ANYWHERE:
                return
            if table not in self.targets:
                return
            target = _target(call.params)
            self.targets[table] = target
            group = self.group_of_table(table)
            self.routes.append(RouteChange(call.ended_at, table, group, target, self.where(group), call.is_by_hand))

    def learn(self, machines: list[Machine]) -> None:
        """Whose interfaces these are."""
        for each in machines:
            if each.interface and adapter.GROUP_TAG in each.tags and not is_theirs(each.tags):
                role = each.tags.get(adapter.ROLE_TAG, "")
                self.owners.setdefault(each.interface, (each.tags[adapter.GROUP_TAG], role))

    def _on_event(self, event: Mapping[str, Any], fate: str) -> None:
        with self._lock:
            self.events.append(Happened(time.monotonic(), event, fate))

    # -- asking

    def group_of_table(self, table: str) -> str:
        """The group that owns the table; empty for a table that is not natkeeper's."""
        return next((name for name, each in self._stack.groups.items() if table in each.tables), "")

    def where(self, group: str) -> str:
        """Where the group's default routes are now, by the calls that were answered."""
        return where_of(group, {self.targets[table] for table in self._stack.groups[group].tables}, self.owners)

    def carried_by(self, target: str | None) -> str:
        """A name for a route's target."""
        return name_of(target, self.owners)

    def writes(self, since: float = 0.0, *, by_hand: bool = False) -> list[Call]:
        """Calls of natkeeper's (or of people's) that change EC2, answered since then, refused ones included."""
        with self._lock:
            found = [each for each in self.calls if each.ended_at >= since and each.is_by_hand is by_hand]
        return [each for each in found if each.service == "ec2" and not each.operation.startswith(READS)]

    def own_calls(self, since: float = 0.0) -> list[Call]:
        """All calls of natkeeper's, to any service."""
        with self._lock:
            return [each for each in self.calls if each.ended_at >= since and not each.is_by_hand]

    def groups_of(self, call: Call) -> set[str]:
        """Whom a call of natkeeper's concerns, by what it names."""
        params, groups = call.params, self._stack.groups
        found = {self.group_of_table(str(params.get("RouteTableId", "")))}
        found |= {name for name, each in groups.items() if each.allocation == params.get("AllocationId")}
        found.add(self.owners.get(str(params.get("NetworkInterfaceId", "")), ("", ""))[0] if not found - {""} else "")
        ids = set(params.get("InstanceIds") or ())
        found |= {
            each.tags.get(adapter.GROUP_TAG, "") for each in self._stack.api.machines() if each.instance_id in ids
        }
        for each in params.get("TagSpecifications") or ():
            found |= {tag["Value"] for tag in each.get("Tags", ()) if tag["Key"] == adapter.GROUP_TAG}
        return found - {""}

    def lines(self, since: float = 0.0) -> list[Line]:
        """The controller's log, oldest first as far as one process goes."""
        with self._lock:
            for number, source in enumerate(self.sources):
                logs = source.logs()
                fresh = logs[self._read.get(number, 0) :]
                self._read[number] = len(logs)
                for each in fresh:
                    if (fields := _json(each.text)) is not None:
                        self._lines.append(Line(each.at - self._wall, fields))
            self._lines.sort(key=lambda each: each.at)
            return [each for each in self._lines if each.at >= since]

    def decisions(self, since: float = 0.0) -> list[Line]:
        """Lines with a reason code."""
        return [each for each in self.lines(since) if "reason_code" in each.fields]

    def throttles(self, since: float = 0.0) -> list[float]:
        """When an invocation found no execution free."""
        return [at for at, _ in self._stack.api.throttles() if at >= since]

    def tracebacks(self) -> list[str]:
        """What the controller printed that is no JSON: a crash of its own."""
        texts = [line.text for source in self.sources for line in source.logs()]
        return [text for text in texts if _json(text) is None and text.strip()]


def _target(route: Mapping[str, Any]) -> str | None:
    return route.get("NetworkInterfaceId") or route.get("NatGatewayId") or route.get("GatewayId")


def _json(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
