"""Small worlds for tests: networks, memories, reports and policies with sane defaults: a test shows what matters.

Group `a` has table `rtb-a`, address `eip-a` (203.0.113.1), NAT `i-a` with interface `eni-a` and addresses 10.0.0.10
(primary) and 10.0.0.11 (secondary); `b` and `c` likewise. `resting("ab")` is a stack at rest that has been so for ten
minutes. Instants are seconds from `T0`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from natkeeper.core.arrival import as_address_answered
from natkeeper.core.case import Observation
from natkeeper.core.decide import decide
from natkeeper.core.incident import Canary, Incident, Memory, Proof, WatchRun
from natkeeper.core.model import (
    DEFAULT_ROUTE,
    ControlProbe,
    ElasticIp,
    Instance,
    InstanceState,
    Interface,
    Network,
    PrivateAddress,
    Role,
    Route,
    RouteTable,
    Unknown,
)
from natkeeper.core.news import News, ProbeReport, Round, RunMode, Verdict
from natkeeper.core.plan import (
    Action,
    DisableSourceDestCheck,
    GivePublicAddress,
    LaunchInstance,
    MoveAddress,
    Plan,
    PointRoute,
    ReleaseAddress,
    StartInstance,
    StartWatch,
    StopInstance,
    TakePublicAddress,
    TerminateInstance,
)
from natkeeper.core.policy import Group, Policy
from natkeeper.core.way import as_answered

T0 = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CANARY = "1.0.0.1/32"
RUNNING, STOPPED, STOPPING, PENDING, TERMINATED, SHUTTING_DOWN = (
    InstanceState.RUNNING,
    InstanceState.STOPPED,
    InstanceState.STOPPING,
    InstanceState.PENDING,
    InstanceState.TERMINATED,
    InstanceState.SHUTTING_DOWN,
)
UP = ControlProbe(True)
OUT = ControlProbe(False, "everything times out")


def at(seconds: float) -> datetime:
    """An instant."""
    return T0 + timedelta(seconds=seconds)


def secs(seconds: float) -> timedelta:
    """A span."""
    return timedelta(seconds=seconds)


# -- what the user chose


def group(name: str, tables: int = 1, gateway: str | None = None) -> Group:
    number = ord(name) - ord("a")
    ids = (f"rtb-{name}", *(f"rtb-{name}{each}" for each in range(2, tables + 1)))
    cidr, private = f"10.0.{100 + number}.0/24", f"subnet-private-{name}"
    return Group(name, ids, cidr, f"subnet-{name}", f"eip-{name}", public_of(name), private, gateway)


def public_of(name: str) -> str:
    return f"203.0.113.{ord(name) - ord('a') + 1}"


def policy(zones: str = "ab", tables: int = 1, gateway: str | None = None, **chosen: Any) -> Policy:
    return Policy("test", tuple(group(each, tables, gateway) for each in zones), **chosen)


# -- what AWS shows


def nat(
    name: str,
    state: InstanceState = RUNNING,
    *,
    number: int = 1,
    role: Role = Role.NAT,
    checked: bool = False,
    public: str | None = "own",
    secondaries: int = 1,
    secondary_public: str | None = None,
    interface: bool = True,
    launched: float = -3600,
    interruption: float | None = None,
) -> Instance:
    """`number` 1 is `i-a` on `eni-a`, 2 is `i-a2` on `eni-a2`. `public`: `own` is the group's Elastic IP."""
    suffix = (f"{name}s" if role is Role.STANDBY else name) + (str(number) if number > 1 else "")
    base = 40 * (ord(name) - ord("a")) + 10 * number + (100 if role is Role.STANDBY else 0)
    first = PrivateAddress(f"10.0.0.{base}", public_of(name) if public == "own" else public)
    others = tuple(PrivateAddress(f"10.0.0.{base + 1 + each}", secondary_public) for each in range(secondaries))
    return Instance(
        f"i-{suffix}",
        name,
        role,
        state,
        Interface(f"eni-{suffix}", (first, *others), checked) if interface else None,
        at(launched),
        None if interruption is None else at(interruption),
    )


