"""Fixtures of the contract tests.

A test of a mend takes `aws` and runs twice: against our API, where it must pass, and against moto as it is, where it
must fail. When moto mends the gap itself the second run passes, and the strict xfail tells us to drop our mend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from natkeeper_lab.api import Api, ApiOptions
from tests.contract.scenery import Aws
from tests.support.cloud import wait_for_answers
from tests.support.recording_packets import RecordingPackets

FAST = ApiOptions(boot_seconds=0.1, stop_seconds=0.1, async_retry_seconds=0.02)
Start = Callable[..., Aws]

_DIFFERS = (AssertionError, pytest.fail.Exception, ClientError, KeyError, IndexError, TypeError, ValueError)
GAP = pytest.mark.xfail(strict=True, raises=_DIFFERS, reason="moto's gap: drop the mend if gone")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here but those of time-outs waits in vain."""
    wait_for_answers(monkeypatch, 60)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the Api with options of the test's own; it is stopped, and its failures raised, at the end."""
    started: list[Api] = []

    def begin(**options: object) -> Aws:
        packets = RecordingPackets()
        api = Api(packets, replace(FAST, **options))  # type: ignore[arg-type]
        started.append(api)
        return Aws(api, packets, api.start())

    yield begin
    for api in started:
        if not api.options.is_mended:
            api.clear_failures()
        api.stop()


@pytest.fixture(params=["ours", pytest.param("plain moto", marks=GAP)])
def aws(request: pytest.FixtureRequest, start: Start) -> Aws:
    """Ours and moto's: for tests of mends."""
    return start(is_mended=request.param == "ours")


@pytest.fixture
def ours(start: Start) -> Aws:
    """Ours only: for what moto does not claim to do."""
    return start()
