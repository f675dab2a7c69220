"""The lab's AWS API on the wire: EC2, DynamoDB, EventBridge, Lambda and SNS in this process, before a packet plane.

The lab and the contract tests start one; the controller's unmodified adapters reach it through AWS_ENDPOINT_URL. One
per process at a time, because moto's state is global. May not import boto3 or natkeeper.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import moto.backends
from moto.core.base_backend import BackendDict

from natkeeper_lab.api import moto_bridge
from natkeeper_lab.api.asynchronous import MAXIMUM_AGE, RETRIES
from natkeeper_lab.api.functions import Invoke, Terms
from natkeeper_lab.api.gateway import Gateway
from natkeeper_lab.api.machines import Machine, machine_of
from natkeeper_lab.api.mends import install, status
from natkeeper_lab.api.options import ApiOptions, Call
from natkeeper_lab.api.paces import Paces
from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.stale import StaleReads
from natkeeper_lab.api.world import ACCOUNT, World
from natkeeper_lab.faults import Faults
from natkeeper_lab.packets import Packets
from natkeeper_lab.wire import WireServer


class Api:
    """`start`, use, `stop`. Failures of the packet plane or of the lab itself are raised by `stop` at the latest."""

    _running: Api | None = None

    def __init__(self, packets: Packets, options: ApiOptions | None = None) -> None:
        self.options = options or ApiOptions()
        self.faults = Faults()
        self._patches = Patches()
        self._world = World(packets, self.options)
        self._stale = StaleReads(self.options.stale_seconds, self.options.region)
        self._world.before_change = self._stale.remember
        self._gateway = Gateway(self._world, self.faults, self._stale)
        self._server = WireServer(self._gateway.handle, tls=_tls(self.options.certificate))

    def start(self) -> str:
        """The endpoint's URL. RuntimeError when another Api of this process is running."""
        if Api._running is not None:
            raise RuntimeError("one Api per process: moto's state is global")
        Api._running = self
        moto_bridge.speed_up(self._patches, has_images=self.options.has_images)
        BackendDict.reset()
        if self.options.is_mended:
            install(self._patches, self._world)
        _ = self._world.ec2
        self._server.start()
        return self._server.url

    def stop(self) -> None:
        """Close the port, cancel what is pending and give moto back as it was. Raises what went wrong meanwhile."""
        if Api._running is not self:
            return
        self._server.stop()
        self._world.functions.close()
        self._world.agenda.close()
        BackendDict.reset()
        self._patches.restore()
        Api._running = None
        if failures := self.failures():
            raise ExceptionGroup("the lab's API failed", [error for error in failures if isinstance(error, Exception)])

    def end_invocations(self) -> None:
        """For whoever runs the functions and is about to end them: nothing asynchronous starts any more."""
        self._world.functions.begin_closing()

    @property
    def paces(self) -> Paces:
        """How long AWS takes; whatever is set here holds for what begins after it."""
        return self._world.paces

    def environment(self) -> dict[str, str]:
        """What an AWS SDK needs to talk to this Api. The credentials mean nothing."""
        return {
            "AWS_ENDPOINT_URL": self._server.url,
            "AWS_REGION": self.options.region,
            "AWS_DEFAULT_REGION": self.options.region,
            "AWS_ACCESS_KEY_ID": "lab",
            "AWS_SECRET_ACCESS_KEY": "lab",
        }

    def calls(self) -> list[Call]:
        """Every request answered so far, in order of completion."""
        return self._gateway.calls()

    def clear_calls(self) -> None:
        self._gateway.clear_calls()

    def failures(self) -> list[BaseException]:
        """What went wrong inside: the packet plane's refusals, moto's gaps, jobs that raised."""
        return [failure for failures in self._failures() for failure in failures]

    def function_errors(self) -> list[tuple[float, str, str]]:
        """Invocations that ended in an error: when (`time.monotonic()`), which function, what it said."""
        return list(self._world.functions.errors)

    def throttles(self) -> list[tuple[float, str]]:
        """Invocations that found no execution free, as CloudWatch's Throttles: when, and of which function."""
        return list(self._world.functions.throttles)

    def clear_failures(self) -> None:
        """For a test that breaks the packet plane on purpose."""
        for failures in self._failures():
            failures.clear()

    def _failures(self) -> list[list[BaseException]]:
        world = self._world
        return [self._gateway.failures, world.outbox.failures, world.agenda.failures, world.functions.failures]

    def register_function(
        self,
        name: str,
        invoke: Invoke,
        *,
        on_success: str | None = None,
        on_failure: str | None = None,
        retries: int = RETRIES,
        maximum_age: float = MAXIMUM_AGE,
        reserved: int | None = None,
        is_recursion_allowed: bool = False,
    ) -> str:
        """Make `Invoke`, Lambda targets and schedules reach `invoke`. Destinations are names or ARNs of functions, or
        ARNs of queues; `api.functions.Terms` says the rest. The answer is the function's ARN."""
        terms = Terms(on_success, on_failure, retries, maximum_age, reserved, is_recursion_allowed)
        return self._world.functions.register(name, invoke, terms)

    def on_event(self, callback: Callable[[dict[str, Any]], None]) -> None:
        """Call back with every event of AWS's own, whatever the rules."""
        self._world.bus.subscribe(callback)

    def emit(
        self, detail_type: str, detail: dict[str, Any], resources: Sequence[str] = (), source: str = "aws.ec2"
    ) -> None:
        """Put an event of AWS's own on the default bus."""
        self._world.bus.emit(detail_type, detail, resources, source)

    def lose_events(self, count: int) -> None:
        """The next `count` events never arrive."""
        self._world.bus.lose(count)

    def duplicate_events(self, count: int) -> None:
        """The next `count` events arrive twice."""
        self._world.bus.duplicate(count)

    def delay_events(self, seconds: float, count: int) -> None:
        """The next `count` events arrive so much later."""
        self._world.bus.delay(seconds, count)

    def shuffle_events(self, count: int) -> None:
        """The next `count` events arrive together, the last one first."""
        self._world.bus.shuffle(count)

    def deliver(self, event: dict[str, Any]) -> None:
        """Put an envelope on the default bus as it is."""
        self._world.bus.deliver(event)

    def watch(self, on_call: Callable[[Call], None], on_event: Callable[[dict[str, Any], str], None]) -> None:
        """Tell of every call as it is answered, and of every event as AWS makes it, with what becomes of it."""
        self._gateway.watchers.append(on_call)
        self._world.bus.watchers.append(on_event)

    def lag(self, operation: str, seconds: float) -> None:
        """Answers of this describe call (or pattern) are so many seconds old from now on."""
        with self._world.reading():
            self._stale.lag(operation, seconds)

    def break_user_data(self, is_broken: Callable[[str], bool], instead: str = "") -> None:
        """Instances launched from now on boot with another script (none, if nothing is said), where `is_broken` says so
        of their group's tag."""
        with self._world.reading():
            known = {each.id for each in self._world.ec2.all_instances()}

        def rewrite(instance: Any, text: str) -> str:
            tags = {each["key"]: each["value"] for each in instance.get_tags()}
            is_new = instance.id not in known and "natkeeper:group" in tags
            return instead if is_new and is_broken(tags["natkeeper:group"]) else text

        self._world.rewrite_user_data = rewrite

    def machines(self) -> list[Machine]:
        """Every instance as it is this moment, read without a call."""
        with self._world.reading():
            return [machine_of(each) for each in self._world.ec2.all_instances()]

    def schedule_retirement(
        self, instance_id: str, not_before: datetime, notice: Mapping[str, Any] | None = None
    ) -> None:
        """AWS announces that it will retire the instance's host. `notice`: what its notice says in other words."""
        status.schedule_retirement(self._world, instance_id, not_before, notice or {})

    def know_foreign(self, instance_ids: Sequence[str]) -> None:
        """Other people's instances of the same account: there is nothing of them but their ids."""
        with self._world.reading():
            self._world.foreign.update(instance_ids)

    def change_state_of_foreign(self, instance_id: str, state: str) -> None:
        """EC2 announces that somebody else's instance is in another state now."""
        self.know_foreign([instance_id])
        self._world.bus.emit_state(instance_id, state)

    def mark_spot(self, instance_id: str, code: str) -> None:
        """AWS changes the status code of the instance's spot request, for instance to `marked-for-termination`."""
        status.mark_spot(self._world, instance_id, code)

    def published(self) -> list[dict[str, Any]]:
        """Messages published to SNS topics: TopicArn, Subject, Message, in order within a topic."""
        backend = moto.backends.get_backend("sns")[ACCOUNT][self.options.region]
        with self._world.reading():
            return [
                {"TopicArn": arn, "MessageId": sent[0], "Message": sent[1], "Subject": sent[2]}
                for arn, topic in backend.topics.items()
                for sent in topic.sent_notifications
            ]


def _tls(files: tuple[str, str] | None) -> ssl.SSLContext | None:
    if files is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    return context