def network(
    chosen: Policy,
    instances: Iterable[Instance],
    *,
    routes: Mapping[str, str | None] | None = None,
    canaries: Mapping[str, str] | None = None,
    elastic: Mapping[str, tuple[str, str]] | None = None,
    blackholes: Iterable[str] = (),
) -> Network:
    """`routes` and `canaries`: group to target, for all of its tables. `elastic`: group to interface and address."""
    listed = tuple(instances)
    tables: dict[str, RouteTable] = {}
    addresses: dict[str, ElasticIp] = {}
    for each in chosen.groups:
        found: dict[str, Route] = {}
        target = (routes or {}).get(each.name)
        if target is not None:
            found[DEFAULT_ROUTE] = Route(target, target in blackholes)
        if canaries and each.name in canaries:
            found[CANARY] = Route(canaries[each.name])
        first = each.table_ids[0]
        tables |= {
            table: RouteTable(table, dict(found), frozenset({each.private_subnet_id} if table == first else ()))
            for table in each.table_ids
        }
        on = (elastic or {}).get(each.name, (None, None))
        addresses[each.allocation_id] = ElasticIp(each.allocation_id, each.public_address, *on)
    return Network(listed, tables, addresses)


def with_instance(seen: Network, changed: Instance) -> Network:
    """The instance of that id replaced, or added."""
    others = tuple(each for each in seen.instances if each.instance_id != changed.instance_id)
    return replace(seen, instances=(*others, changed))


def changed(seen: Network, instance_id: str, **fields: Any) -> Network:
    """One instance with other facts; `checked`, `public` are its interface's."""
    instance = next(each for each in seen.instances if each.instance_id == instance_id)
    interface = instance.interface
    if "checked" in fields and interface is not None:
        interface = replace(interface, is_source_dest_checked=fields.pop("checked"))
    if "public" in fields and interface is not None:
        first = replace(interface.addresses[0], public=fields.pop("public"))
        interface = replace(interface, addresses=(first, *interface.addresses[1:]))
    fields.setdefault("interface", interface)
    return with_instance(seen, replace(instance, **fields))


def without(seen: Network, instance_id: str) -> Network:
    return replace(seen, instances=tuple(each for each in seen.instances if each.instance_id != instance_id))


def routed(
    seen: Network, table: str, target: str | None, destination: str = DEFAULT_ROUTE, *, is_blackhole: bool = False
) -> Network:
    """One route set, or with None deleted."""
    kept = {key: route for key, route in seen.tables[table].routes.items() if key != destination}
    if target is not None:
        kept[destination] = Route(target, is_blackhole)
    return replace(seen, tables={**seen.tables, table: replace(seen.tables[table], routes=kept)})


def target_of(seen: Network, table: str, destination: str = DEFAULT_ROUTE) -> str | None:
    route = seen.tables[table].routes.get(destination)
    return route.target if route else None


def _with_address(seen: Network, interface_id: str, private: str, public: str | None) -> Network:
    owner = seen.owner_of(interface_id)
    if owner is None or owner.interface is None:
        return seen
    addresses = tuple(
        replace(each, public=public) if each.address == private else each for each in owner.interface.addresses
    )
    return with_instance(seen, replace(owner, interface=replace(owner.interface, addresses=addresses)))


def apply(seen: Network, action: Action, now: datetime, chosen: Policy) -> Network:
    """What AWS would show once the action is done. A launched instance is running at once, with its check still on."""
    match action:
        case PointRoute(table, destination, target):
            return routed(seen, table, target, destination)
        case MoveAddress(allocation, interface_id, private):
            elastic = seen.addresses[allocation]
            if elastic.interface_id is not None and elastic.private is not None:
                seen = _with_address(seen, elastic.interface_id, elastic.private, None)
            seen = _with_address(seen, interface_id, private, elastic.public)
            moved = ElasticIp(allocation, elastic.public, interface_id, private)
            return replace(seen, addresses={**seen.addresses, allocation: moved})
        case ReleaseAddress(_, interface_id):
            owner = seen.owner_of(interface_id)
            return seen if owner is None else changed(seen, owner.instance_id, public=None)
        case DisableSourceDestCheck(interface_id):
            owner = seen.owner_of(interface_id)
            return seen if owner is None else changed(seen, owner.instance_id, checked=False)
        case GivePublicAddress(interface_id) | TakePublicAddress(interface_id):
            owner = seen.owner_of(interface_id)
            public = "198.51.100.77" if isinstance(action, GivePublicAddress) else None
            return seen if owner is None else changed(seen, owner.instance_id, public=public)
        case StartInstance(instance_id):
            return changed(seen, instance_id, state=RUNNING, launched_at=now)
        case StopInstance(instance_id):
            return changed(seen, instance_id, state=STOPPED)
        case TerminateInstance(instance_id):
            return changed(seen, instance_id, state=TERMINATED, interface=None)
        case LaunchInstance(name, role):
            taken = {each.instance_id for each in seen.instances}
            marks = (
                number for number in range(1, 1000) if nat(name, number=number, role=role).instance_id not in taken
            )
            number = next(marks)
            spare = 1 if role is Role.STANDBY else max(1, len(chosen.hosted_by(name)))
            born = nat(name, number=number, role=role, checked=True, public="198.51.100.9", secondaries=min(1, spare))
            return with_instance(seen, replace(born, launched_at=now))
        case StartWatch():
            return seen


