"""Mends: EventBridge Scheduler invokes its targets. Installed by `api.mends`. May not import boto3.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

from moto.scheduler.models import EventBridgeSchedulerBackend

from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World


def install(patches: Patches, world: World) -> None:
    for name in ("create_schedule", "update_schedule", "delete_schedule"):
        patches.wrap(EventBridgeSchedulerBackend, name, partial(tell_the_scheduler, world))


def tell_the_scheduler(world: World, original: Any) -> Any:
    """Moto keeps schedules and never fires one."""

    def change(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = original(self, *args, **kwargs)
        name = kwargs.get("name") or args[-1]
        group = self.schedule_groups[kwargs.get("group_name") or "default"]
        schedule = group.schedules.get(name)
        world.scheduler.changed(f"{group.name}/{name}", None if schedule is None else schedule.to_dict())
        return answer

    return change
