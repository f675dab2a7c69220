"""Mends: instances take time to start, stop and end, refuse what AWS refuses meanwhile, and announce each state.

Installed by `api.mends`. May not import boto3.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState
from moto.ec2.responses.instances import InstanceResponse

from natkeeper_lab.api import guests
from natkeeper_lab.api.mends.refusals import incorrect_state
from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_GONE = ("shutting-down", "terminated")


def install(patches: Patches, world: World) -> None:
    patches.wrap(InstanceBackend, "run_instances", partial(launch_slowly, world))
    patches.wrap(Instance, "start", partial(start_slowly, world))
    patches.wrap(Instance, "stop", partial(stop_slowly, world))
    patches.wrap(Instance, "terminate", partial(terminate_slowly, world))
    patches.wrap(Instance, "reboot", partial(reboot_in_place, world))
    for name, verb in (("start_instances", "Starting"), ("stop_instances", "Stopping")):
        patches.replace(InstanceResponse, name, answer_with_real_states(name, f"{verb}Instances"))
    patches.replace(
        InstanceResponse, "terminate_instances", answer_with_real_states("terminate_instances", "TerminatingInstances")
    )
    patches.wrap(InstanceBackend, "start_instances", partial(all_or_none, may_start))
    patches.wrap(InstanceBackend, "stop_instances", partial(all_or_none, may_stop))


def enter(world: World, instance: Any, state: str) -> int:
    """Change the state and announce it. The answer identifies this stay in the state."""
    instance._state = InstanceState(state, CODES[state])
    instance.lab_stay = getattr(instance, "lab_stay", 0) + 1
    world.bus.emit_state(instance.id, state)
    stay: int = instance.lab_stay
    return stay


def later(world: World, seconds: float, instance: Any, stay: int, job: Callable[[], None]) -> None:
    """Run `job` with the world changing, if the instance has not left the state by then."""

    def run() -> None:
        with world.changing():
            if instance.lab_stay == stay:
                job()

    world.agenda.after(seconds, run)


def boot(world: World, instance: Any, seconds: float | None) -> None:
    """pending, then running; the guest is on the wire by then, or `guest_boot_seconds` later. `seconds`, if given: from
    here to the guest, whatever EC2 shows; a long boot is one that EC2 shows as running."""
    options = world.options
    to_running = options.boot_seconds if seconds is None else min(options.boot_seconds, seconds)
    to_guest = options.guest_boot_seconds if seconds is None else seconds - to_running
    stay = enter(world, instance, "pending")

    def run() -> None:
        if to_guest == 0:
            guests.boot(world, instance, stay)
        with world.changing():
            if instance.lab_stay != stay:
                return
            now = enter(world, instance, "running")
        if to_guest > 0:
            world.agenda.after(to_guest, lambda: guests.boot(world, instance, now))

    world.agenda.after(to_running, run)


def halt(world: World, instance: Any, state: str, finish: Callable[[], None]) -> None:
    """Enter `stopping` or `shutting-down`, and run `finish` after `stop_seconds`."""
    was_on = instance._state.name in ("running", "pending", "stopping")
    stay = enter(world, instance, state)
    if was_on and world.options.power_off_at == "start":
        guests.power_off(world, instance)

    def end() -> None:
        if was_on and world.options.power_off_at == "end":
            guests.power_off(world, instance)
        finish()

    later(world, world.options.stop_seconds, instance, stay, end)


def launch_slowly(world: World, original: Any) -> Any:
    """Moto's instances run at once; AWS's are pending first."""

    def run_instances(self: Any, *args: Any, **kwargs: Any) -> Any:
        reservation = original(self, *args, **kwargs)
        for instance in reservation.instances:
            boot(world, instance, world.paces.launch)
        return reservation

    return run_instances


def may_start(instance: Any) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StartInstances.html: from stopped only."""
    if instance._state.name in ("stopping", *_GONE):
        raise incorrect_state(instance.id, "started")


def may_stop(instance: Any) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StopInstances.html: not while pending or gone."""
    if instance._state.name in ("pending", *_GONE):
        raise incorrect_state(instance.id, "stopped")


def all_or_none(check: Callable[[Any], None], original: Any) -> Any:
    """One instance in the wrong state refuses the whole request."""

    def call(self: Any, instance_ids: list[str]) -> Any:
        for instance in self.get_multi_instances_by_id(instance_ids):
            check(instance)
        return original(self, instance_ids)

    return call


def start_slowly(world: World, _original: Any) -> Any:
    """Moto starts at once and from any state; AWS from `stopped`, and repeats have no effect."""

    def start(self: Any) -> Any:
        previous = copy.copy(self._state)
        may_start(self)
        if previous.name == "stopped":
            self.launch_time = utcnow()
            for nic in self.nics.values():
                nic.start()
            boot(world, self, world.paces.start)
        return previous

    return start


def stop_slowly(world: World, original: Any) -> Any:
    """Moto stops at once and from any state, even a terminated instance."""

    def stop(self: Any) -> Any:
        previous = copy.copy(self._state)
        may_stop(self)
        if previous.name == "running":

            def finish() -> None:
                original(self)
                enter(world, self, "stopped")

            halt(world, self, "stopping", finish)
        return previous

    return stop


def terminate_slowly(world: World, original: Any) -> Any:
    """Moto terminates at once, and keeps showing interfaces that no longer exist."""

    def terminate(self: Any) -> Any:
        previous = copy.copy(self._state)
        if previous.name not in _GONE:

            def finish() -> None:
                detached = [nic for nic in self.nics.values() if not nic.delete_on_termination]
                for nic in detached:
                    self.detach_eni(nic)
                original(self)
                self.nics = {}
                enter(world, self, "terminated")

            halt(world, self, "shutting-down", finish)
        return previous

    return terminate


def reboot_in_place(world: World, _original: Any) -> Any:
    """Moto's reboot sets any instance running. On AWS it stays running and the guest goes away for a while."""

    def reboot(self: Any) -> None:
        if self._state.name != "running":
            raise incorrect_state(self.id, "rebooted")
        guests.power_off(world, self)
        stay, seconds = self.lab_stay, world.paces.start
        options = world.options
        away = options.boot_seconds + options.guest_boot_seconds if seconds is None else seconds
        world.agenda.after(away, lambda: guests.boot(world, self, stay))

    return reboot


def answer_with_real_states(name: str, key: str) -> Any:
    """Moto answers `pending`, `stopping` and `shutting-down` whatever happened.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceStateChange.html
    """

    def respond(self: Any) -> Any:
        changed = getattr(self.ec2_backend, name)(self._get_param("InstanceIds", []))
        states = [
            {"InstanceId": instance.id, "CurrentState": copy.copy(instance._state), "PreviousState": previous}
            for instance, previous in changed
        ]
        return ActionResult({key: states})

    return respond
