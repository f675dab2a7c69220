"""One invocation of the controller: the unmodified pass on the simulated world's clients, clock and probers.

Made by `simulation.functions`. What is natkeeper's runs as it is: triggers, `reconcile`, `core`, and the EC2, ledger
and prober adapters. What is not: boto3's clients, telemetry (remembered instead of printed), and the control probe's
sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from natkeeper.adapters.aws import LAUNCHING
from natkeeper.adapters.ec2 import Ec2
from natkeeper.adapters.ledger import DynamoLedger
from natkeeper.adapters.prober import LambdaProber
from natkeeper.core.model import ControlProbe, Network
from natkeeper.core.news import ProbeReport
from natkeeper.core.plan import Happening, Plan
from natkeeper.errors import Trouble
from natkeeper.ports import Outcome, OwnInstances, Ports
from natkeeper.reconcile import reconcile
from natkeeper.triggers import Foreign, Malformed, parse
from natkeeper_lab.simulation.answers import BEGINNING, instant
from natkeeper_lab.simulation.client import DynamoClient, Ec2Client, LambdaClient
from natkeeper_lab.simulation.hub import SECOND, Task

if TYPE_CHECKING:
    from natkeeper_lab.simulation.world import World

ACCOUNT, REGION = "111122223333", "us-east-1"
LEDGER = "ledger"
TIMEOUT = 20 * SECOND
"""The controller's, in template.yaml."""
CONTROL_PROBE = 60_000
"""How long the control probe takes when all is well: a round trip and a bit, in microseconds."""


class Invocation:
    """From the event's arrival to answer, time-out or crash. `skew`: microseconds that its host's clock is off."""

    def __init__(self, world: World, event: Any, request_id: str, skew: int) -> None:
        self.world = world
        self.event = event
        self.request_id = request_id
        self.serial = world.functions.next_number()
        """Its own, where a request id may be delivered twice."""
        self.holder = f"{request_id}/{self.serial}"
        """Its name in leases, as `handlers.controller` makes it."""
        self.skew = skew
        self.deadline = world.hub.now + TIMEOUT
        self.began_at = world.hub.now
        self.calls = 0
        self.is_over = False
        self.frozen_until = 0
        self.task: Task | None = None
        self.seen: Network | None = None
        """What its last look found; None while it could not look."""
        self.control: ControlProbe | None = None
        self.plans: dict[str, Plan] = {}
        self.policy = world.policy
        self.refused: str | None = None
        self.own = OwnInstances()
        """What its environment knows: of an earlier invocation, where it is a warm one."""

    def run(self) -> None:
        """The handler's body."""
        probers = self.world.settings.probers
        try:
            news = parse(self.event, account=ACCOUNT, region=REGION, probers=probers, request_id=self.request_id)
        except (Foreign, Malformed) as refusal:
            self.refused = str(refusal)
            return
        reconcile([news], self._ports(), self.policy)

    def next_call(self) -> int:
        """Calls are numbered from 1, so that a crash can be placed at one."""
        self.calls += 1
        return self.calls

    def thaw(self) -> None:
        """A host that stands still hears of an answer only when it goes on."""
        while (span := self.frozen_until - self.world.hub.now) > 0:
            self.world.hub.sleep(span)

    def end(self) -> None:
        """Nothing of it runs any more."""
        self.is_over = True
        if self.task is not None:
            self.task.kill()

    def _ports(self) -> Ports:
        world, clock = self.world, _Clock(self)
        together = self._together
        return Ports(
            vpc=_Eyes(self, together),
            ledger=DynamoLedger(cast(Any, DynamoClient(self)), LEDGER, self.holder, clock.now, clock.remaining),
            prober=_Prober(self),
            clock=clock,
            telemetry=_Telemetry(self, world),
            together=together,
            own=self.own,
        )

    def _together(self, calls: Sequence[Callable[[], object]]) -> list[object]:
        """`ports.Together` in virtual time."""
        if len(calls) == 1:
            return [_attempt(calls[0])]
        tasks = self.world.hub.together([partial(_attempt, each) for each in calls])
        for each in tasks:
            if each.error is not None:
                raise each.error
        return [each.result for each in tasks]


