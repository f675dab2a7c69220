"""Handlers for the tests of `natkeeper_lab.runtime`: each misbehaves as its event says. An artefact of its own."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

COUNT: list[int] = []


def handler(event: dict[str, Any], context: Any) -> Any:
    print("handling", context.aws_request_id)
    if "raise" in event:
        raise ValueError(event["raise"])
    if "exit" in event:
        os._exit(event["exit"])
    if "hog_mb" in event:
        hog = bytearray(event["hog_mb"] * 1024 * 1024)
        hog[::4096] = b"x" * len(hog[::4096])  # a page counts once it is written to
    time.sleep(event.get("sleep", 0))
    if "unmarshallable" in event:
        return {"value": object()}
    return {
        "pid": os.getpid(),
        "event": event,
        "request_id": context.aws_request_id,
        "function": context.function_name,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "remaining": context.get_remaining_time_in_millis(),
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        "environment": dict(os.environ),
    }


def importer(event: dict[str, Any], _context: Any) -> dict[str, bool]:
    """Which of these modules this process can import."""
    import importlib.util

    return {name: importlib.util.find_spec(name) is not None for name in event["modules"]}


def surroundings(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Its network namespace, and how connections to these (host, port) fare."""
    import socket

    def attempt(address: tuple[str, int]) -> str:
        try:
            socket.create_connection(address, 1).close()
        except OSError as error:
            return type(error).__name__
        return "ok"

    fates = [attempt((host, port)) for host, port in event["addresses"]]
    return {"namespace": os.readlink("/proc/self/ns/net"), "fates": fates, "api": os.environ["AWS_LAMBDA_RUNTIME_API"]}


def ticking(_event: object, _context: object) -> int:
    """What a thread that counts every 10 ms has come to; between invocations it goes on, if anything does."""
    if not COUNT:
        COUNT.append(0)
        threading.Thread(target=_tick, daemon=True).start()
        time.sleep(0.1)
    return COUNT[0]


def _tick() -> None:
    while True:
        COUNT[0] += 1
        time.sleep(0.01)


def caller(_event: object, _context: object) -> Any:
    """Invokes itself again, as a careless function does, with Amazon's own client; how deep it came."""
    import boto3

    client = boto3.client("lambda")
    try:
        answer = client.invoke(FunctionName=os.environ["AWS_LAMBDA_FUNCTION_NAME"], Payload=b"{}")
    except client.exceptions.RecursiveInvocationException as refused:
        print("refused", type(refused).__name__)
        return 1
    return 1 + int(answer["Payload"].read())


def powertools(event: dict[str, Any], context: Any) -> Any:
    from aws_lambda_powertools import Logger

    logger = Logger(service="lab")

    @logger.inject_lambda_context
    def inner(_event: dict[str, Any], _context: Any) -> str:
        logger.info("probed")
        return "ok"

    return inner(event, context)


if os.environ.get("INIT") == "slow":
    time.sleep(float(os.environ["INIT_SECONDS"]))
if os.environ.get("INIT") == "exit":
    sys.exit(7)
if os.environ.get("INIT") == "slow once" and not os.path.exists(os.environ["MARK"]):
    open(os.environ["MARK"], "w").close()
    time.sleep(60)
