"""Starting and asking the probers, and the control probe from outside the VPC. Implements `ports.Prober`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from natkeeper.adapters.aws import typed_errors
from natkeeper.core.model import ControlProbe
from natkeeper.core.news import ProbeReport, RunMode
from natkeeper.core.plan import StartWatch
from natkeeper.errors import TryAgain
from natkeeper.probing import control_probe
from natkeeper.triggers import Malformed, parse_report, plain

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

VERIFY_SECONDS = 3.0
"""How long a verification tries: two rounds are enough when egress is back, and a remap takes about a second."""
VERIFY_INTERVAL = 0.2
CANARY_PORT = 443


@dataclass(frozen=True)
class ProbeSettings:
    """What every run is asked for. Seconds. `functions`: group to the name of its prober."""

    functions: Mapping[str, str]
    targets: Sequence[str]
    interval: float
    timeout: float
    rounds_to_fail: int
    canary: str | None


class LambdaProber:
    """`ports.Prober` on a boto3 client whose read time-out is longer than a verification."""

    def __init__(self, client: LambdaClient, settings: ProbeSettings) -> None:
        self._client = client
        self._settings = settings

    def start(self, watch: StartWatch) -> None:
        """An asynchronous invocation; the report comes back as the function's destination."""
        payload = self._request(watch.group, watch.run_id, "watch", self._settings.interval)
        payload["run"] = watch.lasts.total_seconds()
        with typed_errors("Invoke"):
            self._client.invoke(
                FunctionName=self._settings.functions[watch.group],
                InvocationType="Event",
                Payload=json.dumps(payload).encode(),
            )

    def verify(self, group: str) -> ProbeReport:
        """A synchronous invocation: a few rounds in quick succession, over as soon as two in a row succeed."""
        payload = self._request(group, f"verify-{group}-{uuid.uuid4().hex[:12]}", "verify", VERIFY_INTERVAL)
        payload["run"] = VERIFY_SECONDS
        with typed_errors("Invoke"):
            answer = self._client.invoke(
                FunctionName=self._settings.functions[group],
                InvocationType="RequestResponse",
                Payload=json.dumps(payload).encode(),
            )
            raw = answer["Payload"].read()
        if "FunctionError" in answer:
            raise TryAgain("Invoke", str(answer["FunctionError"]), raw.decode(errors="replace")[:300])
        try:
            report = parse_report(_object(json.loads(raw)))
            if (report.group, report.run_id, report.mode) != (group, payload["run_id"], RunMode.VERIFY):
                raise Malformed("report: it answers another request than this verification; drop it")
        except (ValueError, RecursionError) as error:
            raise TryAgain("Invoke", "MalformedReport", plain(str(error))) from error
        return report

    def control(self) -> ControlProbe:
        """The same targets from here, where no NAT is in between.

        Names that cannot be resolved here either are no NAT's fault: while that counted as no answer, traffic left a
        healthy NAT as soon as they were back (simulation, seed 300110218).
        """
        found = control_probe(self._settings.targets, self._settings.timeout)
        if found.is_ok is None:
            return ControlProbe(False, "no target's name can be resolved from outside either")
        failed = [f"{target} {error}" for target, error in found.errors.items() if error is not None]
        return ControlProbe(found.is_ok, "; ".join(failed))

    def _request(self, group: str, run_id: str, mode: str, interval: float) -> dict[str, Any]:
        settings = self._settings
        return {
            "group": group,
            "run_id": run_id,
            "mode": mode,
            "targets": list(settings.targets),
            "canary": f"{settings.canary}:{CANARY_PORT}" if settings.canary and mode == "watch" else None,
            "interval": interval,
            "timeout": settings.timeout,
            "rounds_to_fail": settings.rounds_to_fail,
            "quorum": len(settings.targets) // 2 + 1,
        }


def _object(answer: Any) -> Mapping[str, object]:
    if not isinstance(answer, Mapping):
        raise Malformed(f"report: expected an object, got {answer!r:.80}; deploy prober and controller together")
    return answer
