"""What goes wrong with natkeeper's calls in a scenario, as in `api.faults`: faults combine, and some last a while.

Made by `simulation.scenario.hands`; the world's API asks it about each call. People change the account directly, so no
fault ever concerns them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from natkeeper_lab.scenario.hands import CannotDo, Where
from natkeeper_lab.simulation.api import Api, Call, Rule
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND

_STATUS = {
    **dict.fromkeys(("RequestLimitExceeded", "Unavailable", "ServiceUnavailable"), 503),
    **dict.fromkeys(("InternalError", "InternalServerError", "InternalFailure", "ServiceException"), 500),
    **dict.fromkeys(("InsufficientInstanceCapacity", "InsufficientHostCapacity"), 500),
    **dict.fromkeys(("UnauthorizedOperation", "AccessDeniedException"), 403),
    "AuthFailure": 401,
    "TooManyRequestsException": 429,
    "ResourceNotFoundException": 404,
}
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html; any other is a client's, 400."""


@dataclass
class Trouble:
    """One fault. `until` is the hub's instant."""

    operation: str
    times: int | None
    rule: Rule
    where: Where | None = None
    until: int | None = None

    def concerns(self, call: Call, now: int) -> bool:
        """It is this call's."""
        is_over = self.times == 0 or (self.until is not None and now >= self.until)
        return not is_over and _fits(self.operation, call) and (self.where is None or self.where(call.params))


def _fits(operation: str, call: Call) -> bool:
    return fnmatchcase(f"{call.service}:{call.operation}" if ":" in operation else call.operation, operation)


def _harmless(_call: Call) -> bool:
    return True


class Faults:
    """`scenario.hands.Faults`, and old answers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._troubles: list[Trouble] = []
        self._paces: dict[str, int] = {}
        api.judge = self._judge

    def fail(
        self,
        operation: str,
        code: str,
        *,
        times: int | None,
        where: Where | None = None,
        seconds: float | None = None,
    ) -> None:
        error = ApiError(code, f"Injected by the scenario: {code}", _STATUS.get(code, 400))
        until = None if seconds is None else self._api.hub.now + int(seconds * SECOND)
        self._add(Trouble(operation, times, _rule(refuses=error), where, until))

    def delay(self, seconds: float, operation: str, *, times: int | None) -> None:
        self._add(Trouble(operation, times, _rule(delay=int(seconds * SECOND))))

    def lose_reply(self, operation: str, *, times: int | None) -> None:
        if operation.rpartition(":")[2] == "Invoke":
            raise CannotDo("a lost reply of Lambda's is not simulated")
        self._add(Trouble(operation, times, _rule(loses=True)))

    def lag(self, seconds: float, operation: str) -> None:
        """Their answers are so old."""
        self._add(Trouble(operation, None, _rule(lag=int(seconds * SECOND))))

    def pace(self, seconds: float, operation: str) -> None:
        _must_be_a_call(operation)
        self._paces.pop(operation, None)
        self._paces[operation] = int(seconds * SECOND)

    def _add(self, trouble: Trouble) -> None:
        _must_be_a_call(trouble.operation)
        self._troubles.append(trouble)

    def _judge(self, call: Call) -> Rule | None:
        """The call's own time, every delay and lag, and the first refusal or lost reply; each one used counts down."""
        own = [pace for operation, pace in self._paces.items() if _fits(operation, call)]
        found = _rule(delay=max(0, own[-1] - self._api.latency[0]) if own else 0)
        has_failed, is_any = False, bool(own)
        for trouble in self._troubles:
            fails = trouble.rule.refuses is not None or trouble.rule.loses
            if (fails and has_failed) or not trouble.concerns(call, self._api.hub.now):
                continue
            if trouble.times is not None:
                trouble.times -= 1
            delay, lag = found.delay + trouble.rule.delay, max(found.lag, trouble.rule.lag)
            found = replace(trouble.rule if fails else found, delay=delay, lag=lag)
            has_failed, is_any = has_failed or fails, True
        return found if is_any else None


def _rule(**way: Any) -> Rule:
    return Rule("scenario", _harmless, **way)


def _must_be_a_call(operation: str) -> None:
    """A file that means only what the simulation does not call cannot be played."""
    if operation.startswith("sns:") or operation == "Publish":
        raise CannotDo("messages to the topic are not calls in the simulation")
