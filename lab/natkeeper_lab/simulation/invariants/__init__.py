"""DESIGN.md's invariants, each a function with its number, held against every step of a simulated world.

`calls` has those about a call, `plans` those about a plan, `judge` those about incidents and invocations and the judge
that hands each step on. What can only be judged once the faults are over (3, 4, 6, 21) and what holds at rest (5, 22,
24) is in `simulation.aftermath`. The truth comes from the world, never from natkeeper's own memory, except where the
invariant is about that.
"""

from natkeeper_lab.simulation.invariants.judge import Invariants

__all__ = ["Invariants"]