def launch_of(token: str, role: Role = Role.NAT, *, is_repeated: bool = False) -> LaunchInstance:
    """Group a's, of the first type that the user chose; only one that is not repeated may be followed by another."""
    return LaunchInstance("a", role, token, Policy("s", ()).instance_types[0], has_alternative=not is_repeated)


# -- what probes saw


def rounds(
    pattern: str, start: float, step: float = 1.0, clock: str = "clock-1", rtt_ms: float = 8.0
) -> tuple[Round, ...]:
    """`o` answered, `x` failed, `p` failed though one target answered, `-` not sent."""
    return tuple(
        Round(at(start + number * step), clock, each == "o", rtt_ms if each in "op" else None)
        for number, each in enumerate(pattern)
        if each != "-"
    )


_numbers = iter(range(10**9))
NAMELESS = "run-"
"""How the ids of runs begin to which a test gives no name."""


def report(
    pattern: str,
    start: float,
    *,
    name: str = "a",
    mode: RunMode = RunMode.WATCH,
    verdict: Verdict | None = None,
    canary: str = "",
    run_id: str | None = None,
    egress: str | None = "own",
    step: float = 1.0,
    clock: str = "clock-1",
) -> ProbeReport:
    """A report whose verdict is what the prober would say of the pattern, unless given."""
    good = Verdict.PASSED if mode is RunMode.VERIFY else Verdict.ENDED
    if "x" in pattern and pattern.endswith("o") and mode is RunMode.WATCH:
        good = Verdict.RECOVERED
    if pattern.endswith("xxx") or (mode is RunMode.VERIFY and pattern.endswith("x")):
        good = Verdict.DOWN
    if egress == "own":
        egress = public_of(name) if "o" in pattern else None
    return ProbeReport(
        group=name,
        run_id=run_id or f"{NAMELESS}{next(_numbers)}",
        mode=mode,
        verdict=verdict or good,
        rounds=rounds(pattern, start, step, clock),
        canary=rounds(canary, start, step, clock),
        egress_address=egress,
        egress_address_at=rounds(pattern, start, step, clock)[-1].sent_at if egress and pattern else None,
    )


def verified(pattern: str = "oo", start: float = 0.5, **fields: Any) -> ProbeReport:
    """A verify run's report: rounds 0.2 s apart."""
    return report(pattern, start, mode=RunMode.VERIFY, step=0.2, **fields)


# -- what a group remembers


def memory(name: str = "a", target: str | None = None, now: float = 0, **fields: Any) -> Memory:
    """At rest on `target` (default: the own NAT) for ten minutes, a watch run in flight for five seconds."""
    target = target or f"eni-{name}"
    usual: dict[str, Any] = {
        "target": target,
        "instances": (f"i-{name}",),
        "recent": rounds("oooo", now - 9),
        "seen_runs": ("run-before",),
        "proofs": (Proof(target, at(now - 6), at(now - 600)),),
        "egress_address": public_of(name),
        "watch": WatchRun(f"watch-{name}", at(now - 5), secs(55)),
        "watch_starts": (at(now - 5),),
        "stable_since": at(now - 600),
        "observed": 100.0,
        "settled_since": at(now - 600),
    }
    return Memory(**{**usual, **fields})


def incident(name: str = "a", opened: float = -60, **fields: Any) -> Incident:
    from natkeeper.core.incident import Cause

    usual: dict[str, Any] = {
        "incident_id": f"{name}-1",
        "group": name,
        "cause": Cause.INSTANCE_STOPPED,
        "opened_at": at(opened),
        "from_target": f"eni-{name}",
        "address_before": public_of(name),
    }
    return Incident(**{**usual, **fields})


def proofs(*targets: str, now: float = 0, since: float = -600, age: float = 6) -> tuple[Proof, ...]:
    return tuple(Proof(each, at(now - age), at(since)) for each in targets)


# -- a stack


