"""What the parts of one Api share: the lock, moto's backends, the packet plane's queue, time and news.

`lab.api.server` builds it and the mends close over it. May not import boto3.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID

from lab.api.agenda import Agenda
from lab.api.events import EventBus
from lab.api.functions import Functions
from lab.api.options import ApiOptions
from lab.api.outbox import Outbox
from lab.api.plane import Plane, Verb, difference
from lab.api.pool import AddressPool
from lab.api.projection import project
from lab.api.scheduler import Scheduler
from lab.packets import Packets

ACCOUNT: str = DEFAULT_ACCOUNT_ID


class World:
    def __init__(self, packets: Packets, options: ApiOptions) -> None:
        self.options = options
        self.packets = packets
        self.agenda = Agenda()
        self.outbox = Outbox(packets)
        self.functions = Functions(options, ACCOUNT, self._send_message)
        self.bus = EventBus(options, ACCOUNT, self.agenda, self.functions)
        self.scheduler = Scheduler(options, self.agenda, self.functions)
        self.elastic_pool = AddressPool(*options.elastic_addresses)
        self.auto_pool = AddressPool(*options.auto_addresses)
        self._lock = threading.RLock()
        self._plane = Plane()
        self._owed: list[str] = []
        self._depth = 0
        self.before_change: Callable[[], None] = lambda: None
        self.rewrite_user_data: Callable[[Any, str], str] = lambda _instance, text: text
        """What an instance really boots: scenarios break it here."""

    @property
    def ec2(self) -> Any:
        from moto.ec2.models import ec2_backends

        return ec2_backends[ACCOUNT][self.options.region]

    def _send_message(self, queue_arn: str, text: str) -> None:
        from moto.sqs.models import sqs_backends

        with self.reading():
            sqs_backends[ACCOUNT][self.options.region].send_message(queue_arn.rsplit(":", 1)[-1], text)

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._lock:
            yield

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock; on the way out tell the packet plane what changed, and wait until it is so.

        Nested changes are told once, by the outermost.
        """
        lanes: list[str] | None = None
        try:
            with self._lock:
                if self._depth == 0:
                    self.before_change()
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                    lanes = self._tell() if self._depth == 0 else None
        finally:
            if lanes is not None:
                self.outbox.drain(lanes)

    def owe(self, verbs: Iterable[Verb]) -> None:
        """Add verbs to the change being made; they run after the structure that the change told so far."""
        self._owed += self.outbox.put(verbs)

    def has_interface(self, interface_id: str) -> bool:
        """Whether the packet plane has, or is about to have, this interface."""
        return interface_id in self._plane.interfaces

    def _tell(self) -> list[str]:
        if not self.options.is_mended:
            return []
        plane = project(self.ec2)
        lanes = self._owed + self.outbox.put(difference(self._plane, plane))
        self._plane, self._owed = plane, []
        return lanes
