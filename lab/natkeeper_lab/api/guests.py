"""Guests on the packet plane: when an instance's machine is there, and when it is gone.

The lifecycle mends call it. May not import boto3.
"""

from __future__ import annotations

from typing import Any

from natkeeper_lab.api.plane import Verb
from natkeeper_lab.api.world import World


def boot(world: World, instance: Any, stay: int) -> None:
    """Boot the guest, in this thread and with the world unlocked, if the instance is still in the state of `stay`."""
    with world.reading():
        if instance.lab_stay != stay or not _is_known(world, instance):
            return
        nic, user_data = instance.nics[0], world.rewrite_user_data(instance, _user_data(instance))
        lanes = world.outbox.put([_boot(instance.id, nic.id, user_data)])
    world.outbox.drain(lanes)


def power_off(world: World, instance: Any) -> None:
    """Queue the guest's end; it is in effect when the change that the caller is making is answered."""
    if _is_known(world, instance):
        world.owe([Verb(_lane(instance.id), lambda packets, name=instance.id: packets.power_off(name))])  # type: ignore[misc]


def run(world: World, machine_id: str, interface_id: str, script: str) -> None:
    """Queue the start of a machine that is no instance, such as a NAT gateway's, as `power_off` queues an end."""
    world.owe([_boot(machine_id, interface_id, script)])


def _boot(instance_id: str, interface_id: str, user_data: str) -> Verb:
    return Verb(_lane(instance_id), lambda packets: packets.boot(instance_id, interface_id, user_data))


def _lane(instance_id: str) -> str:
    return f"power:{instance_id}"


def _is_known(world: World, instance: Any) -> bool:
    return bool(instance.nics) and world.has_interface(instance.nics[0].id)


def _user_data(instance: Any) -> str:
    from moto.core.types import Base64EncodedString

    raw = instance.user_data
    if raw is None:
        return ""
    encoded = raw if isinstance(raw, Base64EncodedString) else Base64EncodedString(str(raw))
    text: str = encoded.decode()
    return text
