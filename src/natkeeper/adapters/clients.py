"""Clients of AWS's services, made ready for their first call while the function starts, with a whole processor.

Built by `wiring`. After its init phase a function has a share of a processor: what a first call has to read, parse or
work out then takes several times as long (docs/decisions.md; `make bench`, section `share`).
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.httpsession import get_cert_path
from botocore.loaders import Loader

MODELS = Path(__file__).resolve().parents[1] / "models"
"""botocore's data with natkeeper's operations alone (`tools.trim_model`): all of it takes 100 ms more to read."""
SERVICES = ("dynamodb", "ec2", "lambda", "sns")
Rehearsal = Callable[[Any], object]
"""Makes a client's calls, whose answers mean nothing."""


class Clients:
    """Makes clients that share one TLS context."""

    def __init__(self) -> None:
        self._session = botocore.session.get_session()
        self._session.register_component("data_loader", _Models([str(MODELS)]))
        self._trust: ssl.SSLContext | None = None

    def make(self, service: str, config: Config, rehearsal: Rehearsal | None = None) -> Any:
        """A client that has made the rehearsal's calls, without the network."""
        client: Any = self._session.create_client(service, config=config)
        # Where a botocore keeps its context is its own affair: with one that keeps it elsewhere, calls are only slower.
        with suppress(AttributeError, KeyError):
            http = client._endpoint.http_session
            self._lend_trust(http._manager.connection_pool_kw, get_cert_path(http._verify))
        if rehearsal is not None:
            with _answering(client):
                rehearsal(client)
        return client

    def _lend_trust(self, pool: dict[str, Any], authorities: str | None) -> None:
        if self._trust is None:
            self._trust = pool["ssl_context"]
            read_once(self._trust)
        if authorities is not None:
            self._trust.load_verify_locations(authorities)
        pool["ssl_context"] = self._trust


def read_once(context: ssl.SSLContext) -> None:
    """urllib3 has the authorities' file read for each connection that it opens, which takes 17 ms of a processor. From
    now on the context reads a file once."""
    read, guard = context.load_verify_locations, threading.Lock()
    known: set[tuple[object, object]] = set()

    def load(cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
        with guard:  # a handshake that goes on while another thread still reads would trust nobody
            if cadata is None and (cafile, capath) in known:
                return
            read(cafile, capath, cadata)
            known.add((cafile, capath))

    context.load_verify_locations = load  # type: ignore[method-assign]


class _Models(Loader):
    """botocore's data, with ours before it."""

    def list_available_services(self, _type_name: str) -> list[str]:
        """botocore looks through the folders of 400 services, once for each kind of file, to know that ours exist."""
        return list(SERVICES)


class _Body:
    """What AWSResponse reads a body from."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def stream(self) -> Iterator[bytes]:
        yield self._text


_BODIES: Mapping[str, bytes] = {"ec2": b"<Answer><requestId>rehearsal</requestId></Answer>"}


@contextmanager
def _answering(client: Any) -> Iterator[None]:
    """Calls meanwhile are answered with nothing in it, before they leave. botocore takes the answer of whoever hears
    `before-send` (https://botocore.amazonaws.com/v1/documentation/api/latest/topics/events.html)."""
    body = _BODIES.get(client.meta.service_model.service_name, b"{}")

    def answer(request: Any, **_: object) -> AWSResponse:
        return AWSResponse(request.url, 200, HTTPHeaders(), _Body(body))

    client.meta.events.register_first("before-send", answer)
    try:
        yield
    finally:
        client.meta.events.unregister("before-send", answer)
