"""What woke a pass up. Facts as frozen types; parsing them is `natkeeper.triggers`' job, judging them `decide`'s.

An event only says where to look, never what is true: apart from a prober's report (packets that were really sent) and
an operator's command, nothing here may justify a write by itself. May not import anything but the standard library's
data types.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum


@dataclass(frozen=True)
class Tick:
    """The minute's schedule fired."""


@dataclass(frozen=True)
class InstanceChanged:
    """EC2 says that an instance changed state (best effort: may be late, lost, repeated)."""

    instance_id: str
    state: str

    @property
    def is_leaving(self) -> bool:
        """It carries no packets any more, or soon will not, if the event is right."""
        return self.state not in ("running", "pending")


@dataclass(frozen=True)
class SpotInterruption:
    """EC2 says that a spot instance will be taken back."""

    instance_id: str
    action: str
    asks: int = 0
    """So many passes asked EC2 about it in vain."""


@dataclass(frozen=True)
class RebalanceRecommended:
    """EC2 says that a spot instance is at an elevated risk."""

    instance_id: str


@dataclass(frozen=True)
class HealthNotice:
    """AWS Health says something about instances (retirement, maintenance)."""

    code: str
    instance_ids: tuple[str, ...]
    asks: int = 0
    """So many passes asked EC2 about it in vain."""


@dataclass(frozen=True)
class Round:
    """One round of probes: new connections to every target, sent at the same instant.

    `sent_at`: wall clock (UTC), derived from the run's one monotonic clock, so spans between rounds of one `clock` are
    exact. `clock`: identity of that monotonic clock. `is_ok`: a quorum of targets answered. `rtt_ms`: the slowest
    answer that counted; in a round that failed, of those that came all the same. `is_after_hole`: set by an incident,
    not by probers: nobody looked in the time before it, so what is known of it does not go on from the round before.
    `is_close`: set by an incident too: successes that followed each other closely lay before it, and are not kept.
    """

    sent_at: datetime
    clock: str
    is_ok: bool
    rtt_ms: float | None = None
    is_after_hole: bool = False
    is_close: bool = False

    @property
    def is_answered(self) -> bool:
        """Something got through, if too little for a quorum."""
        return self.is_ok or self.rtt_ms is not None


class RunMode(Enum):
    """WATCH: the endless chain. VERIFY: short and fast, right after a move, invoked and waited for."""

    WATCH = "watch"
    VERIFY = "verify"


class Verdict(Enum):
    """How a run ended. DOWN: k failed rounds in a row. RECOVERED: failures, then successes again. PASSED: a verify run
    saw what it needed. ENDED: the run's time is over without news."""

    DOWN = "down"
    RECOVERED = "recovered"
    PASSED = "passed"
    ENDED = "ended"


@dataclass(frozen=True)
class ProbeReport:
    """What one prober run saw from inside the group's private subnet."""

    group: str
    run_id: str
    mode: RunMode
    verdict: Verdict
    rounds: tuple[Round, ...]
    canary: tuple[Round, ...] = ()
    egress_address: str | None = None
    egress_address_at: datetime | None = None
    """When the connection was opened that was seen from `egress_address`: a move may lie behind it."""
    errors: tuple[str, ...] = ()
    """Distinct reasons of failed targets, e.g. `tcp://203.0.113.10:443 timeout`, for people."""

    @property
    def is_down(self) -> bool:
        """Its last rounds failed, as many in a row as it takes."""
        return self.verdict is Verdict.DOWN


@dataclass(frozen=True)
class ProbeFailed:
    """A prober run ended without a report (crash, time-out, throttle): blindness, never evidence of an outage."""

    group: str
    run_id: str
    error: str


class Verb(Enum):
    """What an operator may ask for."""

    PAUSE = "pause"
    RESUME = "resume"
    FAILOVER = "failover"
    SWITCHOVER = "switchover"


@dataclass(frozen=True)
class Command:
    """An operator's wish. `group` None means every group. `minutes` belongs to PAUSE, `to` to SWITCHOVER
    (`home`, or the name of the group whose NAT shall carry the traffic). `request_id`: the invocation's, the same when
    Lambda delivers it twice; None where nobody said."""

    verb: Verb
    group: str | None = None
    minutes: int | None = None
    to: str | None = None
    request_id: str | None = None


News = (
    Tick
    | InstanceChanged
    | SpotInterruption
    | RebalanceRecommended
    | HealthNotice
    | ProbeReport
    | ProbeFailed
    | Command
)


def instances_of(news: News) -> tuple[str, ...]:
    """The instances that it speaks of; none for what is not about instances."""
    match news:
        case HealthNotice():
            return news.instance_ids
        case InstanceChanged() | SpotInterruption() | RebalanceRecommended():
            return (news.instance_id,)
        case _:
            return ()


def concerning(news: News, own: Collection[str]) -> News | None:
    """What of the news is about one of these instances, or about none at all; None when it is about others only."""
    named = instances_of(news)
    kept = tuple(each for each in named if each in own)
    if kept == named:
        return None if isinstance(news, HealthNotice) and not named else news
    if not kept:
        return None
    assert isinstance(news, HealthNotice)
    return replace(news, instance_ids=kept)
