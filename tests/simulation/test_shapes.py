"""The simulated AWS speaks in the shapes of botocore's own models, and the adapters' requests are ones that it takes.

Every call of many worlds is held against the service's model: no member that the real service does not know, none of
another type, no string outside its enumeration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore.model import Shape
from botocore.validate import ParamValidator

from natkeeper_lab.simulation import campaign
from natkeeper_lab.simulation.api import Api, Call, Rule
from natkeeper_lab.simulation.errors import ApiError, NoAnswer
from natkeeper_lab.simulation.functions import Functions
from natkeeper_lab.simulation.replay import Replay, play
from natkeeper_lab.simulation.situations import SITUATIONS
from natkeeper_lab.simulation.world import World

SEEDS = range(40, 100)
"""As many of them are played as it takes until every operation was called: which these are changes with the faults."""
OPERATIONS = {
    *(("ec2", each) for each in ("DescribeInstances", "DescribeRouteTables", "DescribeAddresses")),
    *(("ec2", each) for each in ("DescribeInstanceStatus", "DescribeSpotInstanceRequests")),
    *(("ec2", each) for each in ("ReplaceRoute", "CreateRoute", "AssociateAddress", "RunInstances")),
    *(("ec2", each) for each in ("ModifyNetworkInterfaceAttribute", "StartInstances", "StopInstances")),
    *(("ec2", each) for each in ("TerminateInstances", "DisassociateAddress")),
    *(("dynamodb", each) for each in ("Query", "UpdateItem", "PutItem")),
    ("lambda", "Invoke"),
}
Seen = tuple[str, str, Mapping[str, Any], Any]


@pytest.fixture(scope="module")
def calls() -> list[Seen]:
    """(service, operation, request, answer) of every call of some worlds; answers that are errors are left out."""
    seen: list[Seen] = []
    patch = pytest.MonkeyPatch()
    effect, submit = Api._effect, Functions.submit

    def note_effect(api: Api, call: Call, rule: Rule | None) -> Any:
        answer = effect(api, call, rule)
        seen.append((call.service, call.operation, dict(call.params), answer))
        return answer

    def note_invoke(functions: Functions, call: Call, is_waited_for: bool, patience: int, resume: Any) -> None:
        def note(answer: Any) -> None:
            if not isinstance(answer, (ApiError, NoAnswer)):
                seen.append((call.service, call.operation, dict(call.params), answer))
            resume(answer)

        submit(functions, call, is_waited_for, patience, note)

    patch.setattr(Api, "_effect", note_effect)
    patch.setattr(Functions, "submit", note_invoke)
    for name in SITUATIONS:
        play(Replay(name))
    begin = World.start

    def begin_with_short_pages(world: World) -> None:
        world.api.page_size = 1
        begin(world)

    patch.setattr(World, "start", begin_with_short_pages)
    for seed in SEEDS:
        campaign.play(campaign.schedule_of(seed))
        if {(service, operation) for service, operation, _, _ in seen} >= OPERATIONS:
            break
    patch.undo()
    return seen


WITHOUT_ANSWER = ("ReplaceRoute", "ModifyNetworkInterfaceAttribute", "DisassociateAddress")


@cache
def shapes(service: str, operation: str) -> tuple[Shape, Shape]:
    model = botocore.session.get_session().get_service_model(service).operation_model(operation)
    assert model.input_shape is not None
    assert model.output_shape is not None or operation in WITHOUT_ANSWER
    return model.input_shape, model.output_shape


def wrong_with(shape: Shape | None, value: Mapping[str, Any]) -> str:
    """What the model does not know of it; empty when it is all right."""
    if shape is None:
        return "" if not value else f"an answer to a call that has none: {value}"
    report = ParamValidator().validate(dict(value), shape)
    return str(report.generate_report()) + "; ".join(outside_enumerations(shape, value))


def outside_enumerations(shape: Shape, value: Any) -> Iterator[str]:
    """botocore checks types and names, but not what an enumeration allows."""
    if shape.type_name == "structure":
        for name, inner in value.items():
            if name in shape.members:
                yield from outside_enumerations(shape.members[name], inner)
    elif shape.type_name == "list":
        for inner in value:
            yield from outside_enumerations(shape.member, inner)
    elif shape.type_name == "string" and getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{value!r} is not in {shape.name}"


def test_every_operation_that_natkeeper_uses_was_called(calls: list[Seen]) -> None:
    assert {(service, operation) for service, operation, _, _ in calls} == OPERATIONS
    assert any("NextToken" in answer for _, _, _, answer in calls)


def test_every_request_of_the_adapters_is_one_that_aws_takes(calls: list[Seen]) -> None:
    for service, operation, request, _ in calls:
        assert not wrong_with(shapes(service, operation)[0], request), (operation, request)


def test_every_answer_has_the_shape_of_the_real_one(calls: list[Seen]) -> None:
    for service, operation, _, answer in calls:
        assert not wrong_with(shapes(service, operation)[1], answer), (operation, answer)


def test_a_member_type_or_word_that_aws_does_not_know_would_be_noticed() -> None:
    shape = shapes("ec2", "DescribeInstances")[1]
    good = {"Reservations": [{"Instances": [{"InstanceId": "i-1", "State": {"Name": "running"}}]}]}
    assert not wrong_with(shape, good)
    assert "Unknown parameter" in wrong_with(shape, {"Reservations": [{"Instances": [{"Id": "i-1"}]}]})
    assert "Invalid type" in wrong_with(shape, {"Reservations": [{"Instances": [{"InstanceId": 1}]}]})
    assert "'gone' is not in" in wrong_with(shape, {"Reservations": [{"Instances": [{"State": {"Name": "gone"}}]}]})
    assert "Missing required" in wrong_with(shapes("ec2", "ReplaceRoute")[0], {"DestinationCidrBlock": "0.0.0.0/0"})
