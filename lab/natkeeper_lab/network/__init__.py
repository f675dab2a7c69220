"""The lab's packet plane: a VPC built of Linux namespaces. `Network` is the way in.

May not import boto3, moto or anything of `api`.
"""

from natkeeper_lab.network.gateway import CANARY, INTERNET, INTERNET_ADDRESSES, LAB_ADDRESS, TARGETS, WEB
from natkeeper_lab.network.guest import BootResult
from natkeeper_lab.network.network import Network

__all__ = ["CANARY", "INTERNET", "INTERNET_ADDRESSES", "LAB_ADDRESS", "TARGETS", "WEB", "BootResult", "Network"]
