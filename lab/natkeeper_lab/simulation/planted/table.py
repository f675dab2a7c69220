"""The planted bugs' table, and how one is put into natkeeper for a while.

Filled by the modules beside this one. A mutant replaces a few functions of natkeeper in memory; no file is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from natkeeper.core import rules


@dataclass(frozen=True)
class Patch:
    """`owner.name` becomes `replacement`."""

    owner: Any
    name: str
    replacement: Any


def with_rule(name: str, **changes: Any) -> Patch:
    """One rule of natkeeper's table becomes another."""
    found = tuple(replace(rule, **changes) if rule.name == name else rule for rule in rules.RULES)
    assert found != rules.RULES, name
    return Patch(rules, "RULES", found)


Make = Callable[[], Sequence[Patch]]


@dataclass(frozen=True)
class Mutant:
    """One bug. `mistake`: what the code does now. `anchor`: its number among the mistakes of others
    (`search.MISTAKES`), None for one of ours.

    `breaks`: the invariants that are about it; the campaign must catch it by one of these. `among`: faults of which a
    schedule needs one for the bug to show. `home`: only schedules that are followed until all is home can show it.
    `bounds`: only stacks with bounds so small that they are used up. `lasts`: seconds that such a fault must last.
    """

    name: str
    mistake: str
    make: Make
    anchor: int | None
    breaks: tuple[int, ...]
    among: tuple[str, ...]
    home: bool
    bounds: bool
    lasts: int


MUTANTS: dict[str, Mutant] = {}


def mutant(
    name: str,
    mistake: str,
    *,
    breaks: tuple[int, ...],
    among: tuple[str, ...] = (),
    anchor: int | None = None,
    home: bool = False,
    bounds: bool = False,
    lasts: int = 0,
) -> Callable[[Make], Make]:
    """Adds a row."""

    def add(make: Make) -> Make:
        assert name not in MUTANTS, name
        MUTANTS[name] = Mutant(name, mistake, make, anchor, breaks, among, home, bounds, lasts)
        return make

    return add


def original(owner: Any, name: str) -> Any:
    """What `owner.name` is now, also where the module only imported it."""
    return owner.__dict__[name]


@contextmanager
def planted(each: Mutant) -> Iterator[None]:
    """While this lasts, natkeeper has the bug."""
    patches = each.make()
    before = [(one.owner, one.name, original(one.owner, one.name)) for one in patches]
    try:
        for one in patches:
            setattr(one.owner, one.name, one.replacement)
        yield
    finally:
        for owner, name, was in before:
            setattr(owner, name, was)
