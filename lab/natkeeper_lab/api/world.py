"""What the parts of one Api share: the lock, moto's backends, the packet plane's queue, time and news.

`api.server` builds it and the mends close over it. May not import boto3.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID

from natkeeper_lab.api.agenda import Agenda
from natkeeper_lab.api.events import EventBus
from natkeeper_lab.api.functions import Functions
from natkeeper_lab.api.options import ApiOptions
from natkeeper_lab.api.outbox import Outbox
from natkeeper_lab.api.paces import Paces
from natkeeper_lab.api.plane import Plane, Verb, difference
from natkeeper_lab.api.pool import AddressPool
from natkeeper_lab.api.projection import project
from natkeeper_lab.api.scheduler import Scheduler
from natkeeper_lab.packets import Packets

ACCOUNT: str = DEFAULT_ACCOUNT_ID


class World:
    def __init__(self, packets: Packets, options: ApiOptions) -> None:
        self.options = options
        self.paces = Paces.of(options)
        self.packets = packets
        self.agenda = Agenda()
        self.outbox = Outbox(packets)
        self.functions = Functions(options, self.paces, ACCOUNT, self._send_message)
        self.bus = EventBus(options, self.paces, ACCOUNT, self.agenda, self.functions)
        self.scheduler = Scheduler(options, self.agenda, self.functions)
        self.elastic_pool = AddressPool(*options.elastic_addresses)
        self.auto_pool = AddressPool(*options.auto_addresses)
        self._lock = threading.RLock()
        self._plane = Plane()
        self._owed: list[str] = []
        self._depth = 0
        self._answer = threading.local()
        self._routes_due: dict[tuple[str, str], tuple[str | None, float]] = {}
        self.foreign: set[str] = set()
        """Instances of the account that are not in the lab: events name them, and describe calls know them."""
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
    def answering_in(self, seconds: float) -> Iterator[None]:
        """The call that this thread applies now is answered so much later: what AWS takes counts from its answer."""
        self._answer.seconds = seconds
        try:
            yield
        finally:
            self._answer.seconds = 0.0

    def after_the_answer(self, seconds: float, job: Callable[[], None]) -> None:
        """Run `job` once, so long after the call of this thread is answered."""
        self.agenda.after(self._from_now(seconds), job)

    def _from_now(self, seconds_after_the_answer: float) -> float:
        return seconds_after_the_answer + float(getattr(self._answer, "seconds", 0.0))

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
        plane = self._propagated(project(self.ec2))
        lanes = self._owed + self.outbox.put(difference(self._plane, plane))
        self._plane, self._owed = plane, []
        return lanes

    def _propagated(self, wanted: Plane) -> Plane:
        """With the routes that packets follow now: a change takes `paces.route` to reach them."""
        if self.paces.route <= 0 and not self._routes_due:
            return wanted
        keys = wanted.routes.keys() | self._plane.routes.keys()
        followed = {key: self._followed(key, self._plane.routes.get(key), wanted.routes.get(key)) for key in keys}
        return replace(wanted, routes={key: target for key, target in followed.items() if target is not None})

    def _followed(self, key: tuple[str, str], former: str | None, target: str | None) -> str | None:
        if former == target:
            self._routes_due.pop(key, None)
            return target
        if key not in self._routes_due or self._routes_due[key][0] != target:
            seconds = self._from_now(self.paces.route)
            self._routes_due[key] = target, time.monotonic() + seconds
            self.agenda.after(seconds, self._tell_again)
        return former if time.monotonic() < self._routes_due[key][1] else self._followed(key, target, target)

    def _tell_again(self) -> None:
        with self.changing():
            pass
