"""The far end: what the lab's private hosts talk to, and what tells them which address they came from.

Started by the demo and by tests inside the `internet` namespace: `python -m natkeeper_lab.internet_server --address …
`. Standard library only. Prints `ready` once it listens everywhere.

| port | who speaks | what |
|---|---|---|
| 80 | `GET /` | a page that names the caller's address |
| 80 | `GET /stream?interval_ms=5` | the server, paced: one line `seq ip:port` after another |
| 80 | `GET /download?bytes=1000000` | that many bytes |
| 80 | plain text that is no HTTP | as on 443 |
| 443 | TLS, `GET /` | the caller's address and nothing else |
| 443 | plain text, line by line | each line back, with ` ip:port` of the caller behind it |
| 443 | plain text, a line `stream 200` | from then on the server speaks too: a line every 200 ms |
| `--port` | plain text | as on 443 |
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qs, urlsplit

TLS_HANDSHAKE = b"\x16"  # record type, RFC 8446 section 5.1; no printable line starts with it
BACKLOG = 4096  # a burst of new connections must not be mistaken for an outage
DEFERRED_SECONDS = 10  # how long a caller may take to say its first word
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
DEFAULT_INTERVAL_MS, DEFAULT_BYTES = 5.0, 1_000_000

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def caller(writer: asyncio.StreamWriter) -> tuple[str, int]:
    address, port = writer.get_extra_info("peername")[:2]
    return str(address), int(port)


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    first = await reader.readline()
    if first.strip() and b" HTTP/" not in first:
        await echo(reader, writer, first)
        return
    target = urlsplit(await _request_target(reader, first))
    asked = {key: float(values[-1]) for key, values in parse_qs(target.query).items()}
    if target.path == "/stream":
        await stream(writer, asked.get("interval_ms", DEFAULT_INTERVAL_MS) / 1000)
    elif target.path == "/download":
        await _respond(writer, b"x" * int(asked.get("bytes", DEFAULT_BYTES)))
    else:
        await _respond(writer, b"natkeeper lab internet: you came from %s port %d\n" % _encoded(writer))


async def https(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request_target(reader, await reader.readline())
    await _respond(writer, _encoded(writer)[0] + b"\n")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b"") -> None:
    streams: set[asyncio.Task[None]] = set()
    while line := first or await reader.readline():
        first = b""
        if line.startswith(b"stream "):
            streams.add(asyncio.create_task(_pace(writer, float(line.split()[1]) / 1000)))
            continue
        writer.write(line.rstrip(b"\n") + b" %s:%d\n" % _encoded(writer))
        await writer.drain()
    for each in streams:
        each.cancel()


async def stream(writer: asyncio.StreamWriter, interval: float) -> None:
    """Until the caller goes away. Paced by the clock, so that a stall is followed by what is due."""
    writer.write(HEAD + b"\r\n")
    await _pace(writer, interval)


async def _pace(writer: asyncio.StreamWriter, interval: float) -> None:
    clock = asyncio.get_running_loop().time
    due, sequence = clock(), 0
    while not writer.is_closing():
        writer.write(b"%d %s:%d\n" % (sequence, *_encoded(writer)))
        await writer.drain()
        sequence += 1
        due += interval
        await asyncio.sleep(max(0.0, due - clock()))


async def serve(addresses: Sequence[str], context: ssl.SSLContext | None, ports: Sequence[int] = ()) -> None:
    listeners = []
    for address in addresses:
        await asyncio.start_server(_quietly(http), sock=_when_spoken_to(address, 80), backlog=BACKLOG)
        for port in (443, *ports):
            listeners.append(socket.create_server((address, port), backlog=BACKLOG))
            listeners[-1].setblocking(False)
    print("ready", flush=True)
    await asyncio.gather(*(_accept(listener, context) for listener in listeners))


def _when_spoken_to(address: str, port: int) -> socket.socket:
    """A listener that wakes up for connections on which something was said (TCP_DEFER_ACCEPT, tcp(7)).

    The kernel alone answers the probes that only open and close: most of what arrives here.
    """
    listener = socket.create_server((address, port), backlog=BACKLOG)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFERRED_SECONDS)
    return listener


async def _accept(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        task = loop.create_task(_sort(connection, context))
        tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(tasks.discard)


async def _sort(connection: socket.socket, context: ssl.SSLContext | None) -> None:
    """One port for both: the first byte, left where it is, tells TLS from plain text."""
    loop = asyncio.get_running_loop()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        first = await _first_byte(connection)
        if not first:
            connection.close()
            return
        is_tls = first == TLS_HANDSHAKE and context is not None
        talk = _quietly(https if is_tls else echo)
        reader = asyncio.StreamReader()
        await loop.connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(reader, talk), connection, ssl=context if is_tls else None
        )
    except OSError:  # a reset, or a handshake given up: callers come and go
        connection.close()


async def _first_byte(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
    return connection.recv(1, socket.MSG_PEEK)


def _quietly(talk: Talk) -> Talk:
    async def until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (OSError, ValueError):  # gone, or talking nonsense: either way there is no one to tell
            pass
        finally:
            writer.close()

    return until_gone


async def _request_target(reader: asyncio.StreamReader, first: bytes) -> str:
    request = first.split()
    while (await reader.readline()).strip():
        pass
    return request[1].decode() if len(request) > 1 else "/"


async def _respond(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


def _encoded(writer: asyncio.StreamWriter) -> tuple[bytes, int]:
    address, port = caller(writer)
    return address.encode(), port


def main() -> None:
    parser = argparse.ArgumentParser(description="the lab's internet")
    parser.add_argument("--address", action="append", required=True, help="listen on 80 and 443 here; may be repeated")
    parser.add_argument("--certificate", help="PEM file; without it port 443 speaks plain text only")
    parser.add_argument("--key", help="PEM file of the certificate's key")
    parser.add_argument("--port", action="append", type=int, default=[], help="listen here too, as on 443")
    options = parser.parse_args()
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
    asyncio.run(serve(options.address, context, options.port))


if __name__ == "__main__":
    main()
