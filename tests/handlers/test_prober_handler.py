"""The prober on real sockets, all on the loopback interface: what counts as an answer, and what the handler loads."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from natkeeper import probing
from natkeeper.handlers import prober
from natkeeper.probing import sockets
from natkeeper.triggers import parse_report

SOURCE = Path(__file__).resolve().parents[2] / "src"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n203.0.113.20"


@contextlib.contextmanager
def listening() -> Iterator[str]:
    """A server whose kernel answers; nobody reads."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def hanging() -> Iterator[str]:
    """A full backlog: the kernel drops further SYNs in silence, as a black-holed NAT does."""
    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """A port that is taken and not listening: nobody else can open it meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{taken.getsockname()[1]}"


def invoke(*targets: str, context: Any = None, **fields: Any) -> dict[str, Any]:
    event = {"group": "a", "run_id": "r", "mode": "watch", "targets": list(targets), "interval": 0.05, "timeout": 0.3}
    report = prober.handler({**event, **fields}, context)
    parse_report(json.loads(json.dumps(report)))
    return report


def test_a_listening_target_is_good() -> None:
    with listening() as target:
        report = invoke(target, mode="verify")
    assert report["verdict"] == "passed"
    assert report["targets"][target]["failed"] == 0


def test_a_refused_connection_is_a_failure() -> None:
    with refusing() as target:
        report = invoke(target)
    assert report["verdict"] == "down"
    assert report["errors"] == [f"{target} connection refused"]


def test_a_silent_target_is_a_failure_at_its_deadline() -> None:
    with hanging() as target:
        report = invoke(target)
    assert report["verdict"] == "down"
    assert report["errors"] == [f"{target} timeout"]
    assert report["targets"][target]["rtt_ms"] is None


def test_a_hanging_target_does_not_delay_the_others() -> None:
    with listening() as one, listening() as two, hanging() as three:
        report = invoke(one, two, three, canary=three.removeprefix("tcp://"), run=0.3)
    assert (report["verdict"], {row[1] for row in report["rounds"]}) == ("ended", {1})
    assert {row[1] for row in report["canary"]} == {0}


def test_the_control_probe_needs_a_majority_of_real_answers() -> None:
    with listening() as one, refusing() as two, hanging() as three:
        result = probing.control_probe([one, two, three], timeout=0.2)
    assert result.is_ok is False
    assert result.errors == {one: None, two: "connection refused", three: "timeout"}


def test_a_probe_leaves_no_state_behind() -> None:
    """Closed with a reset: neither TIME_WAIT here nor an entry that lingers in the NAT's connection tracking."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert probing.control_probe([f"tcp://127.0.0.1:{server.getsockname()[1]}"])
        connection, _ = server.accept()
        connection.settimeout(5)
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_an_answer_later_than_a_syn_retransmission_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a stall of ours, an answer to the second SYN looks just like one to the first."""
    network = sockets.Sockets()
    now = sockets.time.monotonic
    with listening() as target:
        network.begin("key", ("127.0.0.1", int(target.rpartition(":")[2])), 0.9, None, 0.9)
        select.select([], [], [], 0.05)
        monkeypatch.setattr(sockets.time, "monotonic", lambda: now() + 1.2)
        answers = network.wait(network.now())
        monkeypatch.undo()
    network.close()
    assert answers == [sockets.Answer("key", "timeout", None)]


def test_an_answer_that_came_while_we_were_stalled_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    network = sockets.Sockets()
    now = sockets.time.monotonic
    with listening() as target:
        network.begin("key", ("127.0.0.1", int(target.rpartition(":")[2])), 0.3, None, 0.3)
        select.select([], [], [], 0.05)
        monkeypatch.setattr(sockets.time, "monotonic", lambda: now() + 0.5)
        answers = network.wait(network.now())
        monkeypatch.undo()
    network.close()
    assert [(answer.key, answer.error) for answer in answers] == [("key", None)]


# Names ---------------------------------------------------------------------------------------------------------------


def test_a_name_is_looked_up_once_and_again_only_after_a_failure() -> None:
    asked: list[str] = []

    def resolver(host: str, *_: object) -> list[Any]:
        asked.append(host)
        if host == "bad.example" and asked.count(host) == 1:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return [(None, None, None, "", ("127.0.0.1", 0))]

    network = sockets.Sockets(resolver)
    targets = [probing.parse_target(f"tcp://{host}:443") for host in ("good.example", "bad.example", "127.0.0.1")]
    network.prepare(targets, within=5)
    assert network.address("good.example") == network.address("127.0.0.1") == "127.0.0.1"
    assert network.address("bad.example") is None
    assert network.dns_error("bad.example") == "dns: temporary failure in name resolution"
    network.prepare(targets, within=5)
    network.prepare(targets, within=5)
    network.close()
    assert network.address("bad.example") == "127.0.0.1"
    assert sorted(asked) == ["bad.example", "bad.example", "good.example"]


def test_a_resolver_that_hangs_stalls_nobody() -> None:
    release = threading.Event()

    def resolver(*_: object) -> list[Any]:
        release.wait(20)
        return []

    network = sockets.Sockets(resolver)
    network.prepare([probing.parse_target("tcp://slow.example:443")], within=0.01)
    assert network.dns_error("slow.example") == "dns: no answer yet"
    release.set()
    network.close()


# HTTPS ---------------------------------------------------------------------------------------------------------------


def certificate(name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None, signer: Any) -> Any:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if issuer is None:
        usage = dict.fromkeys(
            ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
        )
        usage |= {"digital_signature": True, "content_commitment": False, "key_cert_sign": True, "crl_sign": True}
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    else:
        names = [x509.IPAddress(ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A throw-away certificate authority: its certificate, and a server's certificate with key for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("authority")
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = certificate("throw-away authority", ca_key, None, ca_key)
    leaf = certificate("server", key, ca, ca_key)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(leaf.public_bytes(pem) + private)
    return folder / "ca.pem", folder / "server.pem"


@pytest.fixture
def trusted(authority: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[0]))
    monkeypatch.setattr(sockets, "_context", None)


@contextlib.contextmanager
def https_server(pem: Path, answer: bytes | None) -> Iterator[str]:
    """Answers each GET with `answer` and closes; None: says nothing at all, not even in TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    stop = threading.Event()

    def serve(server: socket.socket) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(2)
                    if answer is None:
                        stop.wait(2)
                        continue
                    with context.wrap_socket(connection, server_side=True) as tls:
                        tls.recv(4096)
                        tls.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.getsockname()[1]}/ip"
        finally:
            stop.set()
            thread.join()


