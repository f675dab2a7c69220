"""natkeeper as the benchmark's keeper: as deployed, switched on, at rest between two events.

Called by the benchmark's sections and tests. Runs inside `sandbox` only.
"""

from __future__ import annotations

import json
import time
from typing import Any

from natkeeper_lab.bench.rig import Rig
from natkeeper_lab.stack import Choices

SETTLING = 90.0
OBEYED = "operator-move"
"""The reason code."""


class Natkeeper(Rig):
    """Asleep until `switch_on`: moves by hand come first."""

    def __init__(self, zones: int = 2, choices: Choices | None = None, **given: int) -> None:
        self._read = 0
        self._last: dict[str, dict[str, Any]] = {}
        super().__init__(zones, choices=choices, **given)

    def switch_on(self) -> None:
        """From here on natkeeper acts; answers when it is at rest."""
        self.stack.switch_on()
        self.stack.wake({"natkeeper": {"tick": True}})  # the schedule's own may be a whole minute away
        self.wait_until_settled()

    def move(self, group: str, to: str) -> float:
        """As an operator asks for it, again and again while natkeeper has not proven the NAT that is to take over."""
        began = time.monotonic()
        while (at := time.monotonic()) < began + SETTLING:
            answer = self.stack.wake({"natkeeper": {"command": "switchover", "group": group, "to": to}})
            if OBEYED in answer["groups"].get(group, ()):
                return at
            time.sleep(0.5)  # another pass had the group, and has found the wish beside its lease by now
            if self.moves(group, began):
                return began
        raise TimeoutError(f"switchover of zone {group} to {to} was refused for {SETTLING:g} s")

    def recover(self) -> None:
        """Every zone at home with its address, and at rest."""
        for group in self.stack.groups:
            self.until(f"zone {group} at home", lambda group=group: self.address_is_home(group), SETTLING)  # type: ignore[misc]
        self.wait_until_settled()

    def wait_until_settled(self) -> None:
        """Every group's newest decision, from now on, is to rest with a verified neighbour behind it."""
        self._follow()
        self._last.clear()
        self.until("every group at rest with a verified neighbour", self._is_settled, SETTLING)

    def _is_settled(self) -> bool:
        self._follow()
        rested = [each["reason_code"] == "at-rest" and each["is_backed"] for each in self._last.values()]
        return len(rested) == len(self.stack.groups) and all(rested)

    def account(self, since: float) -> list[str]:
        """What natkeeper decided and was told since then (`time.monotonic()`), for a run that went wrong."""
        offset = time.time() - time.monotonic()
        lines = []
        for line in self.stack.hosts["controller"].logs():
            at = line.at - offset - since
            if at < 0 or '"_aws"' in line.text:
                continue
            fields = json.loads(line.text) if line.text.startswith("{") else {"message": line.text}
            said = [str(fields.get(name, "")) for name in ("group", "reason_code", "verdict", "trigger", "message")]
            extra = [f"{name}={fields[name]}" for name in ("probe_errors", "trouble", "error_code") if fields.get(name)]
            lines.append(f"{at:8.2f}  {' '.join(each for each in (*said, *extra) if each)}")
        return lines

    def _follow(self) -> None:
        """Each line once: reading the whole log again and again would slow down the machine that is measured."""
        lines = self.stack.hosts["controller"].logs()[self._read :]
        self._read += len(lines)
        for line in lines:
            if '"reason_code"' in line.text:
                fields = json.loads(line.text)
                self._last[fields["group"]] = fields
