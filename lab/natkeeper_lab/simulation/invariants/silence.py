"""Whether whoever does not know says so. Asked by the judge of every plan, and told of every report and look.

What is judged is the word that alarms live by: a plan that says of a group that all is known. Of a pass that says
nothing of a group nothing is judged, for the alarm `blind-<group>` takes silence for not knowing.
"""

from __future__ import annotations

from natkeeper.core.plan import Plan, Reason
from natkeeper_lab.simulation.book import Book
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.invocation import Invocation

AT_MOST = 180 * SECOND
"""Three minutes, as the invariant says. natkeeper gives itself two (`Policy.freshness`); clocks here are off by up to
twenty seconds."""


def heard(book: Book, group: str) -> None:
    """A prober's rounds reached some pass."""
    book.heard_at[group] = book.now


def looked(book: Book, invocation: Invocation, plan: Plan) -> None:
    """What a pass that made a plan had seen. One that did not look leaves it as it was."""
    if plan.reason is Reason.CANNOT_LOOK:
        book.unseen_since.setdefault(plan.group, book.now)
    elif invocation.seen is not None:
        book.unseen_since.pop(plan.group, None)


def who_does_not_know_says_so(book: Book, _invocation: Invocation, plan: Plan) -> str | None:
    """27. Not knowing, for whatever reason, is not called knowing for longer than three minutes."""
    if plan.standing.is_unknown:
        return None
    unseen = book.now - book.unseen_since.get(plan.group, book.now)
    if unseen > AT_MOST:
        return f"zone {plan.group} is called known ({plan.reason.value}), but no look has succeeded for {_s(unseen)}"
    unheard = book.now - book.heard_at.setdefault(plan.group, book.now)
    if unheard > AT_MOST:
        return f"zone {plan.group} is called known ({plan.reason.value}), but no packet was heard of for {_s(unheard)}"
    return None


def _s(span: int) -> str:
    return f"{span / SECOND:.0f} s"
