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

from lab.api.agenda import Agenda
from lab.api.functions import Functions, name_of
from lab.api.options import ApiOptions

Event = dict[str, Any]
STATE_CHANGE = "EC2 Instance State-change Notification"


class EventBus:
    def __init__(self, options: ApiOptions, account: str, agenda: Agenda, functions: Functions) -> None:
        self._options = options
        self._account = account
        self._agenda = agenda
        self._functions = functions
        self._callbacks: list[Callable[[Event], None]] = []
        self._lock = threading.Lock()
        self._lose = 0
        self._duplicate = 0

    def subscribe(self, callback: Callable[[Event], None]) -> None:
        self._callbacks.append(callback)

    def lose(self, count: int) -> None:
        with self._lock:
            self._lose += count

    def duplicate(self, count: int) -> None:
        with self._lock:
            self._duplicate += count

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
        for _ in range(self._copies()):
            self._agenda.after(self._options.event_delay, lambda: self.deliver(event))

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

    def _copies(self) -> int:
        with self._lock:
            if self._lose:
                self._lose -= 1
                return 0
            if self._duplicate:
                self._duplicate -= 1
                return 2
        return 1

    def _rules(self) -> list[Any]:
        from moto.events.models import events_backends

        backend = events_backends[self._account][self._options.region]
        return list(backend.event_buses["default"].rules.values())
