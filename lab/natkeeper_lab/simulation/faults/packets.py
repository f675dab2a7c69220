"""Packets stop, or some of them do. Rows of the fault table."""

from __future__ import annotations

from collections.abc import Callable

from natkeeper.adapters.ec2_facts import GROUP_TAG
from natkeeper_lab.simulation.faults.table import Act, fault
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.machines import Machine

AWAY = "moves the traffic to a verified neighbour, then proves or replaces the NAT and goes home"
BY_PACKETS = f"finds it by packets within four seconds; {AWAY}"
FLAPS_EVERY = 5 * SECOND
SOON = "egress is down for some four seconds; the message comes once that is measured, within a minute or two"
NEVER_BY_STATE = "trusts EC2's word that a NAT runs"


def _break(act: Act, name: str, change: Callable[[Machine], None]) -> None:
    machine = act.active(act.group())
    if machine is not None and act.is_ours(machine):
        change(machine)
        act.fired(name)
        act.world.packets_changed()


@fault(
    "nat-stops",
    "Packets",
    weight=8,
    sees='"zone a\'s NAT stopped, egress was down 0.4 s to 1.9 s, same address 192.0.2.1, nothing for you to do"',
    does=f"by the event or by packets; {AWAY}",
    never="waits for the instance to start before it moves the traffic",
)
def _stops(act: Act) -> None:
    _break(act, "nat-stops", act.world.ec2.stop)


@fault(
    "nat-flaps",
    "Packets",
    weight=3,
    sees="a message each time, and from the second one on how long the NAT must be well before traffic comes home",
    does="moves to a verified neighbour each time, however many failovers there were; comes home ever more slowly",
    never="leaves a group dark beside a NAT that is proven, because its failovers are used up",
)
def _flaps(act: Act) -> None:
    group = act.group()
    hub = act.world.hub

    def fall() -> None:
        machine = act.active(group)
        if machine is not None and machine.tag(GROUP_TAG) == group and machine.state == "running":
            act.world.ec2.stop(machine)
            act.fired("nat-flaps")
        if hub.now + FLAPS_EVERY < act.ends_at:
            hub.after(FLAPS_EVERY, fall, "it fails again")

    fall()


@fault(
    "nat-hangs",
    "Packets",
    weight=6,
    sees=SOON,
    does=BY_PACKETS,
    never=NEVER_BY_STATE,
)
def _hangs(act: Act) -> None:
    def hang(machine: Machine) -> None:
        machine.is_hung = True

    _break(act, "nat-hangs", hang)


