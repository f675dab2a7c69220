"""What a prober run is asked to do: targets and numbers, checked before the first packet leaves.

Called by the handler, through `natkeeper.probing`, and by whoever checks a user's targets at cold start. May
import nothing but light parts of the standard library: its import is part of the prober's cold start, which is part of
detection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

WATCH = "watch"
VERIFY = "verify"
SHOWN = 80
"""Characters of a refused value that its error quotes."""

SYN_RETRANSMIT_S = 1.0
"""Linux sends a lost SYN again after one second (TCP_TIMEOUT_INIT, RFC 6298 section 2). An attempt must be over before,
or a lost packet would turn into a late success."""

MAX_TARGETS = 16
LONGEST_TARGET = 2048
"""A report repeats each target, and so does an error of each."""
LONGEST_RUN_S = 840.0
"""A Lambda function lives for 900 s at most; a minute of it is left for starting and reporting."""

_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


class BadRequest(ValueError):
    """A request that cannot be probed: the message names the field and the remedy. It goes into Lambda's answer, so it
    is short, and UTF-8 can encode it, whatever was asked for."""


def shown(value: object) -> str:
    """The value, briefly, however deep or long it is. `repr` escapes half a surrogate pair."""
    if isinstance(value, (list, tuple, Mapping)):
        return f"a {type(value).__name__} of {len(value)}"
    try:
        return repr(value[:SHOWN] if isinstance(value, str) else value)[:SHOWN]
    except ValueError:  # a whole number of thousands of digits
        return f"a {type(value).__name__}"


class Target(NamedTuple):
    """Where one probe of a round goes. `text`: as the user wrote it. `path`: None for a TCP connect alone."""

    text: str
    host: str
    port: int
    path: str | None = None


class Request(NamedTuple):
    """One run. All times in seconds. `quorum`: that many good targets make a good round. `https_every`: a full GET in
    the first round and then every so many rounds, TCP connect otherwise."""

    group: str
    run_id: str
    mode: str
    targets: tuple[Target, ...]
    canary: Target | None
    quorum: int
    interval: float
    run: float
    timeout: float = 0.8
    https_timeout: float = 2.0
    https_every: int = 15
    rounds_to_fail: int = 3
    rounds_to_pass: int = 2


def _host_and_port(text: str, authority: str, default_port: int | None) -> tuple[str, int]:
    host, _, port_text = authority.partition(":")
    if not _HOST_CHARACTERS.issuperset(host) or not host[:1].isalnum() or len(host) > 253 or ":" in port_text:
        raise BadRequest(f"target {shown(text)}: {shown(host)} is no host; write a name or an IPv4 address")
    if not port_text and ":" not in authority and default_port is not None:
        return host, default_port
    port = int(port_text) if port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 else 0
    if not 1 <= port <= 65535:
        raise BadRequest(f"target {shown(text)}: the port must be 1 to 65535, for example {host}:443")
    return host, port


def parse_target(text: str) -> Target:
    """Reads `tcp://host:port` or `https://host[:port]/path`; BadRequest names the target and the remedy."""
    if len(text) > LONGEST_TARGET:
        raise BadRequest(f"target {shown(text)}: {len(text)} characters are too many; write {LONGEST_TARGET} at most")
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "tcp":
        return Target(text, *_host_and_port(text, rest, None))
    if separator and scheme == "https":
        authority, _, path = rest.partition("/")
        if any(character <= " " or character > "~" for character in path):
            raise BadRequest(f"target {shown(text)}: the path has a blank or a special character; percent-encode it")
        return Target(text, *_host_and_port(text, authority, 443), path="/" + path.partition("#")[0])
    raise BadRequest(f"target {shown(text)}: write tcp://host:port or https://host/path")


def parse_targets(texts: object, *, field: str = "targets") -> tuple[Target, ...]:
    """Reads a list of 1 to 16 different targets. An empty one is an error, never "nothing to probe, so all is well"."""
    if not isinstance(texts, (list, tuple)) or not 1 <= len(texts) <= MAX_TARGETS:
        raise BadRequest(f"{field}: give a list of 1 to {MAX_TARGETS} targets, such as tcp://203.0.113.10:443")
    for text in texts:
        if not isinstance(text, str):
            raise BadRequest(f"{field}: {shown(text)} is not a string; write tcp://host:port or https://host/path")
    targets = tuple(parse_target(text) for text in texts)
    if len({(target.host, target.port) for target in targets}) < len(targets):
        raise BadRequest(f"{field}: one host and port is listed twice; targets must be independent of each other")
    return targets


def _text(event: Mapping[str, object], field: str) -> str:
    value = event.get(field)
    if not isinstance(value, str) or not 1 <= len(value) <= 128 or any("\ud800" <= each <= "\udfff" for each in value):
        raise BadRequest(f"{field}: give a string of 1 to 128 characters, not {shown(value)}")
    return value


def _number(event: Mapping[str, object], field: str, default: float, low: float, high: float) -> float:
    """`low` and `high` are allowed values. A null counts as missing; true, NaN and infinity are no numbers."""
    value = event.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise BadRequest(f"{field}: give a number from {low:g} to {high:g}, not {shown(value)}")
    return float(value)


def _count(event: Mapping[str, object], field: str, default: int, high: int) -> int:
    value = event.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise BadRequest(f"{field}: give a whole number from 1 to {high}, not {shown(value)}")
    return value


def _canary(event: Mapping[str, object]) -> Target | None:
    value = event.get("canary")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadRequest(f"canary: give address:port such as 203.0.113.9:80, or leave it out, not {shown(value)}")
    host, port = _host_and_port(value, value, None)
    return Target(value, host, port)


def parse_request(event: object) -> Request:
    """Reads the prober's input. Unknown keys are ignored; a missing or bad one raises BadRequest naming the field."""
    if not isinstance(event, Mapping):
        raise BadRequest(f"the request must be an object with group, run_id, mode and targets, not {shown(event)}")
    mode = _text(event, "mode")
    if mode not in (WATCH, VERIFY):
        raise BadRequest(f"mode: give {WATCH!r} or {VERIFY!r}, not {shown(mode)}")
    is_watch = mode == WATCH
    targets = parse_targets(event.get("targets"))
    return Request(
        group=_text(event, "group"),
        run_id=_text(event, "run_id"),
        mode=mode,
        targets=targets,
        canary=_canary(event),
        quorum=_count(event, "quorum", len(targets) // 2 + 1, len(targets)),
        interval=_number(event, "interval", 1.0 if is_watch else 0.2, 0.05, 60.0),
        run=_number(event, "run", 55.0 if is_watch else 3.0, 0.1, LONGEST_RUN_S),
        timeout=_number(event, "timeout", 0.8, 0.01, SYN_RETRANSMIT_S - 0.01),
        https_timeout=_number(event, "https_timeout", 2.0, 0.01, 30.0),
        https_every=_count(event, "https_every", 15, 1_000_000),
        rounds_to_fail=_count(event, "rounds_to_fail", 3, 100),
        rounds_to_pass=_count(event, "rounds_to_pass", 2, 100),
    )
