"""`active@a`, `table@a[1]`, `probe_target[0]`: what a step or an expectation is about, read and checked.

Called by `scenario.file`; `scenario.scene` finds what a target means at the moment it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from natkeeper_lab.scenario.vocabulary import GROUPED, TARGET_FORMS, TARGET_KINDS

PROBE_TARGETS = 3
MOST_TABLES = 50
"""Of one zone; AWS's default quota is 200 route tables for a whole VPC."""
_FORM = re.compile(r"(?P<kind>[a-z_]+)(?:@(?P<group>[a-z0-9]+))?(?:\[(?P<index>\d+)\])?")


@dataclass(frozen=True)
class Target:
    """`text` is as written. `index` counts from 0."""

    kind: str
    group: str = ""
    index: int = 0
    text: str = ""


def parse_target(text: object, zones: Sequence[str], allowed: Sequence[str] = TARGET_KINDS) -> Target:
    """ValueError says what is wrong with it and what is allowed."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None or found["kind"] not in TARGET_KINDS:
        raise ValueError(f"unknown target {text!r}; allowed: {TARGET_FORMS}")
    kind, group, index = found["kind"], found["group"], found["index"]
    if kind not in allowed:
        raise ValueError(f"target {text!r} does not fit here; allowed: {', '.join(map(_form, allowed))}")
    if (kind in GROUPED) is (group is None):
        raise ValueError(f"target {text!r}: write {_form(kind)}")
    if group is not None and group not in zones:
        raise ValueError(f"target {text!r}: there is no zone {group!r} in this scenario; its zones: {', '.join(zones)}")
    if index is not None and kind not in ("table", "probe_target"):
        raise ValueError(f"target {text!r}: only a table or a probe_target has a number; write {_form(kind)}")
    if kind == "probe_target" and (index is None or int(index) >= PROBE_TARGETS):
        raise ValueError(f"target {text!r}: the lab has probe_target[0] to probe_target[{PROBE_TARGETS - 1}]")
    if kind == "table" and int(index or 0) >= MOST_TABLES:
        raise ValueError(
            f"target {text!r}: a zone of the lab has at most {MOST_TABLES} tables, the last is [{MOST_TABLES - 1}]"
        )
    return Target(kind, group or "", int(index or 0), str(text))


def _form(kind: str) -> str:
    return {"table": "table@a or table@a[1]", "probe_target": "probe_target[0]"}.get(
        kind, f"{kind}@a" if kind in GROUPED else kind
    )
