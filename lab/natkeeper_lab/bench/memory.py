"""How much memory function processes hold, read from the kernel, beside what an interpreter holds that does nothing.

Called by `bench.month`. Knows processes by what Lambda's contract puts in their environment, so that it does not
matter what hosts them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

INTERPRETER = "pass"
CLIENTS = "import boto3; boto3.client('ec2'); boto3.client('dynamodb')"
REPORT = "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')][0])"


def resident_mb(function: str) -> float | None:
    """The largest resident set of the function's live processes, in MiB; None when it has none."""
    found = [
        size
        for each in Path("/proc").iterdir()
        if each.name.isdigit() and f"AWS_LAMBDA_FUNCTION_NAME={function}" in _environment(each)
        if (size := _resident(each)) is not None
    ]
    return max(found, default=None)


def bare_mb(code: str) -> float:
    """What a fresh interpreter holds once it has run the code."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    aws = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{REPORT}"], env={**kept, **aws}, capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def _environment(process: Path) -> list[str]:
    try:
        return (process / "environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it ended meanwhile, or is not ours
        return []


def _resident(process: Path) -> float | None:
    try:
        found = re.search(r"^VmRSS:\s+(\d+) kB", (process / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None
