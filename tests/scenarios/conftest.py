"""Scenario tests marked `packets` run inside the lab's sandbox, as those in tests/lab do."""

from tests.lab.conftest import pytest_collection_modifyitems  # noqa: F401
