"""The controller's handler as Lambda calls it, with all of AWS in memory: EC2 that applies actions, the ledger's table
as the simulation has it, a clock that stands still. What it logs and answers is checked as Lambda would carry it.

Used by the hostile generators: a wake-up takes a millisecond, so that thousands fit into `make test`.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from io import StringIO
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from natkeeper import wiring
from natkeeper.adapters.codec import decode, encode
from natkeeper.core.bounds import LEASE
from natkeeper.core.incident import Memory, WatchRun
from natkeeper.core.model import Network
from natkeeper.core.plan import Action
from natkeeper.core.runs import run_id_of
from natkeeper.ports import OwnInstances
from natkeeper_lab.simulation.client import ConditionalCheckFailedException, _exception
from natkeeper_lab.simulation.dynamo import Item, Table
from natkeeper_lab.simulation.errors import ApiError
from tests.support.cloud import environment, forget_cold_start
from tests.support.fakes import Clock, Faults, Prober, Together, Vpc
from tests.support.worlds import STOPPED, T0, World, at, resting, secs

ACCOUNT, REGION = "111122223333", "us-east-1"
INSTANCE = "i-0a1b2c3d4e5f60718"
"""Zone a's NAT, as the payloads in events/ name it."""
ZONES = "ab"
STARTED_AT = at(-5)
"""When the watch run began that is in flight."""


def settings(world: World) -> dict[str, str]:
    """The controller's environment, as template.yaml writes it, for a world of `tests.support.worlds`."""
    found = {
        "NATKEEPER_STACK": "test",
        "NATKEEPER_VPC_ID": "vpc-1",
        "NATKEEPER_INSTANCE_PROFILE": f"arn:aws:iam::{ACCOUNT}:instance-profile/nat",
        "NATKEEPER_INSTANCE_TYPES": "t4g.nano,t4g.micro",
        "NATKEEPER_STANDBY": "none",
        "NATKEEPER_PROBE_TARGETS": "tcp://192.0.2.1:443,tcp://192.0.2.2:443,tcp://192.0.2.3:443",
        "NATKEEPER_CANARY_ADDRESS": "1.0.0.1",
        "NATKEEPER_EGRESS_PROFILE": "all",
        "NATKEEPER_LAUNCH_TEMPLATE": "lt-1",
        "NATKEEPER_LAUNCH_TEMPLATE_VERSION": "1",
        "NATKEEPER_SECURITY_GROUP": "sg-1",
        "NATKEEPER_LEDGER": "ledger",
        "NATKEEPER_TOPIC": f"arn:aws:sns:{REGION}:{ACCOUNT}:topic",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "POWERTOOLS_METRICS_NAMESPACE": "natkeeper",
    }
    for each in world.policy.groups:
        group = {
            "tables": ",".join(each.table_ids),
            "cidr": each.cidr,
            "subnet": each.subnet_id,
            "private": each.private_subnet_id,
            "allocation": each.allocation_id,
            "address": each.public_address,
            "prober": f"natkeeper-prober-{each.name}",
            "gateway": "",
        }
        found[f"NATKEEPER_GROUP_{each.name.upper()}"] = json.dumps(group)
    return found


def quiet_world() -> World:
    """Two zones at rest, a run in flight in each; zone a's NAT has the id that the payloads name."""
    world = resting(ZONES)
    nats = tuple(replace(each, instance_id=_renamed(each.instance_id)) for each in world.seen.instances)
    world.network = replace(world.seen, instances=nats)
    for name in ZONES:
        watch = WatchRun(run_id_of(name, STARTED_AT), STARTED_AT, secs(55))
        world.remember(name, instances=(_renamed(f"i-{name}"),), watch=watch, watch_starts=(STARTED_AT,))
    return world


def _renamed(instance_id: str) -> str:
    return INSTANCE if instance_id == "i-a" else instance_id


def item_of(name: str, memory: Memory) -> Item:
    """A group's item at rest."""
    return {
        "pk": {"S": "group"},
        "sk": {"S": name},
        "epoch": {"N": "7"},
        "holder": {"S": "somebody/1"},
        "lease_until": {"N": "0"},
        "inbox": {"L": []},
        "memory": {"S": json.dumps(encode(memory))},
    }


