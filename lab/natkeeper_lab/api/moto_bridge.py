"""Runs one HTTP request through moto's response classes, past moto's own web server.

The gateway calls it. Moto's server (werkzeug and flask) takes 2 to 27 ms a call; this takes about one. May not import
boto3 or flask.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

import moto.backends
import moto.core.responses
import xmltodict
from moto.core.base_backend import AccountSpecificBackend, BackendDict
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import XFormedAttributePicker
from moto.core.utils import get_service_model, method_names_from_class

from natkeeper_lab.api.patches import Patches
from natkeeper_lab.wire import HttpReply, HttpRequest

_methods_once = lru_cache(method_names_from_class)
_valid_names = lru_cache(xmltodict._validate_name)
_SIGNED_AS = {"monitoring": "cloudwatch", "states": "stepfunctions"}
_PARSED = "lab.params"


@dataclass(frozen=True)
class Wire:
    """One request, understood. `protocol` is botocore's name."""

    service: str
    operation: str
    protocol: str
    params: Mapping[str, Any]
    request: Any


def read(http: HttpRequest, region: str) -> Wire:
    """Find service, operation and parameters."""
    scope = http.headers.get("authorization", "").partition("Credential=")[2].split(",")[0].split("/")
    service, region = (scope[3].lower(), scope[2]) if len(scope) >= 5 else ("ec2", region)
    request = Request(_environ(http, f"{service}.{region}.amazonaws.com"))
    if target := http.headers.get("x-amz-target"):
        return Wire(service, target.rsplit(".", 1)[-1], "json", json.loads(http.body or b"{}"), request)
    if action := request.form.get("Action"):
        params, protocol = _query_params(service, action, request)
        return Wire(service, action, protocol, params, request)
    return Wire(service, _rest_operation(service, request), "rest-json", {}, request)


def dispatch(wire: Wire) -> HttpReply:
    """Let moto answer. NotImplementedError when moto has no such operation."""
    path = urlsplit(wire.request.raw_url).path
    for pattern, handler in _handlers(wire.service):
        if pattern.fullmatch(path):
            status, headers, body = handler(wire.request, wire.request.raw_url, wire.request.headers)
            content = body if isinstance(body, bytes) else str(body).encode()
            kept = {k: str(v) for k, v in headers.items() if k.lower() not in ("status", "content-length", "date")}
            return HttpReply(int(status), content, kept)
    raise NotImplementedError(f"moto has no {wire.service} {path}")


def speed_up(patches: Patches, *, has_images: bool) -> None:
    """Moto finds out afresh on every call what never changes, and parses what the gateway has parsed already."""
    patches.replace(moto.core.responses, "method_names_from_class", _methods_once)
    patches.replace(moto.settings, "ec2_load_default_amis", lambda: has_images)
    patches.wrap(XFormedAttributePicker, "get_possible_keys", _keys_once)
    patches.replace(xmltodict, "_validate_name", _valid_names)
    # Moto reads every service's whole model to learn its regions; the lab has one, and every service is there.
    patches.replace(AccountSpecificBackend, "_generate_regions", lambda _self, _service: _regions())
    parse = moto.core.responses.BaseResponse.parse_parameters

    def parse_once(self: Any, request: Any) -> None:
        if (parsed := request.environ.get(_PARSED)) is not None:
            self.params = parsed
        else:
            parse(self, request)

    patches.replace(moto.core.responses.BaseResponse, "parse_parameters", parse_once)


@lru_cache
def _regions() -> list[str]:
    from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

    return [each.name for each in RegionsAndZonesBackend.regions]


def warm_up(services: Iterable[str]) -> None:
    """Read the models of these services now, for processes that are forked later."""
    for service in services:
        protocol = str(get_service_model(service).protocol)
        if protocol == "rest-json":
            get_service_router(service)._get_router(protocol)


def _keys_once(original: Any) -> Any:
    """Which attributes may hold a member depends on the shapes and the object's class only."""
    known: dict[Any, list[str]] = {}

    def get_possible_keys(self: Any, context: Any) -> list[str]:
        shape = context.shape
        parent = getattr(shape, "parent", None)
        model = context.service_model.service_name if context.service_model else None
        place = (model, context.key, shape and shape.name, parent and parent.name, type(context.obj))
        if (keys := known.get(place)) is None:
            keys = known[place] = list(dict.fromkeys(original(self, context)))
        return keys

    return get_possible_keys


def _environ(http: HttpRequest, host: str) -> dict[str, Any]:
    path, _, query = http.target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": http.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path),
        "RAW_URI": http.target,
        "QUERY_STRING": query,
        "SERVER_NAME": host,
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(http.body),
        "CONTENT_LENGTH": str(len(http.body)),
        "CONTENT_TYPE": http.headers.get("content-type", ""),
    }
    for name, value in http.headers.items():
        if name not in ("content-type", "content-length"):
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    environ["HTTP_HOST"] = host
    return environ


def _query_params(service: str, action: str, request: Any) -> tuple[Mapping[str, Any], str]:
    model = get_service_model(_SIGNED_AS.get(service, service))
    protocol = str(determine_request_protocol(model, request.content_type))
    parser = PROTOCOL_PARSERS[protocol](model.operation_model(action))
    parsed: dict[str, Any] = parser.parse(
        {
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": request.data,
            "url_path": request.path,
            "url_params": {},
        }
    )
    if service == "ec2":
        request.environ[_PARSED] = parsed
    return parsed, protocol


def _rest_operation(service: str, request: Any) -> str:
    if service == "lambda" and request.path.endswith("/invocations"):
        return "Invoke"
    return f"{request.method} {request.path}"


@lru_cache
def _handlers(service: str) -> list[tuple[re.Pattern[str], Any]]:
    found = moto.backends.get_backend(_SIGNED_AS.get(service, service))
    backend = found["123456789012"] if isinstance(found, BackendDict) else found
    regional = backend["us-east-1"] if "us-east-1" in backend else backend["aws"]
    return [(re.compile(path), handler) for path, handler in regional.url_paths.items()]
