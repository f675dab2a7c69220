"""Clients are ready for their first call: models, authorities and what a call needs are there before an event is."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from natkeeper.adapters import clients, ec2, ledger, prober
from natkeeper.adapters.clients import SERVICES, Clients, read_once
from natkeeper.wiring import CALL, _hold, _look_and_move, _start
from tools.trim_model import OPERATIONS, trimmed

NOBODY = "https://127.0.0.1:1"
HASTY = CALL.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_ENDPOINT_URL": NOBODY,
    }.items():
        monkeypatch.setenv(name, value)


def ours(service: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = clients._Models([str(clients.MODELS)]).load_service_model(service, "service-2")
    return found


ADAPTERS = {"ec2": ec2, "dynamodb": ledger, "lambda": prober}


@pytest.mark.parametrize("service", OPERATIONS)
def test_a_model_has_every_operation_that_its_adapter_calls(service: str) -> None:
    source = Path(str(ADAPTERS[service].__file__)).read_text("utf-8")
    called = set(re.findall(r"\b(?:_client|_patient\(\)|client)\.(?!meta|exceptions|get_paginator)(\w+)\(", source))
    called |= set(re.findall(r'get_paginator\("(\w+)"\)', source))
    spelt = {"".join(word.title() for word in name.split("_")) for name in called}
    assert spelt == set(OPERATIONS[service]) == set(ours(service)["operations"])


@pytest.mark.parametrize("service", OPERATIONS)
def test_a_model_says_what_botocores_says(service: str) -> None:
    """A botocore with more members than ours has is no fault; one that spells a member otherwise is."""
    kept, again = ours(service), trimmed(service)
    assert {name: each.get("input") for name, each in kept["operations"].items()} == {
        name: each.get("input") for name, each in again["operations"].items()
    }
    for name, shape in kept["shapes"].items():
        theirs = again["shapes"][name]
        assert shape["type"] == theirs["type"], name
        assert shape.get("members", {}).items() <= theirs.get("members", {}).items(), name
        assert shape.get("member") == theirs.get("member"), name


@pytest.mark.parametrize("region", ["us-east-1", "eu-south-2", "cn-north-1", "us-gov-west-1", "xx-nowhere-9"])
@pytest.mark.parametrize("service", SERVICES)
def test_endpoints_are_botocores(monkeypatch: pytest.MonkeyPatch, service: str, region: str) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    theirs = botocore.session.get_session().create_client(service, region_name=region)
    assert Clients().make(service, CALL).meta.endpoint_url == theirs.meta.endpoint_url


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_found(service: str) -> None:
    made = Clients().make(service, CALL)
    assert made.meta.service_model.service_name == service


@pytest.mark.parametrize(("service", "rehearsal"), [("ec2", _look_and_move), ("dynamodb", _hold), ("lambda", _start)])
def test_a_rehearsal_never_reaches_the_network(service: str, rehearsal: Any) -> None:
    made = Clients().make(service, HASTY, rehearsal)
    with pytest.raises(EndpointConnectionError):
        rehearsal(made)


class Recorded(ssl.SSLContext):
    """Counts what it reads."""

    read: list[object]

    def load_verify_locations(self, cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
        self.read.append(cafile or capath or cadata)


def test_a_file_of_authorities_is_read_once() -> None:
    made = Recorded(ssl.PROTOCOL_TLS_CLIENT)
    made.read = []
    read_once(made)
    for _ in range(3):
        made.load_verify_locations("authorities.pem")
        made.load_verify_locations(cafile="others.pem")
    made.load_verify_locations(cadata="in memory")
    made.load_verify_locations(cadata="in memory")
    assert made.read == ["authorities.pem", "others.pem", "in memory", "in memory"]


def test_all_clients_have_one_context_that_has_read_the_authorities() -> None:
    together = Clients()
    pools = [
        together.make(service, CALL)._endpoint.http_session._manager.connection_pool_kw["ssl_context"]
        for service in ("ec2", "dynamodb", "lambda")
    ]
    assert pools[0] is pools[1] is pools[2]
    assert pools[0].cert_store_stats()["x509_ca"] > 10


def test_a_botocore_that_keeps_its_context_elsewhere_still_makes_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object) -> None:
        raise AttributeError("_manager")

    monkeypatch.setattr(Clients, "_lend_trust", nowhere)
    assert Clients().make("ec2", CALL).meta.service_model.service_name == "ec2"
