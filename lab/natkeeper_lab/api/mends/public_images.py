"""Mend: the public parameters under which Debian and Canonical publish their images; moto knows Amazon's own.

Installed by `api.mends`. May not import boto3.
https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
"""

from __future__ import annotations

from typing import Any

from moto.core.utils import unix_time
from moto.ssm.models import Parameter, SimpleSystemManagerBackend

from natkeeper_lab.api.patches import Patches
from natkeeper_lab.api.world import World

# Names: docs/nat-instance.md. The ids are the lab's own.
IMAGES = {
    "/aws/service/debian/release/12/latest/arm64": "ami-0debd12a640000000",
    "/aws/service/debian/release/13/latest/arm64": "ami-0debd13a640000000",
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id": "ami-0cab2404a64000000",
}


def install(patches: Patches, _world: World) -> None:
    patches.wrap(SimpleSystemManagerBackend, "get_parameter", know_public_images)


def know_public_images(original: Any) -> Any:
    def get_parameter(self: Any, name: str) -> Any:
        found = original(self, name)
        return _public(self.account_id, name) if found is None and name in IMAGES else found

    return get_parameter


def _public(account_id: str, name: str) -> Parameter:
    return Parameter(
        account_id=account_id,
        name=name,
        value=IMAGES[name],
        parameter_type="String",
        description=None,
        allowed_pattern=None,
        keyid=None,
        last_modified_date=unix_time(),
        version=1,
        data_type="aws:ec2:image",
    )
