"""Mends: EventBridge rules reach Lambda targets, and nobody but AWS puts AWS's events.

Installed by `api.mends`. May not import boto3.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from moto.events.models import EventsBackend, Rule

from natkeeper_lab.api.functions import name_of
from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World


def install(patches: Patches, world: World) -> None:
    patches.wrap(Rule, "send_to_targets", partial(invoke_functions, world))
    patches.wrap(EventsBackend, "put_events", refuse_aws_sources)


def invoke_functions(world: World, original: Any) -> Any:
    """Moto raises for a Lambda target. Targets that are not registered are logged by EventBridge as failed: skipped.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-targets.html
    """

    def send_to_targets(self: Any, event: Any, transform_input: bool = True) -> None:
        if self.state == "DISABLED" or not self.event_pattern.matches_event(event):
            return
        functions = [target for target in self.targets if ":lambda:" in target["Arn"]]
        for target in functions:
            if world.functions.has(name_of(target["Arn"])):
                world.bus.invoke_target(target, event)
        everything = self.targets
        self.targets = [target for target in everything if target not in functions]
        try:
            original(self, event, transform_input)
        finally:
            self.targets = everything

    return send_to_targets


def refuse_aws_sources(original: Any) -> Any:
    """https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html"""

    def put_events(self: Any, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answers = []
        for event in events:
            if str(event.get("Source", "")).startswith("aws."):
                message = f"Not authorized for the source {event['Source']}."
                answers.append({"ErrorCode": "NotAuthorizedForSourceException", "ErrorMessage": message})
            else:
                answers += original(self, [event])
        return answers

    return put_events
