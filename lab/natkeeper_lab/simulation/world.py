"""One world: an account with a stack in it, its controller, its probers, people, time; and everything that is noted.

Built from a seed and a setting; played by `simulation.campaign` and by the tests of small worlds. The world itself
judges nothing: it tells its `Judge` of every step.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

from natkeeper.core.news import ProbeReport
from natkeeper.core.plan import Happening, Plan
from natkeeper.errors import Trouble
from natkeeper.ports import Outcome
from natkeeper_lab.simulation import transitions
from natkeeper_lab.simulation.answers import Answers
from natkeeper_lab.simulation.api import Api, Call
from natkeeper_lab.simulation.bus import TICK, Bus
from natkeeper_lab.simulation.dynamo import Table
from natkeeper_lab.simulation.ec2 import Ec2
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.functions import Functions
from natkeeper_lab.simulation.hub import SECOND, Hub
from natkeeper_lab.simulation.invocation import Invocation
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE
from natkeeper_lab.simulation.paces import Paces
from natkeeper_lab.simulation.packets import Fate, Packets
from natkeeper_lab.simulation.setting import CANARY_ROUTE, Setting, furnish, launches_of, probes_of, settings_of


class Judge:
    """Told of every step, and minds nothing; `simulation.invariants` is one that does."""

    def sent(self, call: Call) -> None: ...
    def called(self, call: Call, error: ApiError | None) -> None: ...
    def decided(self, invocation: Invocation, plan: Plan) -> None: ...
    def acted(self, invocation: Invocation, group: str, outcome: Outcome) -> None: ...
    def troubled(self, invocation: Invocation, group: str | None, trouble: Trouble) -> None: ...
    def happened(self, invocation: Invocation, group: str, happening: Happening) -> None: ...
    def reported(self, invocation: Invocation, report: ProbeReport) -> None: ...
    def messaged(self, invocation: Invocation, text: str) -> None: ...
    def timed_out(self, invocation: Invocation) -> None: ...
    def ended(self, invocation: Invocation, error: BaseException | None) -> None: ...
    def changed(self) -> None: ...


class World:
    """`fates`: for each group since when new connections from its first table fare how; the truth about downtime."""

    def __init__(
        self,
        seed: int,
        setting: Setting,
        judge: Judge | None = None,
        paces: Paces | None = None,
        hub: Hub | None = None,
    ) -> None:
        self.seed = seed
        self.setting = setting
        self.dice = Random(seed)
        self.hub = hub or Hub()
        self.judge: Judge = judge or Judge()
        self.settings = settings_of(setting)
        self.policy = self.settings.policy
        self.launches = launches_of(setting)
        self.probe_settings = probes_of(setting)
        self.fates: dict[str, list[tuple[int, Fate]]] = {each.name: [] for each in self.policy.groups}
        self.works_since: dict[str, int | None] = {each.name: None for each in self.policy.groups}
        """Since when a workload's connections have worked without loss, whatever the probes' targets do; None: they do
        not."""
        self.carried_at: dict[str, int] = {}
        """Interface or gateway to when a round last went through it."""
        self.apart: dict[str, list[tuple[int, int | None]]] = {each.name: [] for each in self.policy.groups}
        """Group to the spans in which its prober's subnet was behind a table that is none of the group's."""
        self.fires: Counter[str] = Counter()
        self.asked: defaultdict[str | None, set[str]] = defaultdict(set)
        """Group (None: all) to the requests in which an operator asked for a move."""
        self.transitions: Counter[str] = Counter()
        self.story: list[tuple[int, str]] | None = None
        self.controller_skew = 0
        self.prober_skew: dict[str, int] = {}
        self.before_call: list[Callable[[Call], None]] = []
        self.after_call: list[Callable[[Call], None]] = []
        self.on_packets: list[Callable[[], None]] = []
        self._ups: dict[str, bool] = {}
        """What `is_up` said since packets last fared differently."""
        self.bus = Bus(self)
        self.ec2 = Ec2(self.hub, self.dice, paces or Paces(), self.bus.state_changed, self._changed)
        self.packets = Packets(self.ec2)
        self.answers = Answers(self.ec2)
        self.table = Table()
        self.api = Api(self.hub, self.dice, self.ec2, self.answers, self.table, self)
        self.functions = Functions(self)
        self.table.items = furnish(self.ec2, self.packets, setting)
        for group, found in self.fates.items():
            found.append((-3600 * SECOND, self._fate(group)))
            self.works_since[group] = -3600 * SECOND if found[0][1].is_ok else None
        if setting.begins != "bare":
            self.carried_at = dict.fromkeys(self.ec2.interfaces, -2 * SECOND)

    def start(self) -> None:
        """The schedule is enabled, and a tick begins the probers' chains; everything else follows."""
        self.bus.start_schedule()
        self.functions.wake(TICK)

    # -- packets

    def _fate(self, group: str) -> Fate:
        return self.packets.from_inside(group, self.policy.group(group).table_ids[0])

    def paths(self, group: str) -> tuple[Fate, Fate | None]:
        """What a prober of the group meets now: the default route, and the canary's."""
        table = self.ec2.table_of(self.policy.group(group).private_subnet_id) or ""
        canary = self.packets.from_inside(group, table, CANARY_ROUTE) if self.setting.has_canary else None
        return self.packets.from_inside(group, table), canary

    def carried(self, fate: Fate, at: int) -> None:
        """A prober's round got through."""
        if fate.through is not None and at > self.carried_at.get(fate.through, at - 1):
            self.carried_at[fate.through] = at

    def _changed(self) -> None:
        """Something in the account did."""
        self.answers.changed()
        self.packets_changed()

    def packets_changed(self) -> None:
        """Packets may fare differently from now on. Whoever changes what they meet on their way says so here."""
        self._ups.clear()
        self._note_associations()
        for group, found in self.fates.items():
            way = self.packets.path(group, self.policy.group(group).table_ids[0])
            fate = self.packets.to_the_prober(group, way)
            if not way.is_ok or way.loss:
                self.works_since[group] = None
            elif self.works_since[group] is None:
                self.works_since[group] = self.hub.now
            if fate != found[-1][1]:
                found.append((self.hub.now, fate))
                self.tell(f"packets: zone {group} {'works' if fate.is_ok else fate.why}")
        self.functions.path_changed()
        self.judge.changed()
        for each in self.on_packets:
            each()

    def _note_associations(self) -> None:
        for group, spans in self.apart.items():
            wanted = self.policy.group(group)
            is_apart = self.ec2.table_of(wanted.private_subnet_id) not in wanted.table_ids
            is_open = bool(spans) and spans[-1][1] is None
            if is_apart and not is_open:
                spans.append((self.hub.now, None))
            elif is_open and not is_apart:
                spans[-1] = (spans[-1][0], self.hub.now)

    def apart_since(self, group: str) -> int | None:
        """Since when its prober's packets have taken another path than the group's; None: they do not."""
        spans = self.apart[group]
        return spans[-1][0] if spans and spans[-1][1] is None else None

    def is_up(self, group: str) -> bool:
        """Every table of the group has egress, for a workload."""
        found = self._ups.get(group)
        if found is None:
            found = all(self.packets.path(group, each).is_ok for each in self.policy.group(group).table_ids)
            self._ups[group] = found
        return found

    def route_of(self, table_id: str) -> str | None:
        """Where a table's default route points."""
        return self.ec2.tables[table_id].routes.get(DEFAULT_ROUTE)

    def people_go_home(self) -> None:
        """Whoever cut a security group or put routes back has stopped; somebody has put the probers' subnets back; an
        operator has taken back a pause."""
        for each in self.ec2.interfaces.values():
            each.is_group_open = True
        for group in self.policy.groups:
            if self.apart_since(group.name) is not None:
                self.ec2.associate(group.private_subnet_id, group.table_ids[0])
        self.functions.wake({"natkeeper": {"command": "resume"}})

    # -- what is noted

    def tell(self, line: str) -> None:
        """For the timeline of a failure."""
        if self.story is not None:
            self.story.append((self.hub.now, line))

    def fired(self, fault: str) -> None:
        """A fault really did something."""
        self.fires[fault] += 1
        self.tell(f"fault: {fault}")

    # -- told by the api and by invocations

    def sending(self, call: Call) -> None:
        """A call leaves; here a controller may die before it."""
        self.judge.sent(call)
        for each in self.before_call:
            each(call)

    def applied(self, call: Call, error: ApiError | None) -> None:
        """A call had its effect, or was refused."""
        if self.story is not None:
            said = error.code if error is not None else "ok"
            self.tell(f"{call.invocation.request_id}: {call.operation} {_short(call)} {said}")
        self.judge.called(call, error)
        for each in self.after_call:
            each(call)

    def woken(self, invocation: Invocation) -> None:
        """The controller begins."""
        wish = invocation.event.get("natkeeper") if isinstance(invocation.event, dict) else None
        if isinstance(wish, dict) and wish.get("command") in ("failover", "switchover"):
            group = wish.get("group")
            self.asked[group if isinstance(group, str) else None].add(invocation.request_id)
        if self.story is not None:
            self.tell(f"{invocation.request_id}: woken by {_kind(invocation.event)}")

    def decided(self, invocation: Invocation, plan: Plan) -> None:
        """A plan was made."""
        self.transitions[plan.reason.value] += 1
        if self.story is not None:
            self.tell(f"{invocation.request_id}: {plan.group} {plan.reason.value}: {plan.detail}")
        self.judge.decided(invocation, plan)

    def acted(self, invocation: Invocation, group: str, outcome: Outcome) -> None:
        """An action was answered."""
        self.transitions[transitions.of_outcome(outcome)] += 1
        self.judge.acted(invocation, group, outcome)

    def happened(self, invocation: Invocation, group: str, happening: Happening) -> None:
        """An incident opened or closed, or a warning."""
        self.transitions.update(transitions.of_happening(happening))
        if self.story is not None:
            self.tell(f"{invocation.request_id}: {group} {type(happening).__name__}")
        self.judge.happened(invocation, group, happening)

    def reported(self, invocation: Invocation, report: ProbeReport) -> None:
        """A prober's report was heard."""
        self.judge.reported(invocation, report)

    def messaged(self, invocation: Invocation, text: str) -> None:
        """People are told."""
        self.tell(f"{invocation.request_id}: message: {text}")
        self.judge.messaged(invocation, text)

    def troubled(self, invocation: Invocation, group: str | None, trouble: Trouble) -> None:
        """A call outside a plan failed."""
        self.transitions[transitions.of_trouble(trouble)] += 1
        self.tell(f"{invocation.request_id}: {group or 'stack'} trouble {trouble}")
        self.judge.troubled(invocation, group, trouble)

    def timed_out(self, invocation: Invocation) -> None:
        """Lambda ends it at its deadline."""
        self.fires["controller-times-out"] += 1
        self.tell(f"{invocation.request_id}: timed out")
        self.judge.timed_out(invocation)

    def crashed(self, invocation: Invocation, error: BaseException) -> None:
        """It ended without an answer."""
        self.tell(f"{invocation.request_id}: ended with {error!r}")

    def ended(self, invocation: Invocation, error: BaseException | None) -> None:
        """It is over, one way or another."""
        self.judge.ended(invocation, error)

    def close(self) -> None:
        """Ends what still waits, so that nothing of this world is left."""
        self.judge = Judge()
        self.hub.close()
        for each in list(self.functions.invocations):
            each.end()
        self.hub.close()
        # All that is in it refers to it: without this, only a look at every object there is would find it unused.
        vars(self).clear()


def _short(call: Call) -> str:
    params = call.params
    keys = (
        *("RouteTableId", "DestinationCidrBlock", "NetworkInterfaceId", "AllocationId", "PrivateIpAddress"),
        *("InstanceIds", "ClientToken", "SourceDestCheck", "AssociatePublicIpAddress"),
        *("FunctionName", "InvocationType"),
    )
    said = [str(params[each]) for each in keys if each in params]
    if "Key" in params:
        said.append(params["Key"]["sk"]["S"])
    return " ".join(said)


def _kind(event: Any) -> str:
    if not isinstance(event, dict):
        return repr(event)[:40]
    if "requestPayload" in event:
        report = event.get("responsePayload")
        said = report.get("verdict", "failed") if isinstance(report, dict) else "?"
        return f"prober {event['requestPayload'].get('group')} {said}"
    if "detail" in event:
        return f"{event.get('detail-type')} {event['detail']}"
    return str(event.get("natkeeper", event))[:60]
