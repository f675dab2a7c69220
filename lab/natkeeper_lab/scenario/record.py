"""A run as JSON: the contract with whoever draws the report. Times are seconds since the first step's clock zero.

Called by `scenario.run`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from natkeeper_lab.scenario import ledger_looks
from natkeeper_lab.scenario.expect import Verdict
from natkeeper_lab.scenario.journal import READS
from natkeeper_lab.scenario.scene import Scene

HIDDEN = ("UserData", "TagSpecifications", "Payload")
LONGEST = 200


def of(scene: Scene, verdicts: Sequence[Verdict], started_at: datetime, seconds: float, void: str) -> dict[str, Any]:
    """The whole record."""
    has_begun = scene.zero > 0
    return {
        "version": 1,
        "name": scene.scenario.name,
        "why": scene.scenario.why,
        "passed": not void and all(each.passed for each in verdicts),
        "void": void,
        "started_at": started_at.isoformat(),
        "seconds": round(seconds, 1),
        "zones": list(scene.scenario.zones),
        "lanes": _lanes(scene)
        if has_begun
        else {lane: [] for lane in ("packets", "events", "api", "decisions", "routes")},
        "steps": [
            {"at": each.at, "do": each.do, "target": each.target.text if each.target else None, "text": each.text}
            for each in scene.scenario.timeline
        ],
        "expectations": [
            {"text": each.text, "passed": each.passed, "expected": each.expected, "seen": each.seen, "at": each.at}
            for each in verdicts
        ],
        "incidents": [each for group in scene.scenario.zones for each in _incidents(scene, group)] if has_begun else [],
        "flows": [
            {
                "group": each.flow.group,
                "speaks": each.flow.speaks,
                "opened": each.opened,
                "survived": each.survived,
                "longest_gap_ms": each.longest_gap_ms,
            }
            for each in scene.fates
        ],
        "topology": {"before": scene.topology_before, "after": scene.topology() if has_begun else {}},
        "outages": _outages(scene) if has_begun else [],
        "troubles": scene.troubles(),
    }


def _lanes(scene: Scene) -> dict[str, list[dict[str, Any]]]:
    journal = scene.journal
    return {
        "packets": _packets(scene),
        "events": [_event(scene, each.at, each.event, each.fate) for each in journal.events if each.at >= scene.zero],
        "api": [
            {
                "at": scene.seconds(each.started_at),
                "ms": round((each.ended_at - each.started_at) * 1000, 1),
                "operation": each.operation,
                "text": _params(each.params),
                "error": each.error_code or ("reply lost" if each.status == 0 else None),
                "is_write": not each.operation.startswith(READS),
            }
            for each in journal.calls
            if each.started_at >= scene.zero and not each.is_by_hand
        ],
        "decisions": [
            {
                "at": scene.seconds(each.at),
                "group": each.fields["group"],
                "reason_code": each.fields["reason_code"],
                "text": each.fields["message"],
                "carried_by": each.fields.get("carried_by"),
            }
            for each in journal.decisions(scene.zero)
        ],
        "routes": [
            {
                "at": scene.seconds(each.at),
                "table": each.table,
                "group": each.group,
                "target": each.target,
                "target_name": journal.carried_by(each.target),
            }
            for each in journal.routes
            if each.at >= scene.zero
        ],
    }


def _packets(scene: Scene) -> list[dict[str, Any]]:
    found = []
    for group, ruler in scene.rulers.items():
        for each in ruler.outages(scene.zero):
            seconds = each.downtime_seen_ns / 1e9
            first = {"at": scene.seconds(each.first_failed_ns / 1e9), "group": group, "kind": "first_failed"}
            found.append({**first, "text": f"zone {group}: new connections begin to fail"})
            if each.first_ok_after_ns is not None:
                back = {"at": scene.seconds(each.first_ok_after_ns / 1e9), "group": group, "kind": "first_ok"}
                found.append({**back, "text": f"zone {group}: they work again, after {seconds:.2f} s"})
    return sorted(found, key=lambda each: each["at"])


def _event(scene: Scene, at: float, event: Mapping[str, Any], fate: str) -> dict[str, Any]:
    detail = event.get("detail", {})
    note = "" if fate == "delivered" else f" ({fate})"
    instance, state = detail.get("instance-id"), detail.get("state")
    text = f"{event.get('detail-type')}: {instance or ''} {state or ''}".rstrip(": ") + note
    return {"at": scene.seconds(at), "text": text, "instance": instance, "state": state}


def _params(params: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{key} {value}" for key, value in params.items() if key not in HIDDEN)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def _incidents(scene: Scene, group: str) -> list[dict[str, Any]]:
    messages = [str(each["Message"]) for each in scene.stack.api.published()]
    return [
        {
            "group": group,
            "cause": each.fields["cause"],
            "opened_at": scene.seconds(each.opened_at),
            "recovered_at": scene.seconds(each.recovered_at) if each.recovered_at is not None else None,
            "closed_at": scene.seconds(each.closed_at) if each.closed_at is not None else None,
            "low": each.low,
            "high": each.high,
            "seen": round(each.seen, 3),
            "message": next((text for text in messages if str(each.fields.get("sk")) in text), None),
        }
        for each in ledger_looks.measured(scene, group, with_passing=True)
    ]


def _outages(scene: Scene) -> list[dict[str, Any]]:
    return [
        {
            "group": group,
            "from": scene.seconds(each.first_failed_ns / 1e9),
            "to": scene.seconds(each.first_ok_after_ns / 1e9) if each.first_ok_after_ns is not None else None,
        }
        for group, ruler in scene.rulers.items()
        for each in ruler.outages(scene.zero)
    ]