class Dynamo:
    """boto3.client("dynamodb"), without a wire."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionalCheckFailedException)

    def __init__(self, table: Table) -> None:
        self._table = table

    def query(self, **params: Any) -> Any:
        return self._call("Query", params)

    def update_item(self, **params: Any) -> Any:
        return self._call("UpdateItem", params)

    def put_item(self, **params: Any) -> Any:
        return self._call("PutItem", params)

    def _call(self, operation: str, params: Mapping[str, Any]) -> Any:
        try:
            return self._table.apply(operation, params)
        except ApiError as error:
            raise _exception(error, operation, "dynamodb") from error


@dataclass
class Context:
    """Lambda's."""

    aws_request_id: str = "8a1f6a52-0b1c-4f0e-9d37-2f6d7f0f4b11"
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:controller"

    def get_remaining_time_in_millis(self) -> int:
        return 20_000


@dataclass
class Woken:
    """One wake-up: what was answered, what EC2 was asked to do, and what went wrong on the way out."""

    answer: Any
    done: list[Action]
    faults: list[str] = field(default_factory=list)


class Deployed:
    """The handler and its world. `reset` puts it back to the quiet one in no time."""

    def __init__(self, table: Table) -> None:
        self.world = quiet_world()
        self.table = table
        self.stream = StringIO()
        self.lost: list[str] = []
        """Lines that the logger could not write."""
        self._quiet_network = self.world.seen
        self._quiet_items = {("group", name): item_of(name, each) for name, each in self.world.memories.items()}
        self.module = importlib.import_module("natkeeper.handlers.controller")
        self._built = self.module.CONTROLLER
        self.reset()

    def reset(self) -> None:
        """Everybody at home, the clock at T0, nothing remembered by the process."""
        self.clock = Clock()
        faults = Faults(self.clock)
        self.vpc = Vpc(self._quiet_network, self._built.settings.policy, faults)
        self.prober = Prober(self.vpc, self._built.settings.policy, self.clock, faults)
        self.table.items = dict(self._quiet_items)
        self.controller = replace(
            self._built,
            _vpc=self.vpc,
            _prober=self.prober,
            _together=Together(self.clock),
            _own=OwnInstances(),
        )

    @property
    def network(self) -> Network:
        return self.vpc.network

    def later(self, seconds: float) -> None:
        """So much later, in an invocation of its own."""
        self.clock.instant += secs(seconds)
        self.clock.left = self.clock.instant - T0 + secs(20)

    def wake(self, event: Any) -> Woken:
        """The handler's answer to one event. An exception goes on."""
        before = len(self.vpc.done)
        self.stream.seek(0)
        self.stream.truncate()
        self.lost.clear()
        with redirect_stdout(self.stream):
            answer = self.module.handler(event, Context())
        found = Woken(answer, self.vpc.done[before:])
        found.faults += [*self.lost, *broken_lines(self.stream.getvalue()), *not_encodable(answer)]
        found.faults += self._endless_leases()
        return found

    def _endless_leases(self) -> Iterator[str]:
        """What natkeeper took; what somebody else wrote there is asked of by moving."""
        latest = int((self.clock.now() + LEASE).timestamp() * 1000)
        for (pk, name), item in self.table.items.items():
            holder, until = item.get("holder", {}).get("S", ""), item.get("lease_until", {}).get("N", "0")
            if pk == "group" and holder.startswith(Context.aws_request_id) and int(until) > latest:
                yield f"group {name} is leased until {until}"

    def memory(self, name: str = "a") -> Memory:
        return decode(Memory, json.loads(self.table.items["group", name]["memory"]["S"]))

    def fails_over(self, name: str = "a") -> bool:
        """A lease later the group's NAT stops. Whether the next tick brings its traffic elsewhere."""
        self.later(LEASE / timedelta(seconds=1) + 0.1)
        nat = next(each for each in self.network.instances if each.group == name)
        self.vpc.network = replace(
            self.network,
            instances=tuple(replace(each, state=STOPPED) if each is nat else each for each in self.network.instances),
        )
        self.wake({"natkeeper": {"tick": True}})
        assert nat.interface is not None
        return self.target(name) not in (None, nat.interface.interface_id)

    def hang_is_noticed(self, name: str = "a") -> bool:
        """A lease later the group's NAT hangs, and the run that natkeeper started tells. Whether that moves the traffic
        within two runs."""
        self.later(LEASE / timedelta(seconds=1) + 0.1)
        left = self.target(name)
        assert left is not None
        self.prober.hung.add(left)
        for _ in range(3):
            self.wake({"natkeeper": {"tick": True}})
            watch = self.memory(name).watch
            if watch is not None:
                self.later(5)
                good = max(0, int((self.clock.now() - watch.started_at).total_seconds()) - 4)
                self.wake(self.report(name, watch.run_id, "o" * good + "xxx"))
            if self.target(name) not in (None, left):
                return True
            self.later(20)
        return False

    def target(self, name: str) -> str | None:
        """Where the group's default route leads."""
        route = self.network.tables[f"rtb-{name}"].routes.get("0.0.0.0/0")
        return None if route is None else route.target

    def report(self, name: str, run_id: str, rounds: str, ends_at: datetime | None = None, **fields: Any) -> Any:
        """The record of a run of the group's prober that ended just now; `o` went through, `x` did not."""
        last = ends_at or self.clock.now() - timedelta(milliseconds=200)
        began_at = last - timedelta(seconds=len(rounds) - 1)
        verdict = "down" if rounds.endswith("xxx") else "ended"
        asked = {"group": name, "run_id": run_id, "mode": "watch"}
        payload = {
            **asked,
            "version": 1,
            "verdict": verdict,
            "clock": f"clock-{name}",
            "started_at": began_at.isoformat(),
            "rounds": [[1000.0 * n, int(each == "o"), 8.0 if each == "o" else None] for n, each in enumerate(rounds)],
            "canary": [],
            "egress_address": None,
            "egress_address_ms": None,
            "errors": [],
            **fields,
        }
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:natkeeper-prober-{name}:$LATEST"
        return {
            "version": "1.0",
            "requestContext": {"functionArn": arn, "condition": "Success"},
            "requestPayload": asked,
            "responseContext": {"statusCode": 200},
            "responsePayload": payload,
        }


