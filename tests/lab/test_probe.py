"""The lab's probe says what became of a connection, however late it comes to look."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from natkeeper_lab.probe import Prober

DEADLINE_NS = 200_000_000
WAITING_PLACES = 1


def sent(port: int) -> Prober:
    """One probe on its way."""
    prober = Prober(("127.0.0.1", port), 5_000_000, DEADLINE_NS)
    prober.send()
    return prober


def test_an_answer_counts_when_it_came_and_not_when_it_was_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        prober = sent(server.getsockname()[1])
        time.sleep(2 * DEADLINE_NS / 1e9)
        prober.collect(0)
    ((began, answered, error),) = prober.rows
    assert error == ""
    assert 0 < int(answered) - int(began) < DEADLINE_NS
    assert not prober.is_waiting


@contextmanager
def full() -> Iterator[tuple[int, socket.socket]]:
    """A server that drops every SYN, for its queue is full: its port, and itself."""
    with ExitStack() as closing:
        server = closing.enter_context(socket.create_server(("127.0.0.1", 0), backlog=WAITING_PLACES))
        port = server.getsockname()[1]
        for _ in range(WAITING_PLACES + 1):
            closing.enter_context(socket.create_connection(("127.0.0.1", port)))
        yield port, server


def test_an_answer_to_a_repeated_syn_is_none() -> None:
    """The first SYN finds no place in the queue and is dropped; there is one when the kernel sends it again."""
    with full() as (port, server):
        prober = sent(port)
        for _ in range(WAITING_PLACES + 1):
            server.accept()[0].close()
        time.sleep(1.5)  # the kernel's second SYN leaves after one
        prober.collect(0)
    assert [row[1:] for row in prober.rows] == [[0, "ETIMEDOUT"]]


def test_no_answer_is_a_time_out() -> None:
    with full() as (port, _):
        prober = sent(port)
        time.sleep(1.5 * DEADLINE_NS / 1e9)
        prober.collect(0)
    assert [row[1:] for row in prober.rows] == [[0, "ETIMEDOUT"]]
