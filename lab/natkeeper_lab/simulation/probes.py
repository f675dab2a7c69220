"""A prober's run: rounds on schedule, a verdict, a report. What `natkeeper.probing.engine` does, in virtual time.

Called by `simulation.functions`. Rounds are worked out when the path changes or the run ends, not one by one: between
two changes of the path they are all alike, and a schedule has thousands of them. `tests/simulation/test_probes.py`
holds this against the real engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from natkeeper_lab.simulation.answers import instant
from natkeeper_lab.simulation.hub import SECOND, Hub, Timer
from natkeeper_lab.simulation.packets import TIMEOUT_MS, Fate

TO_RECOVER = 2
HTTPS_EVERY = 15
"""`probing.engine.ROUNDS_TO_RECOVER`, `probing.request.Request.https_every`."""
LIMIT = 328 * SECOND
"""The last instant at which a run sends: the function's time-out (330 s, template.yaml), the reserve of
`handlers.prober`, and a probe's own. Without it a run that failed and then can resolve no name would never end."""
MASK = (1 << 64) - 1


def chance(seed: int, number: int) -> float:
    """The same figure from 0 to 1 for the same round, whenever it is asked for (splitmix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
    return (mixed ^ (mixed >> 31)) / MASK


@dataclass(slots=True)
class Sent:
    """One round: when it left, what became of it, and when that was known. `is_ok` None: nothing could be sent."""

    at: int
    is_ok: bool | None
    known_at: int
    rtt_ms: float | None
    fate: Fate


@dataclass(slots=True, eq=False)
class Run:
    """One run of one group's prober. `paths`: the fates of the default route and of the canary, now."""

    hub: Hub
    seed: int
    request: Mapping[str, Any]
    skew: int
    paths: Callable[[], tuple[Fate, Fate | None]]
    ended: Callable[[Run, dict[str, Any]], None]
    carried: Callable[[Fate, int], None]
    """Told of each round that got through: which path really carried a packet, and when."""
    t0: int = 0
    rounds: list[Sent] = field(default_factory=list)
    canary: list[Sent] = field(default_factory=list)
    _passes: int = 0
    _failures: int = 0
    _has_failed: bool = False
    _found: tuple[str, int] | None = None
    """The verdict that the rounds so far bring, and when it was known."""
    _now: tuple[Fate, Fate | None] | None = None
    _timer: Timer | None = None

    @property
    def group(self) -> str:
        return str(self.request["group"])

    @property
    def is_verify(self) -> bool:
        return bool(self.request["mode"] == "verify")

    def begin(self) -> None:
        """The first round leaves."""
        self.t0 = self.hub.now
        self._now = self.paths()
        self._plan()

    def path_changed(self) -> None:
        """Rounds that left before now went the old way; the rest will go the new one."""
        found = self.paths()
        if found == self._now:
            return
        self._send_until(self.hub.now)
        self._now = found
        self._plan()

    def stop(self) -> None:
        """The prober died: no report."""
        if self._timer is not None:
            self._timer.cancel()

    # -- rounds

    def _every(self) -> int:
        return int(self.request["interval"] * SECOND)

    def _lasts(self) -> int:
        return int(self.request["run"] * SECOND)

    def _send_until(self, at: int) -> None:
        """Works out the rounds that left before `at`, as far as the run goes on for so long."""
        every = self._every()
        if self._is_steady():
            self._send_alike(min(at, self.t0 + self._lasts()), every)
            return
        while (due := self.t0 + len(self.rounds) * every) < at:
            if due >= self.t0 + self._lasts() and not (self._goes_on() and due < self.t0 + LIMIT):
                return
            self._send(due)
            if self._found is not None:
                return

    def _is_steady(self) -> bool:
        """Nothing that the rounds can bring will end the run, and they are all alike."""
        assert self._now is not None
        if self.is_verify or self._has_failed:
            return False
        return all(each is None or (each.is_ok and each.is_known and not each.loss) for each in self._now)

    def _send_alike(self, until: int, every: int) -> None:
        assert self._now is not None
        path, canary = self._now
        sent = range(self.t0 + len(self.rounds) * every, until, every)
        if not sent:
            return
        later = int(path.rtt_ms * 1000)
        self.rounds += [Sent(due, True, due + later, path.rtt_ms, path) for due in sent]
        self._passes += len(sent)
        self.carried(path, sent[-1])
        if canary is not None:
            later = int(canary.rtt_ms * 1000)
            self.canary += [Sent(due, True, due + later, canary.rtt_ms, canary) for due in sent]
            self.carried(canary, sent[-1])

    def _send(self, due: int) -> None:
        assert self._now is not None
        path, canary = self._now
        number = len(self.rounds)
        sent = self._outcome(path, due, number * 4, quorum=2, targets=3)
        self.rounds.append(sent)
        self._count(sent)
        if canary is not None:
            self.canary.append(self._outcome(canary, due, number * 4 + 3, quorum=1, targets=1))

    def _outcome(self, fate: Fate, due: int, number: int, *, quorum: int, targets: int) -> Sent:
        if not fate.is_known:
            return Sent(due, None, due, None, fate)
        reached = targets if fate.is_ok else 0
        if reached and fate.loss:
            reached = sum(chance(self.seed, number + each) < (1 - fate.loss) ** 2 for each in range(targets))
        if reached < quorum:
            until = due + int(self.request.get("timeout", TIMEOUT_MS / 1000) * SECOND)
            return Sent(due, False, until, fate.rtt_ms if reached else None, fate)
        self.carried(fate, due)
        return Sent(due, True, due + _takes(fate), fate.rtt_ms, fate)

    # -- the verdict

    def _goes_on(self) -> bool:
        """A run whose time is over in the middle of failures sends another round (`probing.engine`)."""
        return not self.is_verify and self._failures > 0

    def _count(self, sent: Sent) -> None:
        """Into the row of good or failed rounds, and the verdict if that completes one.

        A verification's verdict is known as soon as two good rounds are: one still on its way holds up nothing.
        """
        if sent.is_ok is None or self._found is not None:
            return
        if sent.is_ok:
            self._passes, self._failures = self._passes + 1, 0
            if self._passes >= TO_RECOVER and (self.is_verify or self._has_failed):
                self._found = ("passed" if self.is_verify else "recovered", sent.known_at)
        else:
            self._passes, self._failures, self._has_failed = 0, self._failures + 1, True
            if self._failures >= self.request["rounds_to_fail"] and not self.is_verify:
                self._found = ("down", sent.known_at)

    def _plan(self) -> None:
        """When it will end if the path stays as it is."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.hub.after(self._foreseen_end() - self.hub.now, self._end, "run ends")

    def _foreseen_end(self) -> int:
        """If nothing changes: worked out on a copy, because the rounds are not sent yet."""
        assert self._now is not None
        if self._found is not None:
            return self._found[1]
        (path, canary), every, over_at = self._now, self._every(), self.t0 + self._lasts()
        is_sharp = not path.loss and (canary is None or not canary.loss) and len(self.rounds) * every < self._lasts()
        if path.is_ok and is_sharp and not self.is_verify and not self._has_failed:
            lasts = max(_takes(each) for each in (path, canary) if each is not None)
            return self.t0 + (self._lasts() - 1) // every * every + lasts
        ahead = replace(self, rounds=list(self.rounds), canary=list(self.canary), carried=lambda _fate, _at: None)
        ahead._send_until(over_at if self.is_verify else 1 << 60)
        if self.is_verify:
            return min(ahead._found[1], over_at) if ahead._found is not None else over_at
        if ahead._found is not None:
            return ahead._found[1]
        return max(*(each.known_at for each in (*ahead.rounds[-2:], *ahead.canary[-2:])), over_at - every)

    def _end(self) -> None:
        now = self.hub.now
        self._send_until(now + 1)
        if self._found is not None and self._found[1] <= now:
            verdict = self._found[0]
        elif self.is_verify:
            verdict = "down" if any(each.is_ok is False and each.known_at <= now for each in self.rounds) else "ended"
        else:
            verdict = "ended"
        self.ended(self, self._report(verdict))

    def _report(self, verdict: str) -> dict[str, Any]:
        now = self.hub.now
        seen = self._address(now)
        return {
            "version": 1,
            "group": self.group,
            "run_id": self.request["run_id"],
            "mode": self.request["mode"],
            "verdict": verdict,
            "clock": f"clock-{self.seed}",
            "started_at": instant(self.t0 + self.skew).isoformat(timespec="microseconds"),
            "rounds": [self._row(each) for each in self.rounds if each.is_ok is not None and each.known_at <= now],
            "canary": [self._row(each) for each in self.canary if each.is_ok is not None and each.known_at <= now],
            "egress_address": seen.fate.address if seen is not None else None,
            "egress_address_ms": (seen.at - self.t0) / 1000 if seen is not None else None,
            "errors": sorted({each.fate.why for each in self.rounds if each.is_ok is False}),
        }

    def _row(self, sent: Sent) -> list[float | int | None]:
        return [(sent.at - self.t0) / 1000, int(bool(sent.is_ok)), sent.rtt_ms]

    def _address(self, now: int) -> Sent | None:
        """The newest round whose page told the address: some of them, and all once a failure is known."""
        found, failed_at = None, now + 1
        for number, each in enumerate(self.rounds):
            if each.is_ok is False:
                failed_at = min(failed_at, each.known_at)
            is_asked = number % HTTPS_EVERY == 0 or failed_at <= each.at
            if each.is_ok and is_asked and each.known_at <= now:
                found = each
        return found


def _takes(fate: Fate) -> int:
    """Microseconds until a probe's end is known."""
    return int((fate.rtt_ms if fate.is_ok else TIMEOUT_MS) * 1000)
