"""HTTP/1.1 with keep-alive for AWS clients: one thread per connection, one write per reply.

`api.server.Api` runs it with the gateway as `handle`, and `runtime` one for each function process. Werkzeug's
own server closes each connection and costs several milliseconds per call, which the lab would measure as the
controller's. May not import anything of the lab, moto or boto3.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus


@dataclass(frozen=True)
class HttpRequest:
    """Header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class HttpReply:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[HttpRequest], HttpReply | None]
"""None closes the connection without an answer."""


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    wbufsize = -1
    server: WireServer

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        self.server.opened(self.connection)
        try:
            while (request := self._read()) is not None:
                reply = self.server.answer(request)
                if reply is None:
                    return
                self._write(reply)
        except (ConnectionError, TimeoutError):
            return
        finally:
            self.server.closed(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            # The client or stop() closed the connection first; there is nobody left to tell.
            return

    def _read(self) -> HttpRequest | None:
        line = self.rfile.readline(65537)
        if not line.strip():
            return None
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers: dict[str, str] = {}
        while (raw := self.rfile.readline(65537)).strip():
            name, _, value = raw.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        length = int(headers.get("content-length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:
            return None  # the caller died in the middle: it has called nothing
        return HttpRequest(method, target, headers, body)

    def _write(self, reply: HttpReply) -> None:
        lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", f"content-length: {len(reply.body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + reply.body)
        self.wfile.flush()


class WireServer(socketserver.ThreadingTCPServer):
    """Listens on an ephemeral port of 127.0.0.1, or accepts on a listening socket that was made elsewhere."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(
        self, handle: Handler, listener: socket.socket | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Connection, bind_and_activate=listener is None)
        if listener is not None:
            self.socket.close()
            self.socket = listener
            self.server_address = listener.getsockname()
        self.answer = handle
        self.tls = tls
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        # Not serve_forever: it wakes up again and again to see whether it should end, and the lab has many servers.
        self._thread = threading.Thread(target=self._accept, name="lab-wire", daemon=True)

    @property
    def address(self) -> str:
        """Host and port."""
        host, port = self.server_address[:2]
        return f"{host!s}:{port}"

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{self.address}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._thread.join()
        self.server_close()
        with self._guard:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self.get_request()
            except OSError:
                return
            self.process_request(connection, address)

    def opened(self, connection: socket.socket) -> None:
        with self._guard:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._guard:
            self._open.discard(connection)
