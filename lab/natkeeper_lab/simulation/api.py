"""The way from the controller to AWS and back: latency, throttling, errors, lost replies, and who called what.

Called by `simulation.client`. A call is applied at one instant, between two waits; at that instant, and nowhere else,
the invariants look at it and a controller may die. What goes wrong on the way is said by rules, which faults add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from natkeeper_lab.simulation.answers import Answers, spot_requests, statuses, wanted
from natkeeper_lab.simulation.dynamo import Table
from natkeeper_lab.simulation.ec2 import Ec2
from natkeeper_lab.simulation.errors import ApiError, NoAnswer
from natkeeper_lab.simulation.hub import SECOND, Hub
from natkeeper_lab.simulation.limits import check

if TYPE_CHECKING:
    from natkeeper_lab.simulation.invocation import Invocation

DESCRIBES = ("DescribeInstances", "DescribeRouteTables", "DescribeAddresses")
"""What a look is made of, and what may be old."""
READS = (*DESCRIBES, "DescribeInstanceStatus", "DescribeSpotInstanceRequests", "Query")
THROTTLED = ApiError("RequestLimitExceeded", "Request limit exceeded.", 503)


@dataclass(slots=True, eq=False)
class Call:
    """One attempt of one API call."""

    service: str
    operation: str
    params: Mapping[str, Any]
    invocation: Invocation
    number: int
    sent_at: int
    page: int = 0

    @property
    def is_write(self) -> bool:
        """It changes something in EC2."""
        return self.service == "ec2" and self.operation not in READS


@dataclass(slots=True, eq=False)
class Rule:
    """What goes wrong with the calls that it matches.

    `refuses`: the error instead of an effect. `loses`: applied, and nobody hears of it. `delay`: the request is that
    much longer on its way. `lag`: an answer as old as that. `times`: how often; None until `ends_at`.
    """

    fault: str
    matches: Callable[[Call], bool]
    refuses: ApiError | None = None
    loses: bool = False
    delay: int = 0
    lag: int = 0
    times: int | None = None
    ends_at: int | None = None


class Watcher(Protocol):
    """Who looks at each call: the world."""

    def fired(self, fault: str) -> None: ...
    def sending(self, call: Call) -> None: ...
    def applied(self, call: Call, error: ApiError | None) -> None: ...


@dataclass(slots=True)
class Bucket:
    """A token bucket, as EC2 throttles each kind of call (EC2 API reference, "Request throttling")."""

    size: float
    refill: float
    tokens: float = -1.0
    since: int = 0

    def take(self, now: int) -> bool:
        """One token, if there is one."""
        if self.tokens < 0:
            self.tokens = self.size
        self.tokens = min(self.size, self.tokens + (now - self.since) / SECOND * self.refill)
        self.since = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def buckets() -> dict[str, Bucket]:
    """Size and refill a second of an account's buckets in one region (docs/aws.md, "Request rates")."""
    found = {name: Bucket(100, 20) for name in READS if name.startswith("Describe")}
    moves = ("ReplaceRoute", "CreateRoute", "AssociateAddress", "DisassociateAddress", "StopInstances")
    found |= {name: Bucket(50, 5) for name in moves}
    found |= {name: Bucket(100, 5) for name in ("ModifyNetworkInterfaceAttribute", "TerminateInstances")}
    found |= {name: Bucket(5, 2) for name in ("RunInstances", "StartInstances")}
    return found


@dataclass
class Api:
    """AWS's front door. `latency`: microseconds there and back, drawn for each call."""

    hub: Hub
    dice: Random
    ec2: Ec2
    answers: Answers
    table: Table
    watcher: Watcher
    latency: tuple[int, int] = (8_000, 80_000)
    rules: list[Rule] = field(default_factory=list)
    buckets: dict[str, Bucket] = field(default_factory=buckets)
    page_size: int = 1000
    calls: int = 0
    judge: Callable[[Call], Rule | None] | None = None
    """Who says what goes wrong, where it is not `rules`: scenarios let several faults concern one call."""

    def submit(self, call: Call, patience: int, resume: Callable[[Any], None]) -> None:
        """Sends it; `resume` hears the answer, an ApiError or NoAnswer."""
        self.calls += 1
        self.watcher.sending(call)
        if call.invocation.is_over:
            return
        rule = self.rule_for(call)
        low, high = self.latency
        there = back = low if low == high else self.dice.randrange(low, high) // 2
        paces = self.ec2.paces
        if paces.slow_calls and self.dice.random() < paces.slow_calls:
            there += self.ec2.draw(paces.slow_call)
        if rule is not None:
            there += rule.delay
        if there + back > patience or (rule is not None and rule.loses):
            self.hub.after(patience, lambda: resume(NoAnswer()), call.operation)
            self.hub.after(there, lambda: self._arrive(call, rule), call.operation)
            return

        def arrive() -> None:
            found = self._arrive(call, rule)
            self.hub.after(back, lambda: resume(found), call.operation)

        self.hub.after(there, arrive, call.operation)

    def rule_for(self, call: Call) -> Rule | None:
        """What goes wrong with a call that is sent now."""
        if self.judge is not None:
            return self.judge(call)
        for rule in self.rules:
            if rule.ends_at is not None and self.hub.now >= rule.ends_at:
                continue
            if rule.times != 0 and rule.matches(call):
                if rule.times is not None:
                    rule.times -= 1
                self.watcher.fired(rule.fault)
                return rule
        return None

    def _arrive(self, call: Call, rule: Rule | None) -> Any:
        """The instant of the effect."""
        error: ApiError | None = None
        answer: Any = None
        try:
            answer = self._effect(call, rule)
        except ApiError as refusal:
            answer = error = refusal
        self.watcher.applied(call, error)
        return answer

    def _effect(self, call: Call, rule: Rule | None) -> Any:
        if rule is not None and rule.refuses is not None:
            raise rule.refuses
        bucket = self.buckets.get(call.operation)
        if bucket is not None and not bucket.take(self.hub.now):
            self.watcher.fired("throttled-by-buckets")
            raise THROTTLED
        check(call.operation, call.params)
        if call.service == "dynamodb":
            return self.table.apply(call.operation, call.params)
        if call.operation in READS:
            return self._describe(call, rule.lag if rule is not None else 0)
        return self.ec2.apply(call.operation, call.params)

    def _describe(self, call: Call, lag: int) -> dict[str, Any]:
        if call.operation == "DescribeInstanceStatus":
            ids = call.params["InstanceIds"]
            unknown = [each for each in ids if each not in self.ec2.machines]
            if unknown:
                raise ApiError("InvalidInstanceID.NotFound", f"The instance IDs '{unknown}' do not exist")
            return {"InstanceStatuses": statuses(self.ec2, ids)}
        filters = call.params.get("Filters", [])
        if call.operation == "DescribeSpotInstanceRequests":
            return {"SpotInstanceRequests": spot_requests(self.ec2, filters[0]["Values"])}
        items = [each for each in self.answers.items(call.operation, lag) if wanted(each, filters)]
        if call.operation == "DescribeAddresses":
            return {"Addresses": items}
        start = call.page * self.page_size
        page: dict[str, Any] = {"NextToken": "more"} if len(items) > start + self.page_size else {}
        shown = items[start : start + self.page_size]
        if call.operation == "DescribeRouteTables":
            return page | {"RouteTables": shown}
        now = self.hub.now
        seen = [each for each in shown if self.ec2.machines[each["InstanceId"]].tagged_from <= now]
        return page | {"Reservations": [{"Instances": [each]} for each in seen]}
