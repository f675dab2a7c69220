"""The verbs about events of AWS's: what becomes of them on the way, and more of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from natkeeper_lab.scenario.file import Step, event_of
from natkeeper_lab.scenario.foreign import foreign_changes, foreign_ids
from natkeeper_lab.scenario.hands import Hands
from natkeeper_lab.scenario.verbs.aim import Verb, machine

RETIRES_IN = timedelta(minutes=5)
"""How far ahead a retirement is announced: within natkeeper's notice, so that it matters now."""


def _send_event(hands: Hands, step: Step) -> None:
    """The envelope as it is: as AWS's, or as an operator's, who waits for the answer."""
    event = event_of(hands.sight.scenario.path, step)
    send = hands.deliver if "detail-type" in event else hands.wake
    send(event)


def _spot_warning(hands: Hands, step: Step) -> None:
    hands.events.mark_spot(machine(hands, step).instance_id, "marked-for-termination")


def _rebalance(hands: Hands, step: Step) -> None:
    detail = {"instance-id": machine(hands, step).instance_id}
    hands.events.emit("EC2 Instance Rebalance Recommendation", detail)


def _health(hands: Hands, step: Step) -> None:
    """A retirement is confirmed by EC2 itself; any other notice is only a notice. AWS names every affected instance of
    the account, in no order that anybody could rely on: ours comes last."""
    found, code = machine(hands, step).instance_id, step.args["code"]
    others = foreign_ids(step.args["foreign"] or 0)
    hands.events.know_foreign(others)
    entities = [{"entityValue": instance_id} for instance_id in (*others, found)]
    notice = {"service": "EC2", "eventTypeCode": code, "affectedEntities": entities}
    if "RETIREMENT" in code:
        hands.events.schedule_retirement(found, hands.wall() + RETIRES_IN, notice)
    else:
        hands.events.emit("AWS Health Event", notice, source="aws.health")


def _foreign_events(hands: Hands, step: Step) -> None:
    """Other people's instances of the same account and region start and stop, at a steady rate from now on."""
    sight, count, pause = hands.sight, step.args["count"], 1 / step.args["per_second"]

    def run() -> None:
        began = sight.now()
        for number, (found, state) in enumerate(foreign_changes(count)):
            sight.sleep(began + number * pause - sight.now())
            if hands.is_closing:
                return
            hands.events.change_state_of_foreign(found, state)

    hands.aside(run)


VERBS: Mapping[str, Verb] = {
    "lose_events": lambda hands, step: hands.events.lose_events(step.args["count"]),
    "delay_events": lambda hands, step: hands.events.delay_events(step.args["by"], step.args["count"]),
    "duplicate_events": lambda hands, step: hands.events.duplicate_events(step.args["count"]),
    "shuffle_events": lambda hands, step: hands.events.shuffle_events(step.args["count"]),
    "send_event": _send_event,
    "spot_warning": _spot_warning,
    "rebalance_recommendation": _rebalance,
    "health_event": _health,
    "foreign_events": _foreign_events,
}
