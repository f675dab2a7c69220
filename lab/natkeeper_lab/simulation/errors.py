"""How the simulated AWS refuses. Raised by `simulation.ec2` and `simulation.dynamo`, turned into botocore's exceptions
by `simulation.client`."""

from __future__ import annotations


class ApiError(Exception):
    """An error answer: AWS's code, its message, and the HTTP status it comes with."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


class NoAnswer(Exception):
    """The connection was cut, or the answer did not come in time; the call may have been applied."""
