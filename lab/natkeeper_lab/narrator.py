"""Tells what happens while it happens: the controller's decisions, the API calls that change something, probe reports.

Called by the demo. Reads the function's log and the API's request log; changes nothing.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from natkeeper_lab.api import Call
from natkeeper_lab.stack import Stack

POLL_SECONDS = 0.1
READS = ("Describe", "Query", "GetItem", "UpdateItem", "PutItem", "Publish", "Invoke")
"""Calls that are not worth a line of their own: looks, the ledger, and what has a line anyway."""


class Narrator:
    """Prints lines of (seconds since the start, who, what), in order of time as far as a poll reaches."""

    def __init__(self, stack: Stack, say: Callable[[str], None] = print) -> None:
        self._stack = stack
        self._say = say
        self._started = time.monotonic()
        self._offset = time.time() - time.monotonic()
        self._logs, self._calls = 0, len(stack.api.calls())
        self._last: dict[str, str] = {}
        self._names = {stack.groups[group].nat: f"NAT {group}" for group in stack.groups if stack.groups[group].nat}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Says the rest and stops."""
        self._ending.set()
        self._thread.join()
        self._poll()

    def tell(self, who: str, what: str) -> None:
        """A line of the demo's own, after everything that happened before it."""
        self._poll()
        with self._lock:
            self._line(time.monotonic(), who, what)

    def _run(self) -> None:
        while not self._ending.wait(POLL_SECONDS):
            self._poll()

    def _poll(self) -> None:
        with self._lock:
            logs = self._stack.hosts["controller"].logs()[self._logs :]
            calls = self._stack.api.calls()[self._calls :]
            self._logs, self._calls = self._logs + len(logs), self._calls + len(calls)
            found = [(line.at - self._offset, "controller", text) for line in logs if (text := self._log(line.text))]
            found += [(call.ended_at, "API", text) for call in calls if (text := _call(call))]
            for at, who, what in sorted(found):
                self._line(at, who, what)

    def _line(self, at: float, who: str, what: str) -> None:
        for instance_id, name in self._names.items():
            what = what.replace(instance_id, name)
        self._say(f"{at - self._started:9.3f}  {who:<10}  {what}")

    def _log(self, text: str) -> str:
        try:
            line = json.loads(text)
        except ValueError:
            return text  # a traceback: show it
        if "_aws" in line:
            return ""
        group = line.get("group")
        if line["message"] == "probe report":
            failed = f", {line['failed_rounds']} failed" if line["failed_rounds"] else ""
            seen = f"seen as {line['egress_address']}" if "egress_address" in line else "address not seen"
            return f"[{group}] {line['mode']} report: {line['verdict']}, {line['rounds']} rounds{failed}, {seen}"
        if "reason_code" in line:
            return self._decision(group, line)
        if line["level"] in ("WARNING", "ERROR"):
            extra = {key: line[key] for key in ("action", "trouble", "operation", "error_code", "why") if key in line}
            return f"[{group}] {line['message']}" + (f" {extra}" if extra else "")
        return ""

    def _decision(self, group: str, line: Mapping[str, Any]) -> str:
        """A decision is told when it acts or differs from the one before."""
        actions = [each["action"] for each in line["actions"] if each["action"] != "StartWatch"]
        text = f"[{group}] {line['reason_code']}: {line['message']}"
        if not actions and self._last.get(group) == text:
            return ""
        self._last[group] = text
        return text + (f" -> {', '.join(actions)}" if actions else "")


def _call(call: Call) -> str:
    if call.operation.startswith(READS):
        return ""
    shown = {key: value for key, value in call.params.items() if key not in ("UserData", "TagSpecifications")}
    shown = {key: value for key, value in shown.items() if not isinstance(value, (dict, list)) or len(str(value)) < 60}
    took = (call.ended_at - call.started_at) * 1000
    outcome = call.error_code or "done"
    return f"{call.operation} {json.dumps(shown, default=str)} {outcome} in {took:.0f} ms"
