"""The sockets and clocks under a probing run: many short connections at once, each with deadlines of its own.

Called by `natkeeper.probing.engine` only, which sees it through the `Network` protocol, so that the schedule can be
tested on a virtual clock. One thread and one selector carry all attempts: an attempt is a generator that yields what
its socket waits for, so a hanging target never delays another one. May import nothing but the standard library; `ssl`,
`threading` and `uuid` are imported late, because not every run needs them and the cold start is part of detection.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from natkeeper.probing.request import SYN_RETRANSMIT_S, Target

if TYPE_CHECKING:
    import ssl

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: close() sends RST. Probes must not leave TIME_WAIT here or connection tracking on the NAT."""

ENOUGH_OF_AN_ANSWER = 8192
"""Bytes of an HTTP answer that are read at most; a public address needs 15."""

CLOCK_DRIFT_S = 0.02
"""NTP slews at most 500 ppm, 30 ms a minute, and typically far less. A bigger difference between wall and monotonic
clock since the process started means that one of them was stepped or frozen (Lambda freezes idle environments)."""

_LEFT = "the run ended first"


class Answer(NamedTuple):
    """How one attempt went. `error` None: success. `rtt`: seconds to the TCP connection, None without one: an attempt
    with an error *and* an rtt did get packets through. `body`: what an HTTPS GET returned."""

    key: Any
    error: str | None
    rtt: float | None
    body: str | None = None


class _Attempt:
    __slots__ = ("answer_by", "body", "events", "expires_at", "fd", "key", "rtt", "sent_at", "sock", "steps")

    def __init__(self, key: Any, sent_at: float, expires_at: float, answer_by: float) -> None:
        self.key = key
        self.sent_at = sent_at
        self.expires_at = expires_at
        self.answer_by = answer_by
        self.rtt: float | None = None
        self.body: str | None = None
        self.events = 0
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.fd = self.sock.fileno()
        self.steps: Generator[int, None, None]


_Steps = Generator[int, None, None]


def _check_connected(code: int) -> None:
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, os.strerror(code))


