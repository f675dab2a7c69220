"""Any small world, any memory, any news: `decide` never raises, answers twice alike, and no plan breaks an invariant.

The worlds are arbitrary on purpose: most of them could not come about, and a controller meets them all the same after a
crash, an outage of the ledger or a person with a console.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natkeeper.adapters.codec import decode, encode
from natkeeper.core.incident import (
    Canary,
    Cause,
    Doom,
    Exclusion,
    Incident,
    Memory,
    Proof,
    Repair,
    WatchRun,
)
from natkeeper.core.model import (
    DEFAULT_ROUTE,
    ControlProbe,
    ElasticIp,
    Instance,
    InstanceState,
    Network,
    Role,
    Route,
    RouteTable,
    Unknown,
)
from natkeeper.core.news import (
    Command,
    HealthNotice,
    InstanceChanged,
    ProbeFailed,
    ProbeReport,
    RebalanceRecommended,
    Round,
    RunMode,
    SpotInterruption,
    Tick,
    Verb,
    Verdict,
)
from natkeeper.core.plan import (
    DisableSourceDestCheck,
    LaunchInstance,
    MoveAddress,
    Plan,
    PointRoute,
    Reason,
    StartWatch,
    StopInstance,
    TakePublicAddress,
    TerminateInstance,
)
from natkeeper.core.policy import StandbyMode
from natkeeper.core.view import Path, View
from tests.support.worlds import CANARY, UP, World, at, kinds, nat, policy, report, resting, verified, writes

EFFORT = int(os.environ.get("NATKEEPER_EFFORT", "1"))
"""Multiplies the examples: 1 tries the same ones every time, `NATKEEPER_EFFORT=30` searches anew for some minutes."""
MANY = settings(
    max_examples=100 * EFFORT,
    derandomize=EFFORT == 1,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

moments = st.integers(-900, 60).map(at)
targets = st.sampled_from(["eni-a", "eni-b", "eni-c", "eni-a2", "eni-as", "eni-x", "nat-1", "igw-1"])
groups = st.sampled_from("abc")
runs = st.sampled_from(["run-1", "run-2", "watch-a"])


@st.composite
def instances(draw: st.DrawFn, name: str, number: int, role: Role) -> Instance:
    return nat(
        name,
        draw(st.sampled_from([InstanceState.RUNNING, InstanceState.RUNNING, *InstanceState])),
        number=number,
        role=role,
        checked=draw(st.sampled_from([False, False, True])),
        public=draw(st.sampled_from(["own", None, "198.51.100.1"])),
        secondaries=draw(st.integers(0, 2)),
        secondary_public=draw(st.sampled_from([None, None, "198.51.100.2"])),
        interface=draw(st.sampled_from([True, True, True, False])),
        launched=draw(st.integers(-4000, 0)),
        interruption=draw(st.sampled_from([None, None, None, 60, 3000, -90000])),
    )


@st.composite
def networks(draw: st.DrawFn, zones: str) -> Network:
    found = []
    for name in zones:
        for number, role in ((1, Role.NAT), (2, Role.NAT), (1, Role.STANDBY)):
            if draw(st.sampled_from([True, True, False]) if number == 1 and role is Role.NAT else st.booleans()):
                found.append(draw(instances(name, number, role)))
    tables = {}
    associations = {}
    for name in zones:
        subnet, table_of = f"subnet-private-{name}", draw(st.sampled_from([*(f"rtb-{name}",) * 6, "rtb-x", "", None]))
        if table_of is not None:
            associations[subnet] = table_of or None
        for table in (f"rtb-{name}", f"rtb-{name}2"):
            routes = {}
            for destination in (DEFAULT_ROUTE, CANARY):
                target = draw(st.one_of(st.none(), targets))
                if target is not None:
                    routes[destination] = Route(target, draw(st.booleans()))
            if draw(st.integers(0, 9)):
                named = frozenset({subnet} if table == table_of else ())
                tables[table] = RouteTable(table, routes, named, draw(st.sampled_from([False, False, True])))
    addresses = {}
    for name in zones:
        owners = [each for each in found if each.interface is not None]
        owner = draw(st.sampled_from([None, *owners]))
        on = (None, None)
        if owner is not None and owner.interface is not None:
            on = (owner.interface.interface_id, draw(st.sampled_from(owner.interface.addresses)).address)
        if draw(st.integers(0, 9)):
            addresses[f"eip-{name}"] = ElasticIp(f"eip-{name}", f"203.0.113.{'abc'.index(name) + 1}", *on)
    return Network(tuple(found), tables, addresses, associations=associations)


rounds_seen = st.lists(
    st.builds(
        Round,
        st.integers(-40_000, 2_000).map(lambda each: at(each / 1000)),
        st.sampled_from(["clock-1", "clock-2"]),
        st.booleans(),
        st.sampled_from([None, 3.0, 90.0]),
    ),
    max_size=12,
).map(lambda each: tuple(sorted(each, key=lambda one: one.sent_at)))

reports = st.builds(
    ProbeReport,
    groups,
    runs,
    st.sampled_from(RunMode),
    st.sampled_from(Verdict),
    rounds_seen,
    rounds_seen,
    st.sampled_from([None, "203.0.113.1", "198.51.100.1"]),
    st.one_of(st.none(), moments),
)

news_items = st.one_of(
    st.just(Tick()),
    st.builds(
        InstanceChanged, st.sampled_from(["i-a", "i-b", "i-x"]), st.sampled_from([each.value for each in InstanceState])
    ),
    st.builds(SpotInterruption, st.just("i-a"), st.just("terminate")),
    st.builds(RebalanceRecommended, st.just("i-a")),
    st.builds(HealthNotice, st.just("AWS_EC2_INSTANCE_STOP_SCHEDULED"), st.just(("i-a",))),
    reports,
    st.builds(ProbeFailed, groups, runs, st.just("crash")),
    st.builds(
        Command,
        st.sampled_from(Verb),
        st.one_of(st.none(), groups),
        st.one_of(st.none(), st.integers(1, 100)),
        st.one_of(st.none(), st.sampled_from(["home", "b", "gateway", "nowhere"])),
    ),
)

incidents = st.builds(
    Incident,
    st.just("a-1"),
    st.just("a"),
    st.sampled_from(Cause),
    moments,
    st.one_of(st.none(), targets),
    rounds_seen,
    st.one_of(st.none(), targets),
    st.sampled_from([None, "203.0.113.1"]),
    st.sampled_from([None, "203.0.113.1", "198.51.100.1"]),
    st.booleans(),
    st.one_of(st.none(), moments),
)
repairs = st.builds(Repair, st.just("r"), st.integers(1, 5), moments, st.booleans())
proofs = st.builds(
    lambda target, end, span: Proof(target, at(-end), at(-end - span)),
    targets,
    st.integers(0, 200),
    st.integers(0, 600),
)

memories = st.builds(
    Memory,
    target=st.one_of(st.none(), targets),
    moved_at=st.one_of(st.none(), moments),
    is_down=st.booleans(),
    recent=rounds_seen.map(lambda each: each[-4:]),
    seen_runs=st.lists(runs, unique=True).map(tuple),
    proofs=st.lists(proofs, max_size=6, unique_by=lambda each: each.target).map(tuple),
    exclusions=st.lists(st.builds(Exclusion, targets, moments), max_size=3).map(tuple),
    dooms=st.lists(st.builds(Doom, st.sampled_from(["i-a", "i-b"]), moments), max_size=2).map(tuple),
    egress_address=st.sampled_from([None, "203.0.113.1"]),
    watch=st.one_of(st.none(), st.builds(WatchRun, runs, moments, st.just(timedelta(seconds=55)))),
    watch_starts=st.lists(moments, max_size=70).map(sorted).map(tuple),
    canary=st.one_of(st.none(), st.builds(Canary, targets, moments)),
    apart_since=st.sampled_from([None, None, at(-100)]),
    apart_until=st.one_of(st.none(), moments),
    settled_since=st.one_of(st.none(), moments),
    strange_address=st.sampled_from([None, None, None, "198.51.100.1"]),
    withdrawn_at=st.one_of(st.none(), moments),
    repair=st.one_of(st.none(), repairs),
    standby_repair=st.one_of(st.none(), repairs),
    failovers=st.lists(moments, max_size=7).map(sorted).map(tuple),
    launches=st.lists(moments, max_size=7).map(sorted).map(tuple),
    stable_since=st.one_of(st.none(), moments),
    incident=st.one_of(st.none(), incidents),
    measured_until=st.one_of(st.none(), moments),
    paused_until=st.one_of(st.none(), moments),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    zones = draw(st.sampled_from(["a", "ab", "abc"]))
    rules = policy(
        zones,
        tables=2,
        gateway=draw(st.sampled_from([None, None, "nat-1"])),
        standby=draw(st.sampled_from(StandbyMode)),
        canary=draw(st.sampled_from(["1.0.0.1", "1.0.0.1", None])),
        quiet_period=timedelta(seconds=draw(st.sampled_from([0, 30, 300]))),
    )
    known = [each for each in zones if draw(st.integers(0, 5))]
    seen = draw(networks(zones)) if draw(st.integers(0, 9)) else Unknown("no answer")
    return World(rules, seen, {each: draw(memories) for each in known})


situations = st.tuples(
    worlds(), st.lists(news_items, max_size=4).map(tuple), st.sampled_from([None, UP, UP, ControlProbe(False, "x")])
)


def view_of(world: World, plan: Plan) -> View:
    """What `decide` saw, with the memory that the news left (the plan's own, its target as before)."""
    others = {key: each for key, each in world.memories.items() if key != "a"}
    return View(world.policy.group("a"), world.seen, plan.memory, others, world.policy, at(world.now))


def path_of(view: View, target: str) -> Path | None:
    return next((each for each in view.paths if each.target == target), None)


@MANY
@given(situations)
def test_decide_never_raises_and_answers_twice_alike(situation) -> None:  # type: ignore[no-untyped-def]
    world, news, control = situation
    assert world.decide(*news, control=control) == world.decide(*news, control=control)


@MANY
@given(situations)
def test_a_default_route_is_only_moved_to_what_can_forward(situation) -> None:  # type: ignore[no-untyped-def]
    """Invariant 1."""
    world, news, control = situation
    plan = world.decide(*news, control=control)
    disabled: set[str] = set()
    for stage in plan.stages:
        for each in stage:
            if isinstance(each, PointRoute) and each.destination == DEFAULT_ROUTE:
                view = view_of(world, plan)
                path = path_of(view, each.target)
                assert each.table_id in world.policy.group("a").table_ids
                assert path is not None, "not a place of this stack"
                if path.instance is not None:
                    assert path.instance.is_running
                    assert not view.is_checked(path) or each.target in disabled
                before = world.memories.get("a", Memory())
                is_mending = plan.reason is Reason.CONVERGE and each.target in (before.target, view.majority)
                if plan.reason not in (Reason.LAST_RESORT, Reason.ADOPT) and not is_mending:
                    assert view.is_verified(path)
                    assert view.is_usable(path)
        disabled |= {each.interface_id for each in stage if isinstance(each, DisableSourceDestCheck)}


@MANY
@given(situations)
def test_a_last_resort_is_taken_only_when_nothing_verified_is_left(situation) -> None:  # type: ignore[no-untyped-def]
    world, news, control = situation
    plan = world.decide(*news, control=control)
    if plan.reason is Reason.LAST_RESORT:
        view = view_of(world, plan)
        assert plan.memory.incident is not None
        left = plan.memory.incident.from_target
        for path in view.paths:
            if path.target not in (left, plan.memory.target, world.memories.get("a", Memory()).target):
                assert not (view.is_usable(path) and view.is_verified(path))


@MANY
@given(situations)
def test_nothing_is_killed_that_carries_or_is_the_last(situation) -> None:  # type: ignore[no-untyped-def]
    """Invariants 8 and 9."""
    world, news, control = situation
    plan = world.decide(*news, control=control)
    ended = [each.instance_id for each in plan.actions if isinstance(each, (TerminateInstance, StopInstance))]
    if not ended:
        return
    assert not any(isinstance(each, PointRoute) and each.destination == DEFAULT_ROUTE for each in plan.actions)
    carrying = {
        each.routes[DEFAULT_ROUTE].target for each in world.seen.tables.values() if DEFAULT_ROUTE in each.routes
    }
    carrying |= {each.target for each in world.memories.values() if each.target}
    for instance in world.seen.instances:
        if instance.instance_id in ended:
            assert instance.group == "a"
            assert instance.interface is None or instance.interface.interface_id not in carrying
    alive = [
        each
        for each in world.seen.instances
        if each.group == "a" and each.role is Role.NAT and not each.state.is_gone and each.instance_id not in ended
    ]
    assert alive


@MANY
@given(situations)
def test_blind_or_paused_only_a_watch_is_started(situation) -> None:  # type: ignore[no-untyped-def]
    """Invariants 10 and 16."""
    world, news, control = situation
    blind = replace(world, network=Unknown("no answer")).decide(*news, control=control)
    assert writes(blind) == []
    paused = [*news, Command(Verb.PAUSE, "a", 5)]
    assert writes(world.decide(*paused, control=control)) == []


@MANY
@given(situations)
def test_launches_are_recorded_before_they_are_made(situation) -> None:  # type: ignore[no-untyped-def]
    world, news, control = situation
    plan = world.decide(*news, control=control)
    launches = [each for each in plan.actions if isinstance(each, LaunchInstance)]
    if launches:
        assert plan.records_first
        assert len(launches) == 1
        assert launches[0].group == "a"
        repair = plan.memory.repair if launches[0].role is Role.NAT else plan.memory.standby_repair
        assert repair is not None
        assert launches[0].token.endswith(f"-{repair.attempt}")
        assert len(plan.memory.launches) <= max(world.policy.max_launches_per_day, 7)


@MANY
@given(situations)
def test_a_plan_touches_only_what_is_the_groups_own(situation) -> None:  # type: ignore[no-untyped-def]
    """Invariant 15: nor is a public address taken from a landing that carries traffic."""
    world, news, control = situation
    plan = world.decide(*news, control=control)
    for each in plan.actions:
        if isinstance(each, PointRoute):
            assert each.table_id in ("rtb-a", "rtb-a2")
            assert each.destination in (DEFAULT_ROUTE, world.policy.canary_destination)
        if isinstance(each, MoveAddress):
            assert each.allocation_id == "eip-a"
        if isinstance(each, TakePublicAddress):
            assert each.interface_id != plan.memory.target
        if isinstance(each, StartWatch):
            assert each.group == "a"


@MANY
@given(situations)
def test_one_watch_at_most_is_started_and_remembered(situation) -> None:  # type: ignore[no-untyped-def]
    world, news, control = situation
    plan = world.decide(*news, control=control)
    starts = [each for each in plan.actions if isinstance(each, StartWatch)]
    assert len(starts) <= 1
    if starts:
        assert plan.memory.watch is not None
        assert plan.memory.watch.run_id == starts[0].run_id
        assert len(plan.memory.watch_starts) <= 60


@MANY
@given(situations)
def test_news_that_come_again_add_nothing(situation) -> None:  # type: ignore[no-untyped-def]
    """Invariant 5: a duplicate event adds no write beyond what the state of things asks for."""
    world, news, control = situation
    reports_only = tuple(each for each in news if isinstance(each, ProbeReport))
    assert world.decide(*reports_only, *reports_only, control=control) == world.decide(*reports_only, control=control)


@MANY
@given(memories)
def test_a_memory_survives_the_ledger(memory: Memory) -> None:
    assert decode(Memory, json.loads(json.dumps(encode(memory)))) == memory


@settings(max_examples=25 * EFFORT, derandomize=EFFORT == 1, deadline=None, suppress_health_check=list(HealthCheck))
@given(worlds(), st.lists(st.tuples(st.lists(news_items, max_size=3), st.integers(1, 90)), min_size=10, max_size=40))
def test_memory_stays_small_whatever_comes(world: World, passes) -> None:  # type: ignore[no-untyped-def]
    now = 0.0
    for number, (news, gap) in enumerate(passes):
        now += gap
        fresh = [
            replace(
                each,
                run_id=f"{each.run_id}-{number}",
                rounds=tuple(
                    replace(one, sent_at=one.sent_at + timedelta(seconds=now, milliseconds=extra))
                    for extra in range(0, 900, 60)
                    for one in each.rounds
                ),
            )
            if isinstance(each, ProbeReport)
            else each
            for each in news
        ]
        plan = world.decide(*fresh, control=UP, now=now)
        world.memories["a"] = plan.memory
        assert len(json.dumps(encode(plan.memory))) < 300_000


@settings(max_examples=40 * EFFORT, derandomize=EFFORT == 1, deadline=None, suppress_health_check=list(HealthCheck))
@given(situations)
def test_whatever_happened_a_stack_left_in_peace_comes_to_rest_on_a_verified_path(situation) -> None:  # type: ignore[no-untyped-def]
    """Liveness: once faults stop, egress is verified within a bounded number of passes, and then nothing is written."""
    world, news, control = situation
    if isinstance(world.network, Unknown):
        return
    for each in world.policy.groups:
        world.memories.setdefault(each.name, Memory())
        world.memories[each.name] = replace(
            world.memories[each.name], failovers=(), launches=(), watch_starts=(), paused_until=None
        )
        for table in each.table_ids:
            named = frozenset({each.private_subnet_id} if table == each.table_ids[0] else ())
            known = world.seen.tables.get(table, RouteTable(table, {}))
            world.seen.tables[table] = replace(known, subnet_ids=named)  # type: ignore[index]
    world.step(*news, control=control)
    world.remember(paused_until=None)
    plans: dict[str, Plan] = {}
    for second in range(100, 4600, 50):
        for each in world.policy.groups:
            plans[each.name] = play(world, each.name, second)
    for name, plan in plans.items():
        memory = world.memories[name]
        assert memory.target is not None, plan
        assert not memory.is_down
        view = View(world.policy.group(name), world.seen, memory, {}, world.policy, at(world.now))
        if world.policy.canary is None and all(each.target != memory.target for each in view.paths):
            # On something that is none of ours, and nothing can prove a NAT to come home to: `switchover` does it.
            continue
        routes = view_routes(world, name)
        assert set(routes) == {memory.target}
        assert writes(plan) == [], (name, plan.reason, plan.detail)


def view_routes(world: World, name: str) -> list[str | None]:
    return [world.seen.tables[each].routes[DEFAULT_ROUTE].target for each in world.policy.group(name).table_ids]


def forwards(world: World, target: str | None) -> bool:
    """Everything that runs unchecked forwards, in a world without faults."""
    if target is None:
        return False
    owner = world.seen.owner_of(target)
    if owner is None:
        return target == "nat-1" and world.policy.groups[0].gateway_id == "nat-1"
    return owner.is_running and owner.interface is not None and not owner.interface.is_source_dest_checked


def play(world: World, name: str, second: int) -> Plan:
    """One wake-up of one group 20 s after the last one: a watch report, a turn, a verification where it was asked."""
    world.now = second
    settled = [
        replace(each, state=InstanceState.STOPPED if each.state is InstanceState.STOPPING else InstanceState.RUNNING)
        if each.state in (InstanceState.STOPPING, InstanceState.PENDING)
        else replace(each, interruption_at=None)
        for each in world.seen.instances
    ]
    world.network = replace(world.seen, instances=tuple(settled))
    table = world.policy.group(name).table_ids[0]
    routes = world.seen.tables[table].routes
    live = routes.get(DEFAULT_ROUTE)
    probe = routes.get(CANARY)
    pattern = "o" if forwards(world, live.target if live else None) else "x"
    shown = "o" if forwards(world, probe.target if probe else None) else "x"
    plan = world.step(
        report(pattern * 10, second - 11, name=name, canary=shown * 10, run_id=f"w-{name}-{second}"),
        name=name,
        control=UP,
    )
    for turn in range(1, 5):
        if not plan.verifies and plan.wake_at is None:
            break
        news = []
        if plan.verifies:
            live = world.seen.tables[table].routes.get(DEFAULT_ROUTE)
            pattern = "o" if forwards(world, live.target if live else None) else "x"
            news = [verified(pattern * 3, second + turn - 0.8, name=name, run_id=f"v-{name}-{second}-{turn}")]
        plan = world.step(*news, name=name, control=UP, now=second + turn)
    return plan


@pytest.mark.parametrize("zones", ["a", "ab", "abc"])
@pytest.mark.parametrize("mode", StandbyMode)
def test_a_stack_launched_from_nothing_comes_to_rest(zones: str, mode: StandbyMode) -> None:
    world = resting(zones, standby=mode)
    world.network = replace(world.seen, instances=(), addresses=world.seen.addresses)
    world.memories = {}
    for name in zones:
        world.route(f"rtb-{name}", None)
        world.route(f"rtb-{name}", None, CANARY)
    plans = {}
    for second in range(0, 3000, 50):
        for name in zones:
            plans[name] = play(world, name, second)
    for name in zones:
        assert plans[name].carried_by == name
        assert kinds(plans[name]) == []
    assert len(world.seen.instances) == len(zones) * (2 if mode is not StandbyMode.NONE else 1)
