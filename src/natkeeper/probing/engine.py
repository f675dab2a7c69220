"""The engine: sends rounds when they are due, decides them as answers come, and gives the run's verdict.

Called through `natkeeper.probing`. May import nothing but light parts of the standard library.

Theory of operation. The schedule is open-loop: round n leaves at t0 + n * interval, whatever became of earlier rounds,
so that failures can be read as points in time (a closed loop stretches with every time-out and under-reports). Each
target of a round ends in one of three ways:
  ok        connected (and, for a GET, answered with 2xx or 3xx),
  failed    no connection: refused, unreachable, no answer within the deadline,
  unproven  no name resolution, or connected but the TLS or HTTP exchange went wrong. Neither says that the NAT is down:
            the first never used it, in the second it did carry packets, at an instant we cannot tell.
A round is ok when `quorum` targets are, failed when too few are left to get there even if all unproven ones were good,
and otherwise unknown: unknown rounds are not reported, which makes their time unobserved instead of up or down.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from natkeeper.probing.request import VERIFY, Request, Target, parse_targets
from natkeeper.probing.rounds import Round, Streak, Tally, public_address
from natkeeper.probing.sockets import Answer, Sockets

VERSION = 1
ROUNDS_TO_RECOVER = 2
"""Good rounds after a failed one that end a watch run, so that a single lost round is reported within two intervals."""

DNS_TIME_S = 1.0
"""How long the first round waits for names. Numeric targets wait for nothing."""

MOST_ERRORS = 20

_CANARY = -1
"""Index of the canary in `all_targets`, where it comes last."""


class Network(Protocol):
    """What the engine needs of sockets and clocks; `Sockets` says what each promises."""

    def now(self) -> float: ...
    def stamp(self, instant: float) -> tuple[str, float]: ...
    def prepare(self, targets: Iterable[Target], within: float) -> None: ...
    def address(self, host: str) -> str | None: ...
    def dns_error(self, host: str) -> str: ...
    def begin(
        self, key: Any, address: tuple[str, int], timeout: float, get: Target | None, get_timeout: float
    ) -> None: ...
    def wait(self, until: float) -> list[Answer]: ...
    def close(self) -> None: ...


class _Run:
    """One run. The first `judged` rounds are all decided; `streak` is what they end in."""

    def __init__(self, request: Request, network: Network, limit: float | None) -> None:
        self.request = request
        self.network = network
        self.limit_at = network.now() + (float("inf") if limit is None else limit)
        self.rounds: list[Round] = []
        self.canary: list[Round] = []
        self.tallies = {target.text: Tally() for target in request.targets}
        self.errors: dict[str, None] = {}
        self.egress_address: str | None = None
        self.egress_address_at = 0.0
        self.late: dict[Any, float] = {}
        """By how much a probe left after its round's time stamp: this process may have been held up between the two."""
        self.slot = self.open = self.judged = 0
        self.streak = Streak()

    def execute(self) -> dict[str, Any]:
        request = self.request
        self.network.prepare(self.all_targets(), min(DNS_TIME_S, max(0.0, self.limit_at - self.network.now())))
        self.t0 = self.network.now()
        over_at = self.t0 + request.run
        self.cut_at = min(self.limit_at, over_at) if request.mode == VERIFY else self.limit_at
        self.send_until = min(over_at, self.limit_at - request.timeout)
        while (verdict := self.step()) is None:
            pass
        return self.report(verdict)

    def step(self) -> str | None:
        """Sends what is due, waits for one event, and gives the verdict once there is one."""
        now = self.network.now()
        if now >= self.cut_at:
            return self.timed_out()
        due_at = self.send_if_due(now)
        if not self.open and due_at >= self.send_until and not self.goes_on(due_at):
            return self.timed_out()
        wake_at = min(self.cut_at, due_at) if due_at < self.send_until else min(self.cut_at, now + 60.0)
        for answer in self.network.wait(wake_at):
            self.take(answer)
        return self.judge()

    def goes_on(self, due_at: float) -> bool:
        """A run whose time is over in the middle of failures sends another round: its successor would have to count
        from one again, and detection would take twice as long."""
        longest = self.limit_at - self.request.timeout
        if self.request.mode == VERIFY or not self.streak.failures or due_at >= longest:
            return False
        self.send_until = min(due_at + self.request.interval, longest)
        return True

    def timed_out(self) -> str:
        """Having seen no failed round is no "down": a run without eyes must not read as an outage."""
        is_failure_seen = any(one.is_ok is False for one in self.rounds)
        return "down" if self.request.mode == VERIFY and is_failure_seen else "ended"

    def send_if_due(self, now: float) -> float:
        """Sends at most one round, and returns when the next is due. Slots missed by more than half an interval (the
        process was frozen or starved) are skipped: sent late they would all sample the same instant."""
        interval = self.request.interval
        self.slot = max(self.slot, round((now - self.t0) / interval))
        due_at = self.t0 + self.slot * interval
        if due_at <= now and due_at < self.send_until:
            self.send(now)
            self.slot += 1
            due_at = self.t0 + self.slot * interval
        return due_at

    def all_targets(self) -> list[Target]:
        return [*self.request.targets, *([self.request.canary] if self.request.canary else [])]

    def send(self, now: float) -> None:
        request = self.request
        number = len(self.rounds)
        self.rounds.append(Round(now, request.quorum, len(request.targets)))
        for index, target in enumerate(request.targets):
            # After a failure the path may be another one: who the far end takes us for is news then.
            is_due = self.slot % request.https_every == 0 or self.streak.is_failure_seen
            self.probe((number, index), target, is_due and target.path is not None)
        if request.canary:
            self.canary.append(Round(now, 1, 1))
            self.probe((number, _CANARY), request.canary, False)
        if nameless := [target for target in self.all_targets() if self.network.address(target.host) is None]:
            self.network.prepare(nameless, 0.0)

    def probe(self, key: tuple[int, int], target: Target, is_full: bool) -> None:
        address = self.network.address(target.host)
        if address is not None:
            get = target if is_full else None
            self.open += 1
            self.late[key] = self.network.now() - self.rounds[key[0]].sent_at
            self.network.begin(key, (address, target.port), self.request.timeout, get, self.request.https_timeout)
            return
        self.note(key[1], target, self.network.dns_error(target.host))
        (self.canary if key[1] == _CANARY else self.rounds)[key[0]].count_unresolved()

    def note(self, index: int, target: Target, error: str) -> None:
        if len(self.errors) < MOST_ERRORS:
            self.errors[f"canary {target.text} {error}" if index == _CANARY else f"{target.text} {error}"] = None
        if index != _CANARY:
            self.tallies[target.text].last_error = error

    def take(self, answer: Answer) -> None:
        self.open -= 1
        number, index = answer.key
        target = self.all_targets()[index]
        if answer.error is not None:
            self.note(index, target, answer.error)
        if index == _CANARY:
            self.canary[number].count(answer.error, answer.rtt)
            return
        # From the time stamp on: the answer bounds when the packet left, however late that was.
        waited = None if answer.rtt is None else answer.rtt + self.late.pop(answer.key, 0.0)
        self.rounds[number].count(answer.error, waited)
        self.tallies[target.text].count(answer.error, answer.rtt)
        address, sent_at = public_address(answer.body), self.rounds[number].sent_at
        if address is not None and sent_at >= self.egress_address_at:
            self.egress_address, self.egress_address_at = address, sent_at

    def judge(self) -> str | None:
        """Looks for a streak of rounds in the order they were sent. A round still on its way interrupts a streak, but
        does not hold up the ones after it: right after a move the lost rounds take longer than the good ones."""
        streak = self.streak
        for this in itertools.islice(self.rounds, self.judged, None):
            if this.is_open:
                streak = Streak(is_failure_seen=streak.is_failure_seen)
            elif this.is_ok is not None:
                streak = streak.then(this.is_ok)
                if verdict := self.verdict_of(streak):
                    return verdict
        while self.judged < len(self.rounds) and not self.rounds[self.judged].is_open:
            is_ok = self.rounds[self.judged].is_ok
            self.streak = self.streak if is_ok is None else self.streak.then(is_ok)
            self.judged += 1
        return None

    def verdict_of(self, streak: Streak) -> str | None:
        request = self.request
        if request.mode == VERIFY:
            return "passed" if streak.passes >= request.rounds_to_pass else None
        if streak.failures >= request.rounds_to_fail:
            return "down"
        return "recovered" if streak.is_failure_seen and streak.passes >= ROUNDS_TO_RECOVER else None

    def report(self, verdict: str) -> dict[str, Any]:
        clock, started_at = self.network.stamp(self.t0)
        return {
            "version": VERSION,
            "group": self.request.group,
            "run_id": self.request.run_id,
            "mode": self.request.mode,
            "verdict": verdict,
            "clock": clock,
            "started_at": datetime.fromtimestamp(started_at, UTC).isoformat(timespec="microseconds"),
            "rounds": [one.on_the_wire(self.t0) for one in self.rounds if one.is_ok is not None],
            "canary": [one.on_the_wire(self.t0) for one in self.canary if one.is_ok is not None],
            "targets": {text: tally.on_the_wire() for text, tally in self.tallies.items()},
            "egress_address": self.egress_address,
            "egress_address_ms": round((self.egress_address_at - self.t0) * 1000, 3) if self.egress_address else None,
            "errors": list(self.errors),
        }