def _steps(attempt: _Attempt, address: tuple[str, int], get: Target | None) -> _Steps:
    """Theory: TCP connect under the short deadline (a lost SYN must stay lost); only then, for a GET, the long one."""
    _check_connected(attempt.sock.connect_ex(address))
    yield selectors.EVENT_WRITE
    _check_connected(attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    elapsed = time.monotonic() - attempt.sent_at
    if (
        elapsed >= SYN_RETRANSMIT_S
    ):  # we were stalled, and cannot tell an answer to the first SYN from one to the second
        raise TimeoutError
    attempt.rtt = elapsed
    if get is not None:
        attempt.expires_at = attempt.answer_by
        yield from _exchange(attempt, get)


def _exchange(attempt: _Attempt, target: Target) -> _Steps:
    import ssl

    tls = tls_context().wrap_socket(attempt.sock, server_hostname=target.host, do_handshake_on_connect=False)
    attempt.sock = tls
    request = (
        f"GET {target.path} HTTP/1.1\r\nHost: {target.host}\r\nUser-Agent: natkeeper\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode("ascii")
    data = b""
    todo: list[Callable[[], object]] = [tls.do_handshake, lambda: tls.send(request)]
    while True:
        try:
            if todo:
                todo[0]()
                del todo[0]
                continue
            chunk = tls.recv(4096)
        except ssl.SSLWantReadError:
            yield selectors.EVENT_READ
            continue
        except ssl.SSLWantWriteError:
            yield selectors.EVENT_WRITE
            continue
        data += chunk
        if not chunk or len(data) >= ENOUGH_OF_AN_ANSWER:
            attempt.body = read_answer(data)
            return


def read_answer(data: bytes) -> str:
    """The body of an HTTP answer with a 2xx or 3xx status. OSError for anything else: an empty answer, a cut one, a
    status of 000, 4xx or 5xx is no success."""
    head, separator, body = data.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if not data:
        raise OSError("empty answer")
    if not separator or len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise OSError("not an HTTP answer")
    if not 200 <= int(words[1]) <= 399:
        raise OSError(f"HTTP status {words[1].decode('ascii')}")
    if b"transfer-encoding: chunked" in head.lower():
        body = b"".join(body.split(b"\r\n")[1:2])
    return body.decode("latin-1").strip()


_context: ssl.SSLContext | None = None


def tls_context() -> ssl.SSLContext:
    """Default verification. Made once per process: reading the certificate bundle costs 20 ms here, more on Lambda."""
    global _context
    if _context is None:
        import ssl

        _context = ssl.create_default_context()
    return _context


class _Clock:
    """Ties wall time to the monotonic clock once per process, so that spans between the rounds of *different* runs with
    one clock identity are exact too. Ties anew, under a new identity, when the two clocks came apart."""

    def __init__(self) -> None:
        self.identity = ""
        self.wall_minus_monotonic = 0.0

    def stamp(self, instant: float) -> tuple[str, float]:
        difference = time.time() - time.monotonic()
        if not self.identity or abs(difference - self.wall_minus_monotonic) > CLOCK_DRIFT_S:
            from uuid import uuid4

            self.identity, self.wall_minus_monotonic = str(uuid4()), difference
        return self.identity, instant + self.wall_minus_monotonic


_clock = _Clock()


def _is_address(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return False
    return True


def _error_text(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if hasattr(error, "library"):  # ssl.SSLError and its kin, named without importing ssl
        reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or error
        return f"TLS: {str(reason).lower().replace('_', ' ')}"
    strerror = getattr(error, "strerror", None)
    return str(strerror).lower() if strerror else str(error) or type(error).__name__


class Sockets:
    """The real network. `resolver` answers like `socket.getaddrinfo`."""

    def __init__(self, resolver: Callable[..., Any] = socket.getaddrinfo) -> None:
        self._resolver = resolver
        self._selector = selectors.DefaultSelector()
        self._attempts: set[_Attempt] = set()
        self._answers: list[Answer] = []
        self._addresses: dict[str, str] = {}
        self._dns_errors: dict[str, str] = {}
        self._resolving: set[str] = set()

    def now(self) -> float:
        """Seconds on the monotonic clock."""
        return time.monotonic()

    def stamp(self, instant: float) -> tuple[str, float]:
        """Identity of the monotonic clock, and wall time (seconds since 1970) at the monotonic `instant`."""
        return _clock.stamp(instant)

    def prepare(self, targets: Iterable[Target], within: float) -> None:
        """Does ahead what would stall a round: reads certificates for targets with a path, looks names up, waiting
        `within` seconds at most for them. Never raises. Called again, it only asks for the names that failed.

        Names in threads: the C library's resolver blocks for seconds, and the schedule must not wait for it."""
        targets = list(targets)
        threads = []
        for host in {target.host for target in targets} - self._addresses.keys() - self._resolving:
            if _is_address(host):
                self._addresses[host] = host
                continue
            import threading

            self._resolving.add(host)
            threads.append(threading.Thread(target=self._look_up, args=(host,), daemon=True))
            threads[-1].start()
        give_up_at = self.now() + within
        if any(target.path for target in targets):
            tls_context()
        for thread in threads:
            thread.join(max(0.0, give_up_at - self.now()))

    def _look_up(self, host: str) -> None:
        try:
            found = self._resolver(host, None, socket.AF_INET, socket.SOCK_STREAM)
            self._addresses[host] = str(found[0][4][0])
        except (OSError, UnicodeError, IndexError) as error:
            self._dns_errors[host] = _error_text(error)
        finally:
            self._resolving.discard(host)

    def address(self, host: str) -> str | None:
        """The IPv4 address of a host, None while it is not known."""
        return self._addresses.get(host)

    def dns_error(self, host: str) -> str:
        return f"dns: {self._dns_errors.get(host, 'no answer yet')}"

    def begin(self, key: Any, address: tuple[str, int], timeout: float, get: Target | None, get_timeout: float) -> None:
        """Sends one probe now; `wait` returns its answer under `key`. Timeouts in seconds from now."""
        now = self.now()
        attempt = _Attempt(key, now, now + timeout, now + max(timeout, get_timeout))
        attempt.steps = _steps(attempt, address, get)
        self._attempts.add(attempt)
        self._step(attempt, self._answers)  # connect() itself; it can be refused at once

    def wait(self, until: float) -> list[Answer]:
        """Returns as soon as any probe is answered or has failed, and at `until` (monotonic seconds) at the latest."""
        answers, self._answers = self._answers, []
        while not answers:
            wake_at = min((attempt.expires_at for attempt in self._attempts), default=until)
            for key, _ in self._selector.select(max(0.0, min(wake_at, until) - self.now())):
                self._step(key.data, answers)
            now = self.now()  # what was ready comes first: a stall of ours must not fail an attempt that was answered
            for attempt in [attempt for attempt in self._attempts if attempt.expires_at <= now]:
                self._finish(attempt, "timeout", answers)
            if now >= until:
                break
        return answers

    def _step(self, attempt: _Attempt, answers: list[Answer]) -> None:
        try:
            events = next(attempt.steps)
        except StopIteration:
            self._finish(attempt, None, answers)
        except (OSError, ValueError) as error:  # ValueError: a name that TLS does not take
            self._finish(attempt, _error_text(error), answers)
        else:
            if not attempt.events:
                self._selector.register(attempt.fd, events, attempt)
            elif attempt.events != events:
                self._selector.modify(attempt.fd, events, attempt)
            attempt.events = events

    def _finish(self, attempt: _Attempt, error: str | None, answers: list[Answer]) -> None:
        self._attempts.discard(attempt)
        if attempt.events:
            self._selector.unregister(attempt.fd)
        attempt.steps.close()
        attempt.sock.close()
        answers.append(Answer(attempt.key, error, attempt.rtt, attempt.body))

    def close(self) -> None:
        """Drops what is still on its way."""
        for attempt in list(self._attempts):
            self._finish(attempt, _LEFT, [])
        self._selector.close()
