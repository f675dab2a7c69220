"""The function host behaves as Lambda does: warm, cold, crashed and late."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab.runtime import FunctionHost, FunctionResult
from tests.contract.scenery import Aws, eventually

HANDLER = "tests.contract.functions:handler"


@pytest.fixture
def host() -> Iterator[FunctionHost]:
    one = FunctionHost("prober", HANDLER, {"GROUP": "a"}, timeout_seconds=1.0, memory_mb=256)
    yield one
    one.stop()


def call(host: FunctionHost, **event: Any) -> Any:
    result = host.invoke(json.dumps(event).encode())
    assert result.error is None, result
    return json.loads(result.payload)


def failure(result: FunctionResult) -> Any:
    assert result.error == "Unhandled"
    return json.loads(result.payload)


def test_handler_sees_lambdas_context_and_environment(host: FunctionHost) -> None:
    seen = call(host, round=1)
    assert seen["event"] == {"round": 1}
    assert (seen["function"], seen["memory"]) == ("prober", "256")
    assert seen["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:prober"
    assert 0 < seen["remaining"] <= 1000
    assert seen["environment"].items() >= {"AWS_LAMBDA_FUNCTION_NAME": "prober", "GROUP": "a"}.items()


def test_function_does_not_inherit_this_processs_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "real")
    host = FunctionHost("prober", HANDLER, {"AWS_ACCESS_KEY_ID": "lab"})
    try:
        environment = call(host)["environment"]
        assert (environment["AWS_PROFILE"], environment["AWS_ACCESS_KEY_ID"]) == (None, "lab")
    finally:
        host.stop()


def test_warm_process_is_used_again(host: FunctionHost) -> None:
    assert call(host)["pid"] == call(host)["pid"]
    assert host.cold_starts == 1


def test_busy_function_scales_out(host: FunctionHost) -> None:
    with ThreadPoolExecutor(3) as pool:
        pids = {seen["pid"] for seen in pool.map(lambda _: call(host, sleep=0.4), range(3))}
    assert len(pids) == host.cold_starts == 3


def test_warmed_function_has_no_cold_start(host: FunctionHost) -> None:
    host.warm(2)
    call(host)
    assert host.cold_starts == 2
    host.cool()
    call(host)
    assert host.cold_starts == 3


def test_exception_is_described_as_lambda_does(host: FunctionHost) -> None:
    body = failure(host.invoke(b'{"raise": "no such target"}'))
    assert (body["errorMessage"], body["errorType"]) == ("no such target", "ValueError")
    assert any("functions.py" in line for line in body["stackTrace"])
    assert call(host)
    assert host.cold_starts == 1


def test_late_function_is_killed_and_replaced(host: FunctionHost) -> None:
    first = call(host)["pid"]
    body = failure(host.invoke(b'{"sleep": 30}'))
    assert "Task timed out after 1.00 seconds" in body["errorMessage"]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert call(host)["pid"] != first


def test_function_that_exits_is_an_error_and_replaced(host: FunctionHost) -> None:
    body = failure(host.invoke(b'{"exit": 3}'))
    assert (body["errorType"], "exit status 3" in body["errorMessage"]) == ("Runtime.ExitError", True)
    assert call(host)


def test_result_that_is_not_json_is_an_error(host: FunctionHost) -> None:
    assert failure(host.invoke(b'{"unmarshallable": 1}'))["errorType"] == "Runtime.MarshalError"


def test_what_the_handler_prints_is_kept_with_its_time(host: FunctionHost) -> None:
    before = time.time()
    pid = call(host)["pid"]
    line = eventually(lambda: [one for one in host.logs() if "handling" in one.text])[0]
    assert line.pid == pid
    assert before <= line.at <= time.time()


def test_handler_that_cannot_be_imported_is_an_error() -> None:
    host = FunctionHost("broken", "tests.contract.nothing_here:handler")
    assert failure(host.invoke(b"{}"))["errorType"] == "ModuleNotFoundError"
    host.stop()


def test_powertools_accepts_the_context() -> None:
    host = FunctionHost("controller", "tests.contract.functions:powertools", {"POWERTOOLS_LOG_LEVEL": "INFO"})
    try:
        assert host.invoke(b"{}") == FunctionResult(b'"ok"')
        line = eventually(lambda: [one.text for one in host.logs() if "probed" in one.text])[0]
        assert json.loads(line)["function_name"] == "controller"
    finally:
        host.stop()


def test_lab_chooses_how_the_process_is_started() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def spawn(argv: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(argv, env={**env, "GROUP": "b"}, stdin=pipe, stdout=pipe, stderr=pipe))
        return started[-1]

    host = FunctionHost("prober", HANDLER, spawn=spawn)
    assert call(host)["environment"]["GROUP"] == "b"
    host.stop()
    assert started[0].poll() is not None


def test_stopped_host_leaves_no_process() -> None:
    host = FunctionHost("prober", HANDLER)
    host.warm(2)
    pids = [call(host)["pid"]]
    host.stop()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(RuntimeError, match="stopped"):
        host.invoke(b"{}")


def test_hosted_function_answers_on_the_wire(ours: Aws, host: FunctionHost) -> None:
    ours.api.register_function("prober", host.invoke)
    answer = ours.client("lambda").invoke(FunctionName="prober", Payload=b'{"round": 1}')
    assert json.loads(answer["Payload"].read())["event"] == {"round": 1}
