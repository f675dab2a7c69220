"""botocore's attempts of one call: which may still leave, and what the last one's refusal says of those before it.

Called by `adapters.ec2`. botocore tries a call again by itself when it was throttled, met a fault of AWS's or was not
answered; its handlers are the only place that each attempt passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from natkeeper.adapters.aws import trouble_of
from natkeeper.errors import Stale, Trouble, TryAgain


@dataclass
class _Action:
    """What a thread is at. `goes_on`: whether it may still send. `is_unheard`: an attempt was not answered, or by a
    fault of AWS's own, so it may be applied whatever a later one hears."""

    goes_on: Callable[[], bool] = lambda: True
    is_unheard: bool = False


_ACTION: ContextVar[_Action] = ContextVar("action")


def attend(events: Any) -> None:
    """Registers the handlers with a client's `meta.events`; two clients have events of their own."""
    events.register("before-send.ec2", _hold_what_is_late)
    events.register("response-received.ec2.RunInstances", _note_what_is_unheard)


@contextmanager
def while_it(goes_on: Callable[[], bool]) -> Iterator[None]:
    """What this thread sends meanwhile, it sends only while it `goes_on`; raises Stale from there on."""
    token = _ACTION.set(_Action(goes_on))
    try:
        yield
    finally:
        _ACTION.reset(token)


@contextmanager
def certain_refusals() -> Iterator[None]:
    """Raises TryAgain in place of a refusal where an earlier attempt was not heard of: that one may still launch
    (simulation, seed 30018171: it did so half a minute later, beside the launch that followed the refusal). So it may
    where the last attempt was throttled, which alone would mean that nothing was done."""
    try:
        yield
    except Trouble as trouble:
        is_about_the_last = trouble.is_refusal or trouble.is_throttle or trouble.is_unsent
        if not is_about_the_last or not _ACTION.get().is_unheard:
            raise
        text = f"an earlier attempt was not answered, and may have launched; then {trouble.code}: {trouble.detail}"
        raise TryAgain("RunInstances", "NotAnswered", text) from trouble


def _hold_what_is_late(**_: object) -> None:
    action = _ACTION.get(None)
    if action is not None and not action.goes_on():
        raise Stale("Attempt", "TooLate", "the lease or the pass is nearly over; the next pass goes on")


def _note_what_is_unheard(
    exception: Exception | None = None, parsed_response: Mapping[str, Any] | None = None, **_: object
) -> None:
    if isinstance(exception, Trouble) and exception.is_unsent:
        return  # held by the handler above, so nothing left that could go unheard
    if exception is not None:
        _ACTION.get().is_unheard = True
    elif parsed_response is not None and "Error" in parsed_response:
        trouble = trouble_of("RunInstances", parsed_response)
        _ACTION.get().is_unheard |= isinstance(trouble, TryAgain) and not trouble.is_throttle
