"""The environment variables of a function process: Lambda's own, the function's, and nothing of this machine's.

Called by `runtime.host`. https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from natkeeper_lab.runtime.artefact import runtime_folder

_INTERPRETER = ("PATH", "LD_LIBRARY_PATH")


def variables(
    name: str,
    handler: str,
    memory_mb: int,
    region: str,
    code: Path,
    runtime: str,
    log: tuple[str, str],
    own: Mapping[str, str],
) -> dict[str, str]:
    """`own` is what the function's configuration and the lab add; it cannot change what Lambda reserves. `log` is the
    group and the stream.

    The credentials are the lab's, which mean nothing. HOME is no variable of Lambda's: without it botocore would look
    into this user's own ~/.aws.
    """
    lambdas = {
        "_HANDLER": handler,
        "AWS_DEFAULT_REGION": region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": log[0],
        "AWS_LAMBDA_LOG_STREAM_NAME": log[1],
        "AWS_REGION": region,
        "HOME": str(code),
        "LAMBDA_RUNTIME_DIR": str(runtime_folder()),
        "LAMBDA_TASK_ROOT": str(code),
        "PYTHONDONTWRITEBYTECODE": "1",  # /var/task is read-only
        "PYTHONPATH": os.pathsep.join((str(code), str(runtime_folder()))),
        "TZ": ":UTC",
    }
    defaults = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "lab", "LANG": "en_US.UTF-8"}
    found = {key: os.environ[key] for key in _INTERPRETER if key in os.environ}
    return {**found, **defaults, **own, **lambdas}
