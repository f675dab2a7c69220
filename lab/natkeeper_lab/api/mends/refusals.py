"""The EC2 errors that moto lacks, with AWS's codes. Mends raise them. May not import boto3.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from moto.ec2.exceptions import EC2ClientError


def incorrect_state(instance_id: str, wanted: str) -> Exception:
    message = f"The instance '{instance_id}' is not in a state from which it can be {wanted}."
    return _error("IncorrectInstanceState", message)


def several_interfaces(instance_id: str) -> Exception:
    return _error(
        "InvalidInstanceID",
        f"There are multiple interfaces attached to instance '{instance_id}'. "
        "Please specify an interface ID for the operation instead.",
    )


def parameter_value(message: str) -> Exception:
    return _error("InvalidParameterValue", message)


def refused(code: str, message: str) -> Exception:
    """Any other code."""
    return _error(code, message)


def _error(code: str, message: str) -> Exception:
    error: Exception = EC2ClientError(code, message)
    return error