def get_once(target: str, timeout: float = 5.0) -> dict[str, Any]:
    return invoke(target, run=0.1, interval=10, https_timeout=timeout)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("answer", "address"),
    [
        (OK, "203.0.113.20"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n203.0.113.20\n\r\n0\r\n\r\n", "203.0.113.20"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.0 302 Found\r\nLocation: /elsewhere\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, None),
    ],
)
def test_an_answered_get_is_good_and_may_tell_our_address(
    authority: tuple[Path, Path], answer: bytes, address: str | None
) -> None:
    with https_server(authority[1], answer) as target:
        report = get_once(target)
    assert [row[1] for row in report["rounds"]] == [1]
    assert report["egress_address"] == address
    assert report["errors"] == []


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "empty answer"),
        (b"000", "not an HTTP answer"),
        (b"HTTP/1.1 000 \r\n\r\n", "HTTP status 000"),
        (b"HTTP/1.1 200 OK\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n203.0.113.20", "HTTP status 404"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP status 503"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "not an HTTP answer"),
    ],
)
def test_no_code_and_no_output_are_never_success(authority: tuple[Path, Path], answer: bytes, error: str) -> None:
    """A peer's health check takes curl's 000 for a code below 500, and empty output for success."""
    with https_server(authority[1], answer) as target:
        report = get_once(target)
    assert report["rounds"] == []
    assert report["targets"][target]["ok"] == 0
    assert report["targets"][target]["last_error"] == error
    assert report["egress_address"] is None


