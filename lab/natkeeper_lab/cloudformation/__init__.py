"""A CloudFormation template with one user's parameters: refused, or reduced to resources that exist and plain values.

`api.mends.stacks` puts it before moto's CloudFormation, which checks no constraint, ignores `Rules`, and trips over
conditions inside lists. Pure: may not import moto, boto3 or natkeeper.
"""

from natkeeper_lab.cloudformation.evaluate import Reader, broken_rules, reduced
from natkeeper_lab.cloudformation.parameters import Account, RefusedError, resolve

__all__ = ["Account", "Reader", "RefusedError", "broken_rules", "reduced", "resolve"]
