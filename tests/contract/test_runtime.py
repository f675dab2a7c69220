"""The function host behaves as Lambda does: cold, warm, frozen, late, crashed and out of memory.

The pages followed are those of https://docs.aws.amazon.com/lambda/latest/dg/: lambda-runtime-environment.html (phases,
freezing, failures), configuration-timeout.html, configuration-memory.html, configuration-envvars.html,
python-context.html, python-exceptions.html, runtimes-api.html.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from natkeeper_lab.runtime import CURRENT, FunctionHost, FunctionResult, Here, Invocation
from natkeeper_lab.runtime import host as hosts
from natkeeper_lab.runtime.artefact import assemble
from natkeeper_lab.runtime.runtime_api import RuntimeApi, Work
from tests.contract.scenery import Aws, eventually

CODE = assemble(Path(__file__).with_name("function_code"))
HANDLER = "functions.handler"


@pytest.fixture
def host() -> Iterator[FunctionHost]:
    one = FunctionHost("prober", HANDLER, {"GROUP": "a"}, code=CODE, timeout_seconds=30, memory_mb=256)
    yield one
    one.stop()


@pytest.fixture
def make() -> Iterator[Any]:
    """A host with options of the test's own."""
    made: list[FunctionHost] = []

    def begin(handler: str = HANDLER, env: Mapping[str, str] | None = None, **options: Any) -> FunctionHost:
        made.append(FunctionHost("prober", handler, env, **{"code": CODE, **options}))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def call(host: FunctionHost, **event: Any) -> Any:
    result = host.invoke(json.dumps(event).encode())
    assert result.error is None, result
    return json.loads(result.payload)


def failure(result: FunctionResult) -> Any:
    assert result.error == "Unhandled"
    return json.loads(result.payload)


def state_of(pid: int) -> str:
    """The kernel's letter: S sleeps, R runs, T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


# -- what a handler sees


def test_handler_sees_lambdas_context(host: FunctionHost) -> None:
    seen = call(host, round=1)
    assert seen["event"] == {"round": 1}
    assert (seen["function"], seen["memory"]) == ("prober", "256")
    assert seen["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:prober"
    assert 0 < seen["remaining"] <= 30_000


def test_handler_sees_the_documented_environment(host: FunctionHost) -> None:
    environment = call(host)["environment"]
    expected = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_NAME": "prober",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/prober",
        "AWS_REGION": "us-east-1",
        "GROUP": "a",
        "LAMBDA_TASK_ROOT": str(CODE),
        "TZ": ":UTC",
        "_HANDLER": HANDLER,
    }
    assert environment.items() >= expected.items()
    assert {"AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY_ID"} <= environment.keys()


def test_function_inherits_nothing_of_this_process(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    monkeypatch.setenv("AWS_PROFILE", "real")
    monkeypatch.setenv("SOMETHING", "of this machine's")
    environment = call(make(env={"AWS_ACCESS_KEY_ID": "own"}))["environment"]
    assert environment["AWS_ACCESS_KEY_ID"] == "own"
    assert not {"AWS_PROFILE", "SOMETHING", "NATKEEPER_SANDBOX"} & environment.keys()


def test_function_cannot_change_what_lambda_reserves(make: Any) -> None:
    assert call(make(env={"AWS_LAMBDA_FUNCTION_NAME": "other"}))["environment"]["AWS_LAMBDA_FUNCTION_NAME"] == "prober"


def test_function_finds_its_artefact_and_lambdas_runtime_and_nothing_of_the_lab(make: Any) -> None:
    wanted = ("functions", "aws_lambda_powertools", "boto3", "awslambdaric")
    absent = ("lab", "cli", "tests", "natkeeper", "moto", "pyroute2", "pytest", "pip")
    found = call(make("functions.importer"), modules=[*wanted, *absent])
    assert found == {**dict.fromkeys(wanted, True), **dict.fromkeys(absent, False)}


def test_invocation_carries_lambdas_request_id_and_trace(host: FunctionHost) -> None:
    token = CURRENT.set(Invocation("2c1f9b0e-0000-4000-8000-000000000001", "Root=1-2-3;Lineage=43e12f0f:5"))
    try:
        seen = call(host)
    finally:
        CURRENT.reset(token)
    assert seen["request_id"] == "2c1f9b0e-0000-4000-8000-000000000001"
    assert seen["trace"] == "Root=1-2-3;Lineage=43e12f0f:5"


# -- warm and cold


def test_warm_process_is_used_again(host: FunctionHost) -> None:
    assert call(host)["pid"] == call(host)["pid"]
    assert host.cold_starts == 1
    assert [report.init_ms is None for report in host.reports()] == [False, True]


def test_warm_invocation_costs_a_few_milliseconds_at_most(host: FunctionHost) -> None:
    call(host)
    spent = []
    for _ in range(50):
        began = time.perf_counter()
        host.invoke(b"{}")
        spent.append((time.perf_counter() - began) * 1000)
    print(f"warm invocation: median {statistics.median(spent):.2f} ms, fastest {min(spent):.2f} ms")
    assert min(spent) < 5  # 0.7 when the machine is idle; 40 more where TCP waits for more to send


def test_busy_function_scales_out(make: Any) -> None:
    host = make()
    with ThreadPoolExecutor(3) as pool:
        pids = {seen["pid"] for seen in pool.map(lambda _: call(host, sleep=1), range(3))}
    assert len(pids) == host.cold_starts == 3


def test_warmed_function_has_no_cold_start(host: FunctionHost) -> None:
    host.warm(2)
    call(host)
    assert host.cold_starts == 2
    host.cool()
    call(host)
    assert host.cold_starts == 3


def test_new_deployment_reaches_every_later_invocation_and_no_running_one(make: Any) -> None:
    host = make(env={"GROUP": "a"})
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(call, host, sleep=1)
        eventually(lambda: any("handling" in line.text for line in host.logs()))
        host.override({"GROUP": "b"})
        assert call(host)["environment"]["GROUP"] == "b"
        assert running.result()["environment"]["GROUP"] == "a"
    assert call(host)["environment"]["GROUP"] == "b"


def test_process_is_frozen_between_invocations(make: Any) -> None:
    """lambda-runtime-environment.html: "Lambda freezes the execution environment when the runtime and each extension
    have completed and there are no pending events"; background work goes on only with the next invocation."""
    host = make("functions.ticking")
    first = json.loads(host.invoke(b"{}").payload)
    pid = host.reports()[0].pid
    assert eventually(lambda: state_of(pid) == "T")
    time.sleep(2)
    second = json.loads(host.invoke(b"{}").payload)
    assert 1 <= first <= second < first + 100  # two seconds would be 200
    assert eventually(lambda: state_of(pid) == "T")


