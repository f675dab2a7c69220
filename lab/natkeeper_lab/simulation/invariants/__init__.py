"""The invariants of docs/invariants.md, each a function with its number, held against every step of a simulated world.

`calls` has those about a call, `plans` those about a plan, `moves` those about one move after another, `judge` those
about incidents and invocations and the judge that hands each step on. What can only be judged once the faults are over
(6, 21, and through them 3 and 4) and what holds at rest (5, 15, 19, 22) is in `simulation.aftermath`. The truth
comes from the world, never from natkeeper's own memory, except where the invariant is about that.
"""

from natkeeper_lab.simulation.invariants.judge import Invariants

__all__ = ["Invariants"]
