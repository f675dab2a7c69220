"""AWS's times by name: what `natkeeper lab run --aws` takes, and what the verbs about them change.

Called by the command line and by `scenario.verbs`. Pure. Durations are seconds, and are never scaled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from natkeeper_lab.scenario.reading import choices
from natkeeper_lab.scenario.vocabulary import REMAPS

NEVER = "never"
TIMES: Mapping[str, str] = {
    "remap": "until packets follow an Elastic IP, from the answer to AssociateAddress",
    "model": "meanwhile the former mapping works (late), or neither (dark)",
    "route": "until packets follow a changed route",
    "public": "from a lost Elastic IP, or the attribute set, to an auto-assigned public address; or never",
    "boot": "from RunInstances until the guest forwards",
    "start": "from StartInstances until it forwards",
    "call": "what each call to EC2 takes",
    "destination": "until the destination of a function hears of its end",
    "events": "until an event of AWS's arrives",
}
Times = Mapping[str, float | str]
"""A part of `TIMES`: seconds, but for `model`, and `public`, which may be NEVER."""
LONGEST = 86400.0
"""A day: beyond it a number is a slip of the pen."""


def parse(text: str) -> dict[str, float | str]:
    """`remap=3,model=dark,public=never`. ValueError says what is wrong and what is allowed."""
    found: dict[str, float | str] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = part.partition("=")
        if name not in TIMES:
            raise ValueError(f"{name!r} is no time of AWS's; {choices(name, TIMES)}")
        if name in found:
            raise ValueError(f"{name} is given twice")
        found[name] = _value(name, value)
    return found


def _value(name: str, text: str) -> float | str:
    if name == "model":
        if text not in REMAPS:
            raise ValueError(f"model: {text!r} is unknown; {choices(text, REMAPS)}")
        return text
    if name == "public" and text == NEVER:
        return NEVER
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number of seconds") from None
    if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST):
        raise ValueError(f"{name}: {text} is not between 0 and {LONGEST:g} seconds")
    return seconds


def of_verb(do: str, args: Mapping[str, object]) -> dict[str, float | str]:
    """The times that one of the verbs about them sets."""
    if do == "address_remap":
        return {"remap": _seconds(args), "model": str(args["model"])}
    if do == "public_address":
        return {"public": NEVER if args["never"] else _seconds(args)}
    return {"destination" if do == "destination_delay" else do: _seconds(args)}


def _seconds(args: Mapping[str, object]) -> float:
    return float(str(args["seconds"]))
