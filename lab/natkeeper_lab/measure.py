"""Turns a prober's rows into outages: what the lab's ruler says, to hold natkeeper's own measurement against.

Called by the demo and by tests. Pure: no clock, no files, no kernel. May not import anything of natkeeper, because a
ruler that shares code with what it measures proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """One new connection, in nanoseconds of CLOCK_MONOTONIC. `answered_ns` is None when it failed; `error` says how."""

    sent_ns: int
    answered_ns: int | None
    error: str = ""


@dataclass(frozen=True)
class Outage:
    """A run of failed probes, by send time. The `ok` bounds are None where the measurement began or ended inside it."""

    first_failed_ns: int
    last_failed_ns: int
    last_ok_before_ns: int | None
    first_ok_after_ns: int | None
    probes: int

    @property
    def shortest_ns(self) -> int:
        return self.last_failed_ns - self.first_failed_ns

    @property
    def longest_ns(self) -> int | None:
        if self.last_ok_before_ns is None or self.first_ok_after_ns is None:
            return None
        return self.first_ok_after_ns - self.last_ok_before_ns

    @property
    def downtime_seen_ns(self) -> int:
        """Halfway between what certainly failed and what may have: off by at most one probe interval."""
        longest = self.longest_ns
        return self.shortest_ns if longest is None else (self.shortest_ns + longest) // 2


def probes(rows: Sequence[Sequence[int | str]]) -> list[Probe]:
    """From the `rows` that `probe` writes."""
    return [Probe(int(sent), int(answered) or None, str(error)) for sent, answered, error in rows]


def outages(measured: Sequence[Probe]) -> list[Outage]:
    found: list[Outage] = []
    failed: list[Probe] = []
    last_ok: int | None = None
    for probe in sorted(measured, key=lambda probe: probe.sent_ns):
        if probe.answered_ns is None:
            failed.append(probe)
            continue
        if failed:
            found.append(_outage(failed, last_ok, probe.sent_ns))
            failed = []
        last_ok = probe.sent_ns
    if failed:
        found.append(_outage(failed, last_ok, None))
    return found


def _outage(failed: Sequence[Probe], last_ok: int | None, next_ok: int | None) -> Outage:
    return Outage(failed[0].sent_ns, failed[-1].sent_ns, last_ok, next_ok, len(failed))
