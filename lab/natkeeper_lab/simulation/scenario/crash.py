"""A crash of the controller in the middle of an invocation, on virtual time. Called by `simulation.scenario.hands`."""

from __future__ import annotations

from natkeeper_lab.simulation.api import Call
from natkeeper_lab.simulation.invocation import Invocation
from natkeeper_lab.simulation.world import World


class Crash:
    """Armed until an invocation that begins from now on has made its calls. One that makes none dies before its
    first."""

    def __init__(self, world: World, after_calls: int) -> None:
        self._world, self._left, self._armed_at = world, after_calls, world.hub.now
        self._victim: Invocation | None = None
        (world.after_call if after_calls else world.before_call).append(self._called)

    def _called(self, call: Call) -> None:
        if self._victim is None and call.invocation.began_at >= self._armed_at:
            self._victim = call.invocation
        if call.invocation is not self._victim or self._left < 0:
            return
        self._left -= 1
        if self._left <= 0:
            self._left = -1
            call.invocation.is_over = True
            self._world.hub.after(0, call.invocation.end, "crash")
