"""One scenario's VPC with natkeeper in it: built, settled, watched; and what a target means at this moment.

Called by `scenario.run`; steps and expectations act on it. Runs inside `sandbox` only.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import boto3

from natkeeper.adapters import ec2_facts as adapter
from natkeeper_lab.api import HAND, ApiOptions, Machine
from natkeeper_lab.network import WEB
from natkeeper_lab.runtime import FunctionHost
from natkeeper_lab.scenario.file import Scenario
from natkeeper_lab.scenario.foreign import is_theirs
from natkeeper_lab.scenario.journal import GONE, Journal
from natkeeper_lab.scenario.pace import Pace, pace
from natkeeper_lab.scenario.scene_hands import SceneHands
from natkeeper_lab.scenario.sight import CannotJudge as CannotJudge
from natkeeper_lab.scenario.sight import moment
from natkeeper_lab.scenario.targets import Target
from natkeeper_lab.scenario.unsettled import why_unsettled
from natkeeper_lab.scenario.vocabulary import PARAMETERS
from natkeeper_lab.scenario.watch import PATIENT_MS, FarEnd, Fate, Flows, Ruler
from natkeeper_lab.stack import ANYWHERE, Choices, Stack
from natkeeper_lab.vpc import address_of

if TYPE_CHECKING:
    from natkeeper_lab.scenario.invariants import Invariants

SETTLING = 90.0
CALL_SECONDS = 0.05
"""Added to natkeeper's EC2 calls: roughly what a call to one's own region takes."""


class Scene:
    """Build it, settle it, use it, close it."""

    def __init__(self, scenario: Scenario, scale: float) -> None:
        self.scenario = scenario
        self.pace: Pace = pace(scenario.stack, scale)
        self.standby = scenario.stack.get("StandbyMode", "auto")
        if self.standby == "auto":
            self.standby = "none" if len(scenario.zones) > 1 else "stopped"
        self.stack = Stack(self._choices())
        self.flows: Flows | None = None
        self.rulers: dict[str, Ruler] = {}
        self.patient: dict[str, Ruler] = {}
        self.far_ends: dict[str, FarEnd] = {}
        self.zero = 0.0
        self.hands = SceneHands(self)
        self.theirs: set[str] = set()
        """Resources that people made beside the stack: none of them is left behind by natkeeper."""
        self.is_closing = False
        self.switched_on_at = 0.0
        self._stood_by_at: int | None = None
        self.fates: list[Fate] = []
        self.topology_before: dict[str, Any] = {}
        self.invariants: Invariants
        self.spares: list[FunctionHost] = []
        self.initial: dict[str, list[Machine]] = {}
        self.failed_commands: list[tuple[float, str, str]] = []
        try:
            self._hand()
            self._open_the_profile()
            for group in self.stack.groups:
                self.stack.set_source_dest_check(self.stack.launch_nat(group), False)
                self.stack.put_home(group)
            self.stack.api.faults.pace(CALL_SECONDS, "ec2:*")
            self.journal = Journal(self.stack)
        except BaseException:
            self.stack.close()
            raise

    def _choices(self) -> Choices:
        scenario, pace = self.scenario, self.pace
        settings = {PARAMETERS[key]: value for key, value in scenario.stack.items() if PARAMETERS[key]}
        settings.setdefault("NATKEEPER_EGRESS_PROFILE", "all")
        settings |= {"NATKEEPER_QUIET_PERIOD": str(pace.quiet), "NATKEEPER_PROBE_RUN": str(pace.run)}
        settings["NATKEEPER_STANDBY"] = self.standby
        return Choices(
            zones=len(scenario.zones),
            tables=scenario.tables,
            apart=scenario.zones_with_probers_apart,
            gateways=scenario.gateways,
            tick=pace.tick,
            settings=settings,
            ports=tuple(sorted({each.port for each in scenario.flows} - {80, 443})),
            api=ApiOptions(boot_seconds=pace.boot, stop_seconds=pace.stop),
        )

    def _hand(self) -> None:
        """The lab's own clients sign as a person, whom no fault concerns and no invariant binds."""
        self.stack.ec2 = boto3.client("ec2", aws_access_key_id=HAND, aws_secret_access_key=HAND)
        self.stack.dynamodb = boto3.client("dynamodb", aws_access_key_id=HAND, aws_secret_access_key=HAND)

    def _open_the_profile(self) -> None:
        """EgressProfile all, as template.yaml's security group has it: everything from the private subnets, and out."""
        if self.stack.environment["NATKEEPER_EGRESS_PROFILE"] != "all":
            return
        group = self.stack.nat_group
        private = [{"CidrIp": each.zone.private} for each in self.stack.groups.values()]
        permission = {"IpProtocol": "-1"}
        ec2 = self.stack.ec2
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[{**permission, "IpRanges": private}])
        anywhere = [{"CidrIp": ANYWHERE}]
        ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[{**permission, "IpRanges": anywhere}])

    def close(self) -> None:
        """Ends everything, in an order in which nothing is missed."""
        self.is_closing = True
        if hasattr(self, "invariants"):
            self.invariants.stop()
        for each in self.spares:
            each.stop()
        self.stack.close()

    # -- before the clock

    def settle(self) -> None:
        """natkeeper is switched on and comes to rest: home, verified, backed as far as this stack can be."""
        self.switched_on_at = time.monotonic()
        self.stack.switch_on()
        # As if the schedule's first minute had just come: nothing is asked of natkeeper before it is at rest.
        threading.Thread(target=self.stack.wake, args=({"natkeeper": {"tick": True}},), daemon=True).start()
        try:
            self.until("natkeeper at rest before the first step", self.is_settled, SETTLING)
        except CannotJudge as problem:
            raise CannotJudge(f"{problem}{why_unsettled(self)}") from None

    def is_settled(self) -> bool:
        decisions = self.journal.decisions()
        last = {each.fields["group"]: each.fields for each in decisions}
        if len(last) < len(self.scenario.zones) or any(each["reason_code"] != "at-rest" for each in last.values()):
            return False
        if len(self.scenario.zones) > 1 and not all(each["is_backed"] for each in last.values()):
            return False
        wanted = {"none": None, "stopped": "stopped", "running": "running"}[self.standby]
        if wanted is None:
            return True
        if any([each.state for each in self.of(group, "standby")] != [wanted] for group in self.scenario.zones):
            self._stood_by_at = None
            return False
        if self._stood_by_at is None:
            self._stood_by_at = len(decisions)
        # The first decision from now on may come of a look from before. A standby lost before natkeeper has seen it run
        # would pass for one that is slow to become visible.
        since = Counter(each.fields["group"] for each in decisions[self._stood_by_at :])
        return all(since[group] >= 2 for group in self.scenario.zones)

    def start_watching(self) -> None:
        """Rulers and flows; then the clock's zero."""
        asked_of = self.scenario.groups_asked
        self.rulers = {group: Ruler(self.stack, group) for group in self.scenario.zones}
        self.patient = {group: Ruler(self.stack, group, PATIENT_MS) for group in asked_of("never_down")}
        self.far_ends = {group: FarEnd(self.stack, group) for group in asked_of("egress_addresses")}
        self.flows = Flows(self.stack, self.scenario.flows)
        self.until("connections from every zone", lambda: all(each.since(0) for each in self.rulers.values()), 10)
        self.until("an answer of the far end", lambda: all(each.seen for each in self.far_ends.values()), 10)
        self.initial = {group: [*self.of(group, "nat"), *self.of(group, "standby")] for group in self.scenario.zones}
        self.before_targets = dict(self.journal.targets)
        self.before_addresses = {group: self.fetch(group) for group in self.scenario.zones}
        self.topology_before = self.topology()
        self.zero = time.monotonic()

    def stop_watching(self) -> None:
        """Ends rulers and flows, and reads what they saw."""
        self.fates = self.flows.stop() if self.flows is not None else []
        for each in (*self.rulers.values(), *self.patient.values()):
            each.stop()
        for far_end in self.far_ends.values():
            far_end.stop()
        self.invariants.stop()

    def until(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Waits; CannotJudge names what did not come."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise CannotJudge(f"waited {seconds:g} s in vain for {what}")
            time.sleep(0.05)

    # -- asking

    def of(self, group: str, role: str) -> list[Machine]:
        """The group's instances of a role that are not gone: the one that carries traffic, then running, then new."""
        found = [
            each
            for each in self.stack.api.machines()
            if each.tags.get(adapter.GROUP_TAG) == group and each.tags.get(adapter.ROLE_TAG) == role
            if not is_theirs(each.tags)
        ]
        used = {self.journal.targets[table] for table in self.stack.groups[group].tables}
        alive = [each for each in found if each.state not in GONE]
        alive.sort(key=lambda each: each.launched_at, reverse=True)
        return sorted(alive, key=lambda each: (each.interface not in used, each.state != "running"))

    def machine(self, target: Target) -> Machine:
        """The instance a target means now. CannotJudge when there is none."""
        if target.kind != "active":
            found = self.of(target.group, target.kind)
        else:
            used = self.journal.targets[self.stack.groups[target.group].tables[0]]
            found = [each for each in self.stack.api.machines() if used is not None and each.interface == used]
        if not found:
            raise CannotJudge(f"there is no {target.text} at this moment")
        return found[0]

    def fetch(self, group: str) -> str | None:
        """The address from which a page on the internet sees the group now; None without an answer in 2 s."""
        code, text = self.stack.curl(group, f"http://{WEB}/", 2)
        return text.split("came from ")[1].split()[0] if code == 0 and "came from " in text else None

    def addresses_seen(self, group: str) -> list[tuple[float, str]]:
        """Each answer of the far end."""
        return list(self.far_ends[group].seen)

    def incidents(self, group: str) -> list[dict[str, Any]]:
        """The group's incidents in the ledger in which something was wrong, since the clock's zero."""
        since = time.time() - (time.monotonic() - self.zero)
        found = [each for each in self.stack.incidents(group) if each["cause"] not in ("planned-move", "transient")]
        return [each for each in found if moment(each["opened_at"]) >= since]

    def initial_of(self, target: Target) -> str:
        """The instance that a target meant before the first step; empty when there was none."""
        found = self.initial.get(target.group, [])
        wanted = "standby" if target.kind == "standby" else "nat"
        return next((each.instance_id for each in found if each.tags.get(adapter.ROLE_TAG) == wanted), "")

    @property
    def stale_seconds(self) -> float:
        """How old an answer that natkeeper decides on may be, by the file's own will."""
        return max((each.args["seconds"] for each in self.scenario.timeline if each.do == "api_stale"), default=0.0)

    def troubles(self) -> list[dict[str, Any]]:
        """Invocations that failed, and what functions printed that is no log line: why a run may look odd."""
        failed = sorted((*self.stack.api.function_errors(), *self.failed_commands))
        found = [{"at": self.seconds(at), "function": name, "text": text} for at, name, text in failed]
        printed = self.journal.tracebacks()
        return found + ([{"at": None, "function": "controller", "text": "\n".join(printed)}] if printed else [])

    def topology(self) -> dict[str, Any]:
        """Who carries what now."""
        groups = {}
        for name, each in self.stack.groups.items():
            address = address_of(self.stack.ec2, each.allocation)
            nat = self.of(name, "nat")
            groups[name] = {
                "nat": f"{nat[0].instance_id} ({nat[0].state})" if nat else None,
                "carried_by": self.journal.carried_by(self.journal.targets[each.tables[0]]),
                "address": f"{each.address} on {self.journal.carried_by(address.get('NetworkInterfaceId'))}",
                "tables": {table: self.journal.carried_by(self.journal.targets[table]) for table in each.tables},
            }
        return {"groups": groups}

    # -- `Sight`

    def now(self) -> float:
        """The clock that everything here is told by."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Lets time pass."""
        time.sleep(max(0.0, seconds))

    def instant(self, text: Any) -> float:
        """A time in the ledger on that clock."""
        return moment(text) - (time.time() - time.monotonic())

    def seconds(self, at: float) -> float:
        """Since the clock's zero."""
        return round(at - self.zero, 3)

    def tables_of(self, group: str) -> Sequence[str]:
        """The group's private route tables."""
        return self.stack.groups[group].tables

    def state_of(self, instance_id: str) -> str:
        """How an instance is; empty when it is not known any more."""
        return next((each.state for each in self.stack.api.machines() if each.instance_id == instance_id), "")

    def ledger(self, group: str) -> list[dict[str, Any]]:
        """The group's incidents as the ledger has them."""
        return self.stack.incidents(group)