def broken_lines(text: str) -> Iterator[str]:
    """What of standard output CloudWatch would carry as no line of JSON."""
    if text and not text.endswith("\n"):
        yield "the last line has no end"
    for line in text.splitlines():
        try:
            found = json.loads(line, parse_constant=_no_number)
            line.encode()
        except ValueError as error:
            yield f"line {line[:200]!a}: {error!r}"
        else:
            if not isinstance(found, dict):
                yield f"line {line[:200]!a}: no object"


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def not_encodable(answer: Any) -> Iterator[str]:
    """What of an answer Lambda's runtime could not send (awslambdaric: JSON as it is, then UTF-8)."""
    try:
        json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        yield f"answer {ascii(answer)[:200]}: {error!r}"


@contextmanager
def deployed() -> Iterator[Deployed]:
    """A controller of its own process, as it were: its environment, its logger, no network."""
    forget_cold_start()
    table = Table()
    with ExitStack() as closing:
        closing.callback(forget_cold_start)
        closing.enter_context(environment(settings(quiet_world())))
        closing.enter_context(patch.object(wiring, "_dynamodb", lambda: Dynamo(table)))
        closing.enter_context(patch.object(wiring, "_sns", lambda: SimpleNamespace(publish=lambda **_: {})))
        found = Deployed(table)
        closing.enter_context(patch.object(found.module, "LambdaClock", lambda _: found.clock))
        closing.enter_context(patch.object(found.module, "CONTROLLER", _Following(found)))
        for each in logging.getLogger("natkeeper").handlers:
            closing.enter_context(patch.object(each, "handleError", lambda record: found.lost.append(str(record.msg))))
            if isinstance(each, logging.StreamHandler):
                closing.callback(each.setStream, each.setStream(found.stream))
        yield found


class _Following:
    """The module's controller: whatever the deployment's is after its last reset."""

    def __init__(self, deployment: Deployed) -> None:
        self._deployment = deployment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._deployment.controller, name)