@dataclass
class World:
    """A stack as a test arranges it. `decide()` asks what group `a` (or another) should do now."""

    policy: Policy
    network: Network | Unknown
    memories: dict[str, Memory] = field(default_factory=dict)
    now: float = 0

    @property
    def seen(self) -> Network:
        assert isinstance(self.network, Network)
        return self.network

    def remember(self, name: str = "a", **fields: Any) -> World:
        self.memories[name] = replace(self.memories[name], **fields)
        return self

    def change(self, instance_id: str, **fields: Any) -> World:
        self.network = changed(self.seen, instance_id, **fields)
        return self

    def add(self, *instances: Instance) -> World:
        for each in instances:
            self.network = with_instance(self.seen, each)
        return self

    def route(self, table: str, target: str | None, destination: str = DEFAULT_ROUTE, **fields: Any) -> World:
        self.network = routed(self.seen, table, target, destination, **fields)
        return self

    def decide(
        self,
        *news: News,
        name: str = "a",
        control: ControlProbe | None = None,
        now: float | None = None,
        neighbours: str | None = "oo",
    ) -> Plan:
        """The plan; where it asks other groups first, the one after their answer. `neighbours`: what packets of theirs
        did, "" where their probers cannot be asked, None to see the plan that asks."""
        moment = self.now if now is None else now
        others = {key: value for key, value in self.memories.items() if key != name}
        observation = Observation(self.policy.group(name), self.network, others, news, control)
        remembered = self.memories.get(name, Memory())
        plan = decide(observation, remembered, at(moment), self.policy)
        if not plan.asks or neighbours is None:
            return plan
        answers = {each: verified(neighbours, moment - 0.2, name=each) if neighbours else None for each in plan.asks}
        return decide(replace(observation, answers=answers), remembered, at(moment), self.policy)

    def carry_out(self, plan: Plan, failing: Sequence[type] = ()) -> World:
        """The world after the plan: its actions applied but for those of the failing types, its memory remembered."""
        for action in plan.actions:
            is_done = not isinstance(action, tuple(failing))
            if is_done:
                self.network = apply(self.seen, action, at(self.now), self.policy)
            memory = as_answered(plan.memory, plan, action, at(self.now), self.policy, is_done=is_done)
            if isinstance(action, MoveAddress):
                memory = as_address_answered(memory, at(self.now), is_refused=not is_done)
            plan = replace(plan, memory=memory)
        self.memories[plan.group] = plan.memory
        return self

    def step(self, *news: News, name: str = "a", control: ControlProbe | None = UP, now: float | None = None) -> Plan:
        """Decide and carry out."""
        self.now = self.now if now is None else now
        plan = self.decide(*news, name=name, control=control)
        self.carry_out(plan)
        return plan


def resting(zones: str = "ab", tables: int = 1, gateway: str | None = None, **chosen: Any) -> World:
    """Everybody at home, proven, quiet; each canary on the ring's next NAT."""
    rules = policy(zones, tables, gateway, **chosen)
    ring = {each: rules.neighbours_of(each)[0] for each in zones if len(zones) > 1}
    seen = network(
        rules,
        [nat(each) for each in zones],
        routes={each: f"eni-{each}" for each in zones},
        canaries={each: f"eni-{other}" for each, other in ring.items()} if rules.canary else {},
        elastic={each: (f"eni-{each}", nat(each).interface.primary.address) for each in zones},  # type: ignore[union-attr]
    )
    memories = {each: memory(each, rest=bool(gateway) or len(zones) > 1) for each in zones}
    for each, other in ring.items():
        if rules.canary:
            found = memories[each]
            memories[each] = replace(
                found, canary=Canary(f"eni-{other}", at(-600)), proofs=(*found.proofs, *proofs(f"eni-{other}"))
            )
    return World(rules, seen, memories)


def away(zones: str = "ab", **chosen: Any) -> World:
    """Group `a` has been on b's NAT for ten minutes, its own NAT is stopped, and there is no incident left."""
    world = resting(zones, **chosen)
    other = world.policy.neighbours_of("a")[0]
    landing = nat(other).interface.secondaries[0].address  # type: ignore[union-attr]
    world.change("i-a", state=STOPPED, public=None)
    for table in world.policy.group("a").table_ids:
        world.route(table, f"eni-{other}")
    world.network = apply(world.seen, MoveAddress("eip-a", f"eni-{other}", landing), at(-600), world.policy)
    world.memories["a"] = memory("a", f"eni-{other}", moved_at=at(-600), has_carried=True)
    return world


def kinds(plan: Plan) -> list[list[str]]:
    """The action types of each stage, StartWatch left out."""
    listed = [[type(each).__name__ for each in stage if not isinstance(each, StartWatch)] for stage in plan.stages]
    return [each for each in listed if each]


def writes(plan: Plan) -> list[Action]:
    """The plan's actions that change AWS."""
    return [each for each in plan.actions if not isinstance(each, StartWatch)]
