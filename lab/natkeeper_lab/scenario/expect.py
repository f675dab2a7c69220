"""When an expectation is judged, and with how much patience; what it looks at is in `scenario.looks`.

Called by `scenario.run`. An expectation's clock starts when the one before it is decided, the first one's when its
step has been made (the last step, or `after: N`). `within` counts from that step, `eventually` from its own clock.
Without either, what must come about (restored, a route that is away) is awaited for PATIENCE, what must simply be so
(home, the same address) is judged OBSERVED seconds after the step, and what became of the whole run (flows, incidents,
downtime, writes …) at its end.
"""

from __future__ import annotations

from dataclasses import dataclass

from natkeeper_lab.scenario import looks
from natkeeper_lab.scenario.file import Expectation
from natkeeper_lab.scenario.looks import Look
from natkeeper_lab.scenario.sight import Sight

PATIENCE = 20.0
"""For something that must come about and has no deadline: detection by packets, moves, room for a slow machine."""
OBSERVED = 7.0
"""How long after a step something must still be so: longer than natkeeper needs to find a black hole and act on it."""
POLL = 0.05


@dataclass(frozen=True)
class Verdict:
    """One expectation's outcome. `at`: seconds since the clock's zero when it was decided."""

    expectation: Expectation | None
    text: str
    passed: bool
    expected: str
    seen: str
    at: float


def is_at_the_end(expectation: Expectation) -> bool:
    """Judged when the run is over: it looks at all of it."""
    if expectation.kind in ("flows", "invariants") or looks.is_throughout(expectation):
        return expectation.kind == "flows" or expectation.kind == "invariants" or not _has_deadline(expectation)
    return not expectation.is_moment and not _has_deadline(expectation)


def _has_deadline(expectation: Expectation) -> bool:
    return expectation.within is not None or expectation.eventually is not None


def await_one(scene: Sight, expectation: Expectation, step_at: float) -> Verdict:
    """Judges one expectation in its turn; waits as long as it may."""
    began = scene.now()
    deadline = _deadline(expectation, step_at, began)
    must_last = looks.is_throughout(expectation) or (looks.is_steady(expectation) and not _has_deadline(expectation))
    while True:
        now = scene.now()
        if not must_last or now >= deadline or looks.is_throughout(expectation):
            look = looks.look(scene, expectation, step_at, min(now, deadline))
            if must_last and not look.holds and looks.is_throughout(expectation):
                return verdict(scene, expectation, look, deadline)
            is_over = now >= deadline + looks.lag(expectation)
            if (look.holds and not must_last) or is_over:
                return verdict(scene, expectation, look, deadline)
        scene.sleep(POLL)


def judge_at_the_end(scene: Sight, expectation: Expectation, step_at: float) -> Verdict:
    """Judges one expectation that is about the whole run."""
    look = looks.look(scene, expectation, step_at, scene.now())
    return verdict(scene, expectation, look, None)


def verdict(scene: Sight, expectation: Expectation, look: Look, deadline: float | None) -> Verdict:
    """The outcome as people and the report want it."""
    by = f" by {scene.seconds(deadline):.1f} s" if deadline is not None and _has_deadline(expectation) else ""
    at = scene.seconds(scene.now() if look.at is None else look.at)
    return Verdict(expectation, expectation.text, look.holds, look.expected + by, look.seen, at)


def _deadline(expectation: Expectation, step_at: float, began: float) -> float:
    if expectation.within is not None:
        return step_at + expectation.within
    if expectation.eventually is not None:
        return began + expectation.eventually
    return max(began, step_at + (OBSERVED if looks.is_steady(expectation) else PATIENCE))
