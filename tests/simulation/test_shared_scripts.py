"""Stacks share the boot scripts that they would render alike; what a script depends on must not be left out."""

from __future__ import annotations

import pytest

from natkeeper.core.model import Role
from natkeeper.wiring import user_data
from natkeeper_lab.simulation.setting import Setting, launches_of, settings_of

SETTINGS = [
    Setting(zones=1, standby="stopped", tables=3),
    Setting(zones=2, has_canary=False),
    Setting(zones=3, has_gateway=True, quiet=40, run=55, begins="bare"),
    Setting(zones=2, standby="running", instance_types="t4g.small", begins="unknown"),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=repr)
def test_a_shared_script_is_the_one_that_the_stack_would_render(setting: Setting) -> None:
    settings = settings_of(setting)
    for group in settings.policy.groups:
        for role in Role:
            assert launches_of(setting).user_data(group.name, role) == user_data(settings, group.name, role)