def test_frozen_process_dies_with_whoever_started_it() -> None:
    program = (
        "import sys, time; from pathlib import Path; from natkeeper_lab.runtime import FunctionHost\n"
        f"host = FunctionHost('f', {HANDLER!r}, code=Path({str(CODE)!r})); host.warm()\n"
        "print(next(iter(host._all)).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert eventually(lambda: state_of(pid) == "T")
    parent.kill()
    parent.communicate()
    assert eventually(lambda: is_gone(pid) or state_of(pid) == "Z")


# -- failures of the init phase


def test_handler_that_cannot_be_imported_is_an_error(make: Any) -> None:
    body = failure(make("nothing_here.handler").invoke(b"{}"))
    assert body["errorType"] == "Runtime.ImportModuleError"
    assert "No module named 'nothing_here'" in body["errorMessage"]


def test_handler_that_is_not_there_is_an_error(make: Any) -> None:
    assert failure(make("functions.nobody").invoke(b"{}"))["errorType"] == "Runtime.HandlerNotFound"


def test_exit_during_init_is_an_error(make: Any) -> None:
    body = failure(make(env={"INIT": "exit"}).invoke(b"{}"))
    assert body["errorType"] == "Runtime.ExitError"
    assert "Runtime exited with error: exit status 7" in body["errorMessage"]


def test_init_that_takes_too_long_is_repeated_within_the_invocation(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """lambda-runtime-environment.html: the init phase is limited to 10 seconds; if it is not done by then "Lambda
    retries the Init phase at the time of the first function invocation with the configured function timeout"."""
    assert hosts.INIT_SECONDS == 10
    monkeypatch.setattr(hosts, "INIT_SECONDS", 3)  # or the first process does not come to leave its mark
    host = make(env={"INIT": "slow once", "MARK": str(tmp_path / "mark")}, timeout_seconds=60)
    assert call(host)["environment"]["INIT"] == "slow once"
    assert host.cold_starts == 2


def test_repeated_init_counts_towards_the_functions_time_out(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "INIT_SECONDS", 0.3)
    host = make(env={"INIT": "slow", "INIT_SECONDS": "30"}, timeout_seconds=1)
    body = failure(host.invoke(b"{}"))
    assert (body["errorType"], "Task timed out after 1.00 seconds" in body["errorMessage"]) == (
        "Sandbox.Timedout",
        True,
    )
    assert 1000 <= host.reports()[0].duration_ms < 20_000


# -- failures of the invoke phase


def test_exception_is_described_as_lambda_does(host: FunctionHost) -> None:
    body = failure(host.invoke(b'{"raise": "no such target"}'))
    assert (body["errorMessage"], body["errorType"]) == ("no such target", "ValueError")
    assert any("functions.py" in line for line in body["stackTrace"])
    assert call(host)
    assert host.cold_starts == 1
    assert eventually(lambda: any("[ERROR] ValueError: no such target" in line.text for line in host.logs()))


def test_late_function_is_killed_and_the_next_one_is_cold(make: Any) -> None:
    host = make(timeout_seconds=2)
    first = call(host)["pid"]
    body = failure(host.invoke(b'{"sleep": 30}'))
    assert body["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 2.00 seconds" in body["errorMessage"]
    assert is_gone(first)
    assert call(host)["pid"] != first
    assert [(report.error_type, report.init_ms is None) for report in host.reports()[1:]] == [
        ("timeout", True),
        (None, False),
    ]


def test_function_that_exits_is_an_error_and_the_next_one_is_cold(host: FunctionHost) -> None:
    body = failure(host.invoke(b'{"exit": 3}'))
    assert (body["errorType"], "exit status 3" in body["errorMessage"]) == ("Runtime.ExitError", True)
    assert call(host)
    assert host.cold_starts == 2


def test_function_that_needs_too_much_memory_is_killed(make: Any) -> None:
    """configuration-memory.html; the words are those of the log: "Runtime exited with error: signal: killed"."""
    host = make(memory_mb=128, timeout_seconds=60)
    assert call(host, hog_mb=20)
    pid = host.reports()[0].pid
    body = failure(host.invoke(b'{"hog_mb": 200, "sleep": 50}'))
    assert body["errorType"] == "Runtime.ExitError"
    assert "Runtime exited with error: signal: killed" in body["errorMessage"]
    assert is_gone(pid)
    report = host.reports()[1]
    assert (report.error_type, report.max_memory_mb > 128) == ("Runtime.OutOfMemory", True)
    assert report.duration_ms < 40_000
    assert call(host)["pid"] != pid


def test_short_peak_of_memory_is_not_overlooked(make: Any) -> None:
    assert failure(make(memory_mb=128).invoke(b'{"hog_mb": 200}'))["errorType"] == "Runtime.ExitError"


def test_crash_kills_what_is_running(make: Any) -> None:
    host = make()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(host.invoke, b'{"sleep": 30}')
        eventually(lambda: any("handling" in line.text for line in host.logs()))
        host.crash()
        body = failure(running.result(60))
    assert (body["errorType"], "signal: killed" in body["errorMessage"]) == ("Runtime.ExitError", True)


def test_crash_between_invocations_makes_the_next_one_cold(host: FunctionHost) -> None:
    first = call(host)["pid"]
    host.crash()
    assert call(host)["pid"] != first


def test_result_that_is_not_json_is_an_error(host: FunctionHost) -> None:
    assert failure(host.invoke(b'{"unmarshallable": 1}'))["errorType"] == "Runtime.MarshalError"


def test_what_the_handler_prints_is_kept_with_its_time(host: FunctionHost) -> None:
    before = time.time()
    pid = call(host)["pid"]
    line = eventually(lambda: [one for one in host.logs() if "handling" in one.text])[0]
    assert line.pid == pid
    assert before <= line.at <= time.time()


def test_powertools_accepts_the_context_and_logs_once(make: Any) -> None:
    host = make("functions.powertools", {"POWERTOOLS_LOG_LEVEL": "INFO"})
    assert host.invoke(b"{}") == FunctionResult(b'"ok"')
    (line,) = eventually(lambda: [one.text for one in host.logs() if "probed" in one.text])
    assert json.loads(line)["function_name"] == "prober"


# -- the lab's side


def test_lab_chooses_where_the_process_runs(make: Any) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Elsewhere(Here):
        def listen(self) -> socket.socket:
            return socket.create_server(("127.0.0.2", 0))

        def spawn(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
            started.append(super().spawn(argv, {**env, "GROUP": "b"}, cwd))
            return started[-1]

    host = make(place=Elsewhere())
    environment = call(host)["environment"]
    assert environment["GROUP"] == "b"
    assert environment["AWS_LAMBDA_RUNTIME_API"].startswith("127.0.0.2:")
    host.stop()
    assert started[0].returncode == -signal.SIGKILL


def test_stopped_host_leaves_no_process(make: Any) -> None:
    host = make()
    host.warm(2)
    pids = [each.pid for each in host._all]
    host.stop()
    assert [is_gone(pid) for pid in pids] == [True, True]
    with pytest.raises(RuntimeError, match="stopped"):
        host.invoke(b"{}")


def test_hosted_function_answers_on_the_wire_under_the_request_id_it_was_given(ours: Aws, make: Any) -> None:
    host = make()
    ours.api.register_function("prober", host.invoke)
    answer = ours.client("lambda").invoke(FunctionName="prober", Payload=b'{"round": 1}')
    seen = json.loads(answer["Payload"].read())
    assert seen["event"] == {"round": 1}
    assert seen["request_id"] == answer["ResponseMetadata"]["RequestId"]


def test_skewed_clock_is_natkeepers_alone_and_the_deadline_stays_right(tmp_path: Path, make: Any) -> None:
    package = tmp_path / "natkeeper"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "handling.py").write_text(
        "import time\n"
        "import others\n"
        "def handler(event, context):\n"
        "    return [time.time() - others.time.time(), context.get_remaining_time_in_millis()]\n"
    )
    (tmp_path / "others.py").write_text("import time\n")
    host = make("natkeeper.handling.handler", code=tmp_path, timeout_seconds=30)
    for skew, low, high in (("0", -1, 1), ("5", 4, 6), ("-3", -4, -2)):
        host.override({"NATKEEPER_LAB_CLOCK_SKEW": skew})
        ahead, remaining = json.loads(host.invoke(b"{}").payload)
        assert low < ahead < high
        assert 25_000 < remaining <= 30_000


# -- the Runtime API itself, https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    one = RuntimeApi(Here().listen())
    yield one
    one.close()


def ask(api: RuntimeApi, path: str, body: bytes | None = None) -> tuple[int, Mapping[str, str], bytes]:
    request = urllib.request.Request(f"http://{api.address}/2018-06-01/runtime/{path}", data=body)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, refused.read()


def test_next_gives_the_event_with_lambdas_headers(api: RuntimeApi) -> None:
    api.send(Work("id-1", b'{"round": 1}', 1_700_000_000_000, "arn:of:function", "Root=1-2-3"))
    status, headers, body = ask(api, "invocation/next")
    assert (status, body) == (200, b'{"round": 1}')
    assert headers["Lambda-Runtime-Aws-Request-Id"] == "id-1"
    assert headers["Lambda-Runtime-Deadline-Ms"] == "1700000000000"
    assert headers["Lambda-Runtime-Invoked-Function-Arn"] == "arn:of:function"
    assert headers["Lambda-Runtime-Trace-Id"] == "Root=1-2-3"


def test_answer_is_accepted_once_and_for_the_current_event_only(api: RuntimeApi) -> None:
    api.send(Work("id-1", b"{}", 0, "arn", ""))
    ask(api, "invocation/next")
    assert ask(api, "invocation/id-0/response", b"1")[0] == 400
    assert ask(api, "invocation/id-1/response", b"1")[0] == 202
    status, _, body = ask(api, "invocation/id-1/error", b"2")
    assert (status, json.loads(body)["errorType"]) == (400, "InvalidRequestID")
    assert [api.news.get().kind, api.news.get().body] == ["next", b"1"]
    assert api.news.empty()


def test_what_the_runtime_api_does_not_know_is_not_found(api: RuntimeApi) -> None:
    assert ask(api, "nonsense")[0] == 404
    assert os.environ.get("AWS_LAMBDA_RUNTIME_API") is None