def test_a_certificate_nobody_vouches_for_is_no_success(
    authority: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "_context", None)
    with https_server(authority[1], OK) as target:
        report = get_once(target)
    assert report["targets"][target]["ok"] == 0
    assert report["targets"][target]["last_error"].startswith("TLS: ")


@pytest.mark.usefixtures("trusted")
def test_a_server_that_accepts_and_says_nothing_is_given_up_at_the_gets_deadline(authority: tuple[Path, Path]) -> None:
    with https_server(authority[1], None) as target:
        report = get_once(target, timeout=0.5)
    assert report["rounds"] == []
    assert report["targets"][target]["last_error"] == "timeout"
    assert report["targets"][target]["rtt_ms"] is not None


def test_an_unreachable_https_target_is_given_up_at_the_connections_deadline() -> None:
    with hanging() as target:
        report = invoke(target.replace("tcp://", "https://"), https_timeout=30)
    assert report["verdict"] == "down"


@given(st.binary(max_size=80) | st.binary(max_size=60).map(b"HTTP/1.1 ".__add__))
def test_only_a_2xx_or_3xx_answer_is_ever_read(data: bytes) -> None:
    try:
        sockets.read_answer(data)
    except OSError:
        return
    assert b"2" <= data.split(b" ")[1].split(b"\r")[0].lstrip(b"0")[:1] <= b"3"


# The handler ---------------------------------------------------------------------------------------------------------


class Context:
    def __init__(self, milliseconds: int) -> None:
        self.get_remaining_time_in_millis: Callable[[], int] = lambda: milliseconds


def test_the_handler_prints_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    with listening() as target:
        report = invoke(target, mode="verify")
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line) == probing.summary(report)


def test_the_handler_returns_before_lambda_would_kill_it() -> None:
    with listening() as target:
        report = invoke(target, context=Context(2_500), run=600)
    assert report["verdict"] == "ended"
    assert report["rounds"]
    assert report["rounds"][-1][0] <= 500


def test_the_handler_reports_nothing_rather_than_being_late() -> None:
    with listening() as target:
        report = invoke(target, context=Context(1_000), run=600)
    assert (report["verdict"], report["rounds"]) == ("ended", [])


def test_the_handler_refuses_a_bad_request_by_field() -> None:
    with pytest.raises(ValueError, match=r"^targets: "):
        prober.handler({"group": "a", "run_id": "r", "mode": "watch", "targets": []})


def test_runs_of_one_process_share_a_clock() -> None:
    with listening() as target:
        first, second = invoke(target, mode="verify"), invoke(target, mode="verify")
    assert first["clock"] == second["clock"]
    assert first["started_at"] < second["started_at"]


def test_a_stepped_wall_clock_gets_a_new_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = sockets._Clock()
    before, _ = clock.stamp(0.0)
    assert clock.stamp(0.0)[0] == before
    real = sockets.time.time
    monkeypatch.setattr(sockets.time, "time", lambda: real() + 1.0)
    assert clock.stamp(0.0)[0] != before


def _printed_by(script: str) -> str:
    """By a fresh interpreter, which has no site packages."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip()


def test_importing_the_prober_loads_nothing_heavy() -> None:
    # Not ssl: its 30 ms belong into the init phase, which has a whole processor (the test after this one).
    heavy = ["boto3", "botocore", "aws_lambda_powertools", "asyncio", "http", "urllib", "dataclasses", "logging"]
    script = f"import sys, natkeeper.handlers.prober; print([name for name in {heavy} if name in sys.modules])"
    assert _printed_by(script) == "[]"


def test_the_probers_tls_context_is_there_before_its_first_run() -> None:
    script = "import natkeeper.handlers.prober, natkeeper.probing.sockets as found; print(found._context is not None)"
    assert _printed_by(script) == "True"
