"""A copy with some fields changed is what `dataclasses.replace` would make of it, whatever was worked out meanwhile."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any, cast

import pytest

from natkeeper.core.copying import replace
from natkeeper.core.incident import Memory


@dataclasses.dataclass(frozen=True)
class Worked:
    """One that remembers what it works out."""

    side: int
    colour: str = "red"

    @cached_property
    def area(self) -> int:
        return self.side**2


def test_only_the_named_fields_change_and_the_original_none() -> None:
    before = Memory(target="eni-1", is_down=True)
    after = replace(before, target="eni-2")
    assert after == dataclasses.replace(before, target="eni-2")
    assert before == Memory(target="eni-1", is_down=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        after.is_down = False  # type: ignore[misc]


def test_what_was_worked_out_for_the_original_is_not_the_copys() -> None:
    before = Worked(3)
    assert before.area == 9
    assert replace(before, side=4).area == 16


def test_a_field_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError):
        replace(cast(Any, Memory()), colour="red")
