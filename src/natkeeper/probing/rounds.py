"""One round of probes while it is being decided, and what became of each target over a run.

Called by `natkeeper.probing.engine`, whose docstring has the theory. Pure: no socket, no clock, nothing to import.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Round:
    """Counts the ends of one round's probes. `is_ok` None: not decided yet, or (`is_unknown`) never."""

    __slots__ = ("is_ok", "is_unknown", "quorum", "rtts", "sent_at", "unproven", "waiting")

    def __init__(self, sent_at: float, quorum: int, targets: int) -> None:
        self.sent_at = sent_at
        self.quorum = quorum
        self.waiting = targets
        self.unproven = 0
        self.rtts: list[float] = []
        self.is_ok: bool | None = None
        self.is_unknown = False

    @property
    def is_open(self) -> bool:
        return self.is_ok is None and not self.is_unknown

    def count(self, error: str | None, rtt: float | None) -> None:
        """One more probe came to its end; `rtt` (seconds) None: it never connected."""
        if not self.is_open:
            return
        if rtt is not None and error is None:
            self.rtts.append(rtt)
        elif rtt is not None:
            self.unproven += 1
        self._decide()

    def count_unresolved(self) -> None:
        """One more probe could not even be sent, for want of an address."""
        if self.is_open:
            self.unproven += 1
            self._decide()

    def _decide(self) -> None:
        self.waiting -= 1
        if len(self.rtts) >= self.quorum:
            self.is_ok = True
        elif len(self.rtts) + self.waiting + self.unproven < self.quorum:
            self.is_ok = False
        elif not self.waiting:
            self.is_unknown = True

    def on_the_wire(self, t0: float) -> list[float | int | None]:
        """`[offset_ms, ok, rtt_ms]`; the round trip is the slowest among those that came before the round was decided.
        One that failed has one too where a target answered: whoever reads it sees loss, not death."""
        rtt = round(max(self.rtts) * 1000, 3) if self.rtts else None
        return [round((self.sent_at - t0) * 1000, 3), int(bool(self.is_ok)), rtt]


class Streak(NamedTuple):
    """How many rounds in a row were good, or failed, and whether any failed before."""

    passes: int = 0
    failures: int = 0
    is_failure_seen: bool = False

    def then(self, is_ok: bool) -> Streak:
        if is_ok:
            return Streak(self.passes + 1, 0, self.is_failure_seen)
        return Streak(0, self.failures + 1, True)


class Tally:
    """What became of one target."""

    __slots__ = ("failed", "last_error", "ok", "rtts")

    def __init__(self) -> None:
        self.ok = 0
        self.failed = 0
        self.last_error: str | None = None
        self.rtts: list[float] = []

    def count(self, error: str | None, rtt: float | None) -> None:
        self.ok += error is None
        self.failed += error is not None
        self.last_error = error or self.last_error
        if rtt is not None:
            self.rtts.append(rtt)

    def on_the_wire(self) -> dict[str, Any]:
        rtts = sorted(self.rtts)
        median = round(rtts[len(rtts) // 2] * 1000, 3) if rtts else None
        return {"ok": self.ok, "failed": self.failed, "last_error": self.last_error, "rtt_ms": median}


def public_address(body: str | None) -> str | None:
    """The body, when it is nothing but an IPv4 address."""
    parts = (body or "").split(".")
    is_address = len(parts) == 4 and all(
        part.isascii() and part.isdigit() and len(part) <= 3 and int(part) <= 255 for part in parts
    )
    return ".".join(str(int(part)) for part in parts) if is_address else None