@fault(
    "hang-passes",
    "Packets",
    weight=3,
    sees="an incident that ended by itself, or a failover and the way back",
    does="waits for three failed rounds; a shorter hang is written down and nobody is sent a message",
    never="moves for one lost round",
)
def _hang_passes(act: Act) -> None:
    machine = act.active(act.group())
    if machine is None:
        return
    machine.is_hung = True
    act.fired("hang-passes")
    act.world.packets_changed()

    def pass_by() -> None:
        machine.is_hung = False
        act.world.packets_changed()

    act.world.hub.after(act.dice.randrange(SECOND // 2, 6 * SECOND), pass_by, "hang passes")


@fault(
    "packet-loss",
    "Packets",
    weight=4,
    sees="incidents of cause `transient`, without a message; a failover when three rounds in a row fail",
    does="fails over when a quorum of targets fails three rounds in a row, not for a lost packet",
    never="flaps between two NATs because of loss",
)
def _loss(act: Act) -> None:
    loss = act.dice.choice((0.2, 0.2, 0.5, 0.8))

    def lose(machine: Machine) -> None:
        machine.loss = loss

    _break(act, "packet-loss", lose)


@fault(
    "nats-too-small",
    "Packets",
    weight=3,
    sees='"too small", once, and an incident of cause `overloaded`',
    does="goes to a neighbour once; when that one's own packets are lost beside, comes back and stays while some get "
    "through",
    never="takes every group's packets along from NAT to NAT",
)
def _too_small(act: Act) -> None:
    packets, group = act.world.packets, act.group()
    machines = act.running()
    packets.loads = {each.name: 2.2 if each.name == group else 0.2 for each in act.world.policy.groups}
    for each in machines:
        each.megabits = 0.8
    act.fired("nats-too-small")
    act.world.packets_changed()

    def mend() -> None:
        packets.loads = {}
        for each in machines:
            each.megabits = None
        act.world.packets_changed()

    act.later(mend)


@fault(
    "latency",
    "Packets",
    sees="nothing up to the probes' time-out; beyond it a failover",
    does=BY_PACKETS,
    never="takes slow for down below ProbeTimeout",
)
def _latency(act: Act) -> None:
    added = act.dice.choice((200.0, 600.0, 2000.0))

    def slow(machine: Machine) -> None:
        machine.latency_ms = added

    _break(act, "latency", slow)


for _name, _why in (
    ("tcp-refused", "only ping gets through"),
    ("new-flows-fail", "old connections live, new ones do not"),
    ("conntrack-full", "the table of connections is full"),
):

    def _no_new(act: Act, name: str = _name) -> None:
        def refuse(machine: Machine) -> None:
            machine.takes_new_flows = False

        _break(act, name, refuse)

    fault(
        _name,
        "Packets",
        sees=f"{SOON} ({_why})",
        does=f"probes are new TCP connections, so they fail too; {AWAY}",
        never="takes a ping for egress",
    )(_no_new)


@fault(
    "forwarding-off",
    "Packets",
    weight=3,
    sees=SOON,
    does=BY_PACKETS,
    never=NEVER_BY_STATE,
)
def _forwarding(act: Act) -> None:
    def switch_off(machine: Machine) -> None:
        machine.is_forwarding = False

    _break(act, "forwarding-off", switch_off)


@fault(
    "ruleset-flushed",
    "Packets",
    weight=3,
    sees=SOON,
    does=BY_PACKETS,
    never=NEVER_BY_STATE,
)
def _flushed(act: Act) -> None:
    def flush(machine: Machine) -> None:
        machine.has_ruleset = False

    _break(act, "ruleset-flushed", flush)


@fault(
    "source-dest-check-on",
    "Packets",
    weight=4,
    sees=SOON,
    does="turns it off again with one call; if that does not bring egress back, moves on",
    never="moves traffic to an interface whose check is on",
)
def _checked(act: Act) -> None:
    def check(machine: Machine) -> None:
        if machine.interface is not None:
            machine.interface.is_checked = True

    _break(act, "source-dest-check-on", check)
    act.world._changed()


@fault(
    "security-group-changed",
    "Packets",
    weight=3,
    sees="a message; traffic stays away until the group is put right",
    does="moves to a NAT that still lets packets in; a replacement with the same group does not pass its proof",
    never="goes home to a NAT through which no packet of this private subnet went",
)
def _security_group(act: Act) -> None:
    def close(machine: Machine) -> None:
        interface = machine.interface
        if interface is None:
            return
        interface.is_group_open = False

        def mend() -> None:
            interface.is_group_open = True
            act.world.packets_changed()

        act.later(mend)

    _break(act, "security-group-changed", close)


@fault(
    "prober-cut-off",
    "Packets",
    weight=3,
    sees="a failover that did not help, `LastResort` or `failover-failed`: the prober's own way is broken",
    does="tries what is verified, each candidate at most once a minute, and holds at MaxFailoversPerHour",
    never="moves on and on because its own eyes fail",
)
def _cut_off(act: Act) -> None:
    group = act.group()
    act.world.packets.cut(group)
    act.fired("prober-cut-off")
    act.world.packets_changed()

    def mend() -> None:
        act.world.packets.mend(group)
        act.world.packets_changed()

    act.later(mend)


@fault(
    "targets-down",
    "Packets",
    weight=4,
    sees="nothing while two of three answer; else an incident of cause `external`",
    does="the control probe fails as well, so it holds",
    never="moves traffic because somebody else's server is down",
)
def _targets(act: Act) -> None:
    act.world.packets.lose_targets(act.dice.choice((1, 2, 3)), act.world.hub.now)
    act.fired("targets-down")
    act.world.packets_changed()

    def mend() -> None:
        act.world.packets.lose_targets(0, act.world.hub.now)
        act.world.packets_changed()

    act.later(mend)


@fault(
    "names-only",
    "Packets",
    sees="`Unknown` rises and `Observed` falls",
    does="a name that cannot be resolved was never sent through the NAT: unknown, not down",
    never="blames a NAT for DNS",
)
def _names(act: Act) -> None:
    act.world.packets.are_names_dead = True
    act.fired("names-only")
    act.world.packets_changed()

    def mend() -> None:
        act.world.packets.are_names_dead = False
        act.world.packets_changed()

    act.later(mend)


@fault(
    "zone-lost",
    "Packets",
    weight=4,
    sees="a message for the zone; its hosts that live use the neighbour's NAT",
    does="finds it by packets; moves what routes through the zone, and heals when the zone can launch again",
    never="launches into the lost zone without end",
)
def _zone(act: Act) -> None:
    zone = act.group()
    act.world.packets.zones_down.add(zone)
    act.fired("zone-lost")
    act.world.packets_changed()

    def mend() -> None:
        act.world.packets.zones_down.discard(zone)
        act.world.packets_changed()

    act.later(mend)


@fault(
    "all-nats-stop",
    "Packets",
    weight=2,
    sees="a message for every zone, and downtime until the first NAT has booted",
    does="starts or launches in all zones at once; the first that runs is tried by all as `last-resort`, for "
    "nothing is proven",
    never="waits for an order in which nothing can begin",
)
def _all_stop(act: Act) -> None:
    act.fired("all-nats-stop")
    for each in act.running():
        act.world.ec2.stop(each)


@fault(
    "nats-hang-together",
    "Packets",
    weight=3,
    sees="a message for each zone; with a third that forwards, downtime of seconds, with none `common-mode`",
    does="asks whether the candidate's own packets get through before it moves on packets alone",
    never="moves traffic to a NAT that fails for the same reason",
)
def _hang_together(act: Act) -> None:
    machines = act.dice.sample(act.running(), min(2, len(act.running())))
    if machines:
        act.fired("nats-hang-together")

    def hang(machine: Machine) -> None:
        machine.is_hung = True
        act.world.packets_changed()

    for each in machines:
        act.world.hub.after(act.dice.randrange(3 * SECOND), lambda machine=each: hang(machine), "it hangs too")  # type: ignore[misc]

    def mend() -> None:
        for each in machines:
            each.is_hung = False
        act.world.packets_changed()

    act.later(mend)


@fault(
    "all-nats-hang",
    "Packets",
    weight=1,
    sees="`egress-down` in every zone, and `common-mode` in the log: all fail while their NATs run",
    does="holds; a person looks",
    never="shuffles traffic between NATs that are all dead",
)
def _all_hang(act: Act) -> None:
    act.fired("all-nats-hang")
    machines = act.running()
    for each in machines:
        each.is_hung = True
    act.world.packets_changed()

    def mend() -> None:
        for each in machines:
            each.is_hung = False
        act.world.packets_changed()

    act.later(mend)
