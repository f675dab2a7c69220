"""EventBridge's default bus for AWS's own events: the exact envelope, best-effort delivery, Lambda targets.

Mends emit through `World.bus`; `Api` offers its knobs and callbacks. May not import boto3.
"""

from __future__ import annotations

import json
import threading
import traceback
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from natkeeper_lab.api.agenda import Agenda
from natkeeper_lab.api.functions import Functions, name_of
from natkeeper_lab.api.options import ApiOptions
from natkeeper_lab.api.paces import Paces

Event = dict[str, Any]
STATE_CHANGE = "EC2 Instance State-change Notification"


class EventBus:
    def __init__(self, options: ApiOptions, paces: Paces, account: str, agenda: Agenda, functions: Functions) -> None:
        self._options = options
        self._paces = paces
        self._account = account
        self._agenda = agenda
        self._functions = functions
        self._callbacks: list[Callable[[Event], None]] = []
        self._lock = threading.Lock()
        self._lose = 0
        self._duplicate = 0
        self._late = (0, 0.0)
        self._shuffled: list[Event] = []
        self._to_shuffle = 0
        self.watchers: list[Callable[[Event, str], None]] = []
        """Told of every event as AWS makes it, with what becomes of it: delivered, lost, twice, late or held."""

    def subscribe(self, callback: Callable[[Event], None]) -> None:
        self._callbacks.append(callback)

    def lose(self, count: int) -> None:
        with self._lock:
            self._lose += count

    def duplicate(self, count: int) -> None:
        with self._lock:
            self._duplicate += count

    def delay(self, seconds: float, count: int) -> None:
        """The next `count` events come so much later."""
        with self._lock:
            self._late = (count, seconds)

    def shuffle(self, count: int) -> None:
        """The next `count` events are held until the last of them is there, and then come in the reverse order."""
        with self._lock:
            self._to_shuffle = count

    def emit_state(self, instance_id: str, state: str) -> None:
        """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html"""
        self.emit(STATE_CHANGE, {"instance-id": instance_id, "state": state}, [self.instance_arn(instance_id)])

    def instance_arn(self, instance_id: str) -> str:
        return f"arn:aws:ec2:{self._options.region}:{self._account}:instance/{instance_id}"

    def emit(self, detail_type: str, detail: Event, resources: Sequence[str] = (), source: str = "aws.ec2") -> None:
        """Deliver one event, unless it is to be lost; twice if it is to be duplicated."""
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": self._account,
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": self._options.region,
            "resources": list(resources),
            "detail": detail,
        }
        fate, late, events = self._fate(event)
        for watcher in self.watchers:
            watcher(event, fate)
        for number, each in enumerate(events):
            # A hundredth between two, so that threads cannot undo an order that was chosen.
            delay = self._paces.event + late + number / 100
            self._agenda.after(delay, lambda each=each: self.deliver(each))  # type: ignore[misc]

    def deliver(self, event: Event) -> None:
        """Hand one envelope to the callbacks and to every rule of the default bus that matches."""
        for callback in list(self._callbacks):
            try:
                callback(json.loads(json.dumps(event)))
            except Exception:
                traceback.print_exc()
        for rule in self._rules():
            if rule.state != "DISABLED" and rule.event_pattern.get_pattern():
                rule.send_to_targets(event)

    def invoke_target(self, target: Event, event: Event) -> None:
        """Invoke a rule's Lambda target with its Input, InputPath, InputTransformer or the event itself."""
        from moto.events.utils import EventTemplateParser

        payload: Any = event
        if "Input" in target:
            payload = json.loads(target["Input"])
        elif transformer := target.get("InputTransformer"):
            payload = EventTemplateParser.parse(
                input_template=transformer.get("InputTemplate"),
                input_paths_map=transformer.get("InputPathsMap", {}),
                event=event,
            )
        self._functions.invoke_later(name_of(target["Arn"]), json.dumps(payload).encode())

    def _fate(self, event: Event) -> tuple[str, float, list[Event]]:
        """What becomes of it, how much later, and which events are sent on now."""
        with self._lock:
            if self._lose:
                self._lose -= 1
                return "lost", 0.0, []
            if self._duplicate:
                self._duplicate -= 1
                return "twice", 0.0, [event, event]
            count, late = self._late
            if count:
                self._late = (count - 1, late)
                return "late", late, [event]
            if self._to_shuffle:
                self._to_shuffle -= 1
                self._shuffled.append(event)
                held, self._shuffled = self._shuffled, [] if not self._to_shuffle else self._shuffled
                return "held", 0.0, list(reversed(held)) if not self._to_shuffle else []
        return "delivered", 0.0, [event]

    def _rules(self) -> list[Any]:
        from moto.events.models import events_backends

        backend = events_backends[self._account][self._options.region]
        return list(backend.event_buses["default"].rules.values())
