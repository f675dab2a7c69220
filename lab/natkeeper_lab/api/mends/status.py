"""Mends: scheduled events and spot interruptions show where AWS shows them.

Installed by `api.mends`; `Api.schedule_retirement` and `Api.mark_spot` feed them. May not import boto3.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.models.spot_requests import SpotRequestBackend
from moto.ec2.utils import generic_filter

from natkeeper_lab.api.mends.refusals import parameter_value
from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import ACCOUNT, World

MOST_IDS = 100
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceStatus.html (InstanceId.N)"""


def install(patches: Patches, world: World) -> None:
    patches.wrap(InstanceBackend, "describe_instance_status", partial(take_few_ids, world))
    patches.replace(Instance, "events", property(lambda self: getattr(self, "lab_events", [])))
    patches.wrap(SpotRequestBackend, "describe_spot_instance_requests", show_marked_spots)


def take_few_ids(world: World, original: Any) -> Any:
    """Moto takes any number of ids. AWS's page names the limit; the error's code is unproven.

    Instances of the account that the lab only tells of (`World.foreign`) are known, and left out of the answer.
    """

    def describe(self: Any, instance_ids: list[str], include_all_instances: bool, filters: Any) -> Any:
        if len(instance_ids) > MOST_IDS:
            raise parameter_value(f"At most {MOST_IDS} instance ids may be named, not {len(instance_ids)}")
        ours = [each for each in instance_ids if each not in world.foreign]
        if instance_ids and not ours:
            return []
        return original(self, ours, include_all_instances, filters)

    return describe


def schedule_retirement(world: World, instance_id: str, not_before: datetime, notice: Mapping[str, Any]) -> None:
    """Show the event in DescribeInstanceStatus and send AWS Health's notice; `notice` is what it says otherwise.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instances-status-check_sched.html
    """
    with world.changing():
        instance = world.ec2.get_instance(instance_id)
        instance.lab_events = [
            {
                "InstanceEventId": "instance-event-" + instance_id.removeprefix("i-"),
                "Code": "instance-retirement",
                "Description": "The instance is running on degraded hardware",
                "NotBefore": not_before,
            }
        ]
    detail = {
        "eventArn": "arn:aws:health:::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/lab-" + instance_id,
        "service": "EC2",
        "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
        "eventTypeCategory": "scheduledChange",
        "startTime": not_before.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "affectedEntities": [{"entityValue": instance_id}],
        "affectedAccount": ACCOUNT,
        **notice,
    }
    world.bus.emit("AWS Health Event", detail, [world.bus.instance_arn(instance_id)], "aws.health")


def mark_spot(world: World, instance_id: str, code: str) -> None:
    """Give the instance a spot request with this status code; `marked-for-…` also sends the two-minute warning.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
    """
    with world.changing():
        instance = world.ec2.get_instance(instance_id)
        instance.lifecycle = "spot"
        instance.lab_spot = (code, datetime.now(UTC))
    if code.startswith("marked-for-"):
        action = {"marked-for-stop": "stop"}.get(code, "terminate")
        world.bus.emit(
            "EC2 Spot Instance Interruption Warning",
            {"instance-id": instance_id, "instance-action": action},
            [world.bus.instance_arn(instance_id)],
        )


def show_marked_spots(original: Any) -> Any:
    """Moto knows only requests made with RequestSpotInstances, and no interruption.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
    """

    def describe(self: Any, filters: Any = None, spot_instance_ids: Any = None) -> Any:
        marked = [_SpotRequest(one) for one in self.all_instances() if getattr(one, "lab_spot", None)]
        if spot_instance_ids:
            marked = [request for request in marked if request.id in spot_instance_ids]
            known = {request.id for request in marked}
            spot_instance_ids = [one for one in spot_instance_ids if one not in known]
            if not spot_instance_ids:
                return generic_filter(filters, marked)
        return [*original(self, filters, spot_instance_ids), *generic_filter(filters, marked)]

    return describe


class _SpotRequest:
    def __init__(self, instance: Any) -> None:
        self.id = "sir-" + instance.id.removeprefix("i-")[:8]
        self.spot_instance_request_id = self.id
        self.instance_id = instance.id
        self.type = "one-time"
        code, at = instance.lab_spot
        self.state = "active" if instance._state.name not in ("terminated", "stopped") else "closed"
        self.status = {"Code": code, "Message": code.replace("-", " "), "UpdateTime": at}
        self.create_time = instance.launch_time

    def get_filter_value(self, name: str) -> Any:
        return {"state": self.state, "instance-id": self.instance_id, "status-code": self.status["Code"]}.get(name)