def _attempt(call: Callable[[], object]) -> object:
    try:
        return call()
    except Trouble as trouble:
        return trouble


class _Clock:
    """`ports.Clock` of one host."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._hub = invocation.world.hub
        self._at = -1
        self._moment = BEGINNING

    def now(self) -> datetime:
        if self._hub.now != self._at:
            self._at = self._hub.now
            self._moment = instant(self._at + self._invocation.skew)
        return self._moment

    def remaining(self) -> timedelta:
        return timedelta(microseconds=self._invocation.deadline - self._hub.now)

    def sleep(self, span: timedelta) -> None:
        self._hub.sleep(span // timedelta(microseconds=1))


class _Eyes(Ec2):
    """The EC2 adapter; the invariants are told what it saw."""

    def __init__(self, invocation: Invocation, together: Any) -> None:
        client, launching = Ec2Client(invocation), lambda: Ec2Client(invocation, LAUNCHING)
        launches = invocation.world.launches
        super().__init__(cast(Any, client), invocation.policy, launches, together, cast(Any, launching))
        self._invocation = invocation

    def look(self, *asked: Any, **how: Any) -> Network:
        self._invocation.seen = None
        found = super().look(*asked, **how)
        self._invocation.seen = found
        return found

    def stops(self, *asked: Any, **how: Any) -> Mapping[str, datetime]:
        found = super().stops(*asked, **how)
        if self._invocation.seen is not None:
            self._invocation.seen = self._invocation.seen.with_stops(found)
        return found


class _Prober(LambdaProber):
    """The prober's adapter; the control probe asks the world instead of sockets."""

    def __init__(self, invocation: Invocation) -> None:
        super().__init__(cast(Any, LambdaClient(invocation)), invocation.world.probe_settings)
        self._invocation = invocation

    def control(self) -> ControlProbe:
        world = self._invocation.world
        are_names_dead = world.packets.are_names_dead
        is_ok = world.packets.outside and not are_names_dead
        world.hub.sleep(CONTROL_PROBE if is_ok else SECOND if are_names_dead else 800_000)
        found = ControlProbe(is_ok, "" if is_ok else "timeout")
        self._invocation.control = found
        return found


class _Telemetry:
    """`ports.Telemetry`: the world remembers what people would be told."""

    def __init__(self, invocation: Invocation, world: World) -> None:
        self._invocation = invocation
        self._world = world

    def decided(self, plan: Plan) -> None:
        self._invocation.plans[plan.group] = plan
        self._world.decided(self._invocation, plan)

    def acted(self, group: str, outcome: Outcome) -> None:
        self._world.acted(self._invocation, group, outcome)

    def happened(self, group: str, happening: Happening) -> None:
        self._world.happened(self._invocation, group, happening)

    def troubled(self, group: str | None, trouble: Trouble) -> None:
        self._world.troubled(self._invocation, group, trouble)

    def reported(self, report: ProbeReport) -> None:
        self._world.reported(self._invocation, report)

    def send(self, text: str) -> None:
        self._world.messaged(self._invocation, text)


def destination(
    request: Mapping[str, Any], function: str, report: Any, condition: str, error: str | None
) -> dict[str, Any]:
    """A Lambda destination's record (Lambda developer guide, "Retaining records of asynchronous invocations")."""
    context = {"statusCode": 200, "executedVersion": "$LATEST"}
    return {
        "version": "1.0",
        "requestContext": {
            "requestId": "simulated",
            "functionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}:$LATEST",
            "condition": condition,
            "approximateInvokeCount": 1,
        },
        "requestPayload": request,
        "responseContext": context if error is None else context | {"functionError": error},
        "responsePayload": report,
    }
