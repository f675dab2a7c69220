"""EventBridge and the Scheduler: what wakes the controller, and what becomes of it on the way.

Called by the simulated EC2 and by faults. Delivery of EC2's events is best effort: late, lost, twice and out of order
are all allowed; a schedule fires anywhere inside its minute (docs/aws.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from natkeeper_lab.simulation.answers import hub_instant
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import ACCOUNT, REGION
from natkeeper_lab.simulation.setting import SECRET

if TYPE_CHECKING:
    from natkeeper_lab.simulation.world import World

MINUTE = 60 * SECOND
TICK = {"natkeeper": {"tick": True}}
SPOT_NOTICE = 120 * SECOND
"""EC2 user guide, "Spot Instance interruption notices": two minutes."""
APART = SECOND
"""Between two events that are to arrive in a chosen order: longer than delivery varies."""


class Bus:
    """Knobs are counts of events that are still to be treated so."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.lost = 0
        self.twice = 0
        self.late: list[int] = []
        """Extra delays of the next events, in microseconds."""
        self.no_ticks_until = 0
        self._to_hold = 0
        self._held: list[tuple[str, str, dict[str, Any]]] = []

    # -- what becomes of the next events

    def lose_events(self, count: int) -> None:
        """They never arrive."""
        self.lost += count

    def duplicate_events(self, count: int) -> None:
        """They arrive twice."""
        self.twice += count

    def delay_events(self, seconds: float, count: int) -> None:
        """They arrive so much later."""
        self.late += [int(seconds * SECOND)] * count

    def shuffle_events(self, count: int) -> None:
        """They are held until the last of them is there, and then come in the reverse order."""
        self._to_hold = count

    # -- EC2's events

    def mark_spot(self, instance_id: str, _code: str) -> None:
        """EC2 will take a spot instance, warns of it, and does."""
        world, machine = self._world, self._world.ec2.machines[instance_id]
        machine.is_spot_ending_at = world.hub.now + SPOT_NOTICE
        self.emit(
            "EC2 Spot Instance Interruption Warning", {"instance-id": instance_id, "instance-action": "terminate"}
        )
        world.hub.after(SPOT_NOTICE, lambda: world.ec2.terminate(machine), "spot")

    def schedule_retirement(self, instance_id: str, not_before: datetime, notice: Mapping[str, Any]) -> None:
        """EC2 confirms it, and AWS Health sends the notice."""
        self._world.ec2.machines[instance_id].is_doomed_at = hub_instant(not_before)
        self.emit("AWS Health Event", dict(notice), source="aws.health")

    def know_foreign(self, instance_ids: Sequence[str]) -> None:
        """Nobody asks this EC2 about them."""

    def change_state_of_foreign(self, instance_id: str, state: str) -> None:
        """EC2 announces everybody's in the same way."""
        self.state_changed(instance_id, state)

    def state_changed(self, instance_id: str, state: str) -> None:
        """EC2 Instance State-change Notification."""
        self.emit("EC2 Instance State-change Notification", {"instance-id": instance_id, "state": state})

    def emit(self, detail_type: str, detail: dict[str, Any], *, source: str = "aws.ec2") -> None:
        """An event of AWS's on the default bus, on its way to the rule's target."""
        if not self._to_hold:
            self._send(source, detail_type, detail)
            return
        self._held.append((source, detail_type, detail))
        if len(self._held) == self._to_hold:
            held, self._held, self._to_hold = self._held, [], 0
            for number, event in enumerate(reversed(held)):
                self._world.hub.after(number * APART, partial(self._send, *event), "event")

    def _send(self, source: str, detail_type: str, detail: dict[str, Any]) -> None:
        world = self._world
        event: dict[str, Any] = {"version": "0", "source": source, "detail-type": detail_type}
        event |= {"account": ACCOUNT, "region": REGION, "detail": detail | {"note": SECRET}}
        if self.lost > 0:
            self.lost -= 1
            world.fired("event-lost")
            return
        copies = 1
        if self.twice > 0:
            self.twice -= 1
            copies = 2
            world.fired("event-twice")
        for _ in range(copies):
            delay = world.dice.randrange(*world.ec2.paces.events)
            if self.late:
                delay += self.late.pop()
                world.fired("event-late" if delay > 60 * SECOND else "event-out-of-order")
            world.hub.after(delay, lambda: world.functions.wake(event), "event")

    # -- the schedule

    def start_schedule(self) -> None:
        """The first minute begins now."""
        self._minute()

    def _minute(self) -> None:
        world = self._world
        world.hub.after(world.dice.randrange(MINUTE), self._tick, "tick")
        world.hub.after(MINUTE, self._minute, "minute")

    def _tick(self) -> None:
        if self._world.hub.now < self.no_ticks_until:
            self._world.fired("schedule-disabled")
            return
        self._world.functions.wake(TICK)
