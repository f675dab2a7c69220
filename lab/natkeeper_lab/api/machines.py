"""Instances as facts, read from moto without a call on the wire: for the lab's own judgement of each moment.

Built by `api.server`, read by scenarios. May not import boto3 or natkeeper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Machine:
    """One instance at one moment. `interface` and `zone` are empty once it is gone."""

    instance_id: str
    state: str
    tags: Mapping[str, str]
    interface: str
    is_checked: bool
    zone: str
    launched_at: str


def machine_of(instance: Any) -> Machine:
    """From moto's instance, with the world locked."""
    nic = instance.nics.get(0) if instance.nics else None
    return Machine(
        instance_id=instance.id,
        state=instance._state.name,
        tags=dict(instance.ec2_backend.tags.get(instance.id, {})),  # get_tags() searches those of all resources
        interface=nic.id if nic is not None else "",
        is_checked=bool(nic.source_dest_check) if nic is not None else True,
        zone=nic.subnet.availability_zone if nic is not None else "",
        launched_at=str(instance.launch_time),
    )