def run(request: Request, *, network: Network | None = None, limit: float | None = None) -> dict[str, Any]:
    """Probes as asked and returns the JSON-able report that `triggers.parse_report` reads.

    Lasts `request.run` seconds plus the last round's deadline, and never more than `limit` seconds; rounds not decided
    by then are left out. Bad luck on the network never raises; what is wrong with this machine (no sockets) does."""
    network = Sockets() if network is None else network
    try:
        return _Run(request, network, limit).execute()
    finally:
        network.close()


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report without its rounds, for one line of log."""
    rounds = report["rounds"]
    counts = {
        "rounds": len(rounds),
        "failed_rounds": sum(not one[1] for one in rounds),
        "canary": len(report["canary"]),
    }
    return {**{key: value for key, value in report.items() if key not in counts}, **counts}


class ControlProbe(NamedTuple):
    """One round from outside. `is_ok` None: could not look (no name resolution). `errors`: per target, None when it
    answered. Truthy only when a majority of the targets answered."""

    is_ok: bool | None
    errors: dict[str, str | None]

    def __bool__(self) -> bool:
        return self.is_ok is True


def control_probe(targets: Sequence[str], timeout: float = 0.8, *, network: Network | None = None) -> ControlProbe:
    """One round of TCP connects to all targets at once; a majority decides. No GET: what it is compared with, a prober
    saying "down", rests on connections too, and TLS would slow the failover. Takes `timeout` seconds at most, and a
    second more for names. ValueError for a bad target."""
    parsed = [target._replace(path=None) for target in parse_targets(targets)]
    network = Sockets() if network is None else network
    errors: dict[str, str | None] = {}
    outcome = Round(0.0, len(parsed) // 2 + 1, len(parsed))
    waiting = 0
    try:
        network.prepare(parsed, DNS_TIME_S)
        for target in parsed:
            address = network.address(target.host)
            errors[target.text] = network.dns_error(target.host) if address is None else "timeout"
            if address is None:
                outcome.count_unresolved()
            else:
                waiting += 1
                network.begin(target.text, (address, target.port), timeout, None, timeout)
        while waiting:
            for answer in network.wait(network.now() + timeout):
                waiting -= 1
                errors[answer.key] = answer.error
                outcome.count(answer.error, answer.rtt)
    finally:
        network.close()
    return ControlProbe(outcome.is_ok, errors)
