"""What goes wrong with natkeeper's calls in a scenario on virtual time: the lab's faults, as rules of the world's API.

Made by `simulation.scenario.hands`. People change the account directly, so no fault ever concerns them.
"""

from __future__ import annotations

from natkeeper_lab.faults import Fault, Faults, fits
from natkeeper_lab.scenario.hands import CannotDo
from natkeeper_lab.simulation.api import Api, Call, Rule
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND


class CallFaults(Faults):
    """Beside them: answers that are old."""

    def __init__(self, api: Api) -> None:
        super().__init__(lambda: api.hub.now / SECOND)
        self._api = api
        self._lags: dict[str, float] = {}
        api.judge = self._rule

    def lag(self, operation: str, seconds: float) -> None:
        """Answers of this call (or pattern) are so old from now on."""
        _must_be_a_call(operation)
        self._lags[operation] = seconds

    def pace(self, seconds: float, operation: str = "*") -> None:
        """As in the lab."""
        _must_be_a_call(operation)
        super().pace(seconds, operation)

    def _add(self, fault: Fault) -> None:
        _must_be_a_call(fault.operation)
        if fault.is_reply_lost and fault.operation.rpartition(":")[2] == "Invoke":
            raise CannotDo("a lost reply of Lambda's is not simulated")
        super()._add(fault)

    def _rule(self, call: Call) -> Rule:
        verdict = self.judge(call.service, call.operation, call.params)
        refusal = verdict.refusal
        usual = min(verdict.pace, self._api.latency[0] / SECOND)
        lags = [seconds for pattern, seconds in self._lags.items() if fits(pattern, call.service, call.operation)]
        return Rule(
            "scenario",
            lambda _call: True,
            refuses=ApiError(refusal.code, refusal.message, refusal.status) if refusal is not None else None,
            loses=verdict.is_reply_lost,
            delay=round((verdict.delay - usual) * SECOND),
            lag=round(max(lags, default=0.0) * SECOND),
        )


def _must_be_a_call(operation: str) -> None:
    """A file that means only what the simulation does not call cannot be played."""
    if operation.startswith("sns:") or operation == "Publish":
        raise CannotDo("messages to the topic are not calls in the simulation")
