"""Mend: DryRun never changes anything. Installed by `api.mends`. May not import boto3."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import DryRunClientError
from moto.ec2.responses import EC2Response

from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World


def install(patches: Patches, _world: World) -> None:
    patches.wrap(EC2Response, "call_action", refuse_dry_runs)


def refuse_dry_runs(original: Any) -> Any:
    """Moto applies many dry runs, ReplaceRoute among them.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html (DryRun)
    """

    def call_action(self: Any) -> Any:
        if str(self.params.get("DryRun", "")).lower() == "true":
            _, headers, body = self.serialized(ActionResult(DryRunClientError()))
            return 412, headers, body
        return original(self)

    return call_action
