"""Instance metadata, version 2, as a guest sees it at 169.254.169.254.

Called by `network.guest` at boot. The server is a thread of the lab; only its socket lives with the interface.
May not import boto3, moto or anything of `api`.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from natkeeper_lab.network.interface import METADATA_ADDRESS, Interface
from natkeeper_lab.network.kernel import Kernel

HOP_LIMIT = 1  # what the launch template sets: answers reach the guest, and nobody behind it
POLL_SECONDS = 0.02  # how long switching a guest off waits for its server


class Metadata:
    """Answers from the moment it exists until closed."""

    def __init__(self, kernel: Kernel, interface: Interface, instance_id: str, user_data: str) -> None:
        listener = kernel.inside(interface.namespace, _listen)
        handler = type("Handler", (_Handler,), {"answers": _answers(interface, instance_id, user_data)})
        self._server = ThreadingHTTPServer((METADATA_ADDRESS, 80), handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name=f"metadata {instance_id}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _listen() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, HOP_LIMIT)
    listener.bind((METADATA_ADDRESS, 80))
    listener.listen(64)
    return listener


def _answers(interface: Interface, instance_id: str, user_data: str) -> Callable[[str], str | None]:
    """Read at each request: a secondary address assigned later shows up, as on EC2."""

    def answer(path: str) -> str | None:
        _, _, asked = path.lstrip("/").partition("/")  # of whatever version: the lab has only one
        leaves = _leaves(interface, instance_id)
        if asked == "user-data":
            return user_data
        return leaves[asked] if asked in leaves else _listing(leaves, asked)

    return answer


def _leaves(interface: Interface, instance_id: str) -> dict[str, str]:
    """What boot scripts ask for, and what cloud-init needs to find EC2 (its DataSourceEc2)."""
    mac, primary = interface.guest_mac, interface.addresses[0]
    name = f"ip-{primary.replace('.', '-')}.ec2.internal"
    own = f"meta-data/network/interfaces/macs/{mac}"
    return {
        "meta-data/ami-id": "ami-0123456789abcdef0",
        "meta-data/hostname": name,
        "meta-data/instance-id": instance_id,
        "meta-data/local-hostname": name,
        "meta-data/local-ipv4": primary,
        "meta-data/mac": mac,
        "meta-data/placement/availability-zone": "eu-central-1a",
        f"{own}/device-number": "0",
        f"{own}/interface-id": interface.interface_id,
        f"{own}/local-ipv4s": "\n".join(interface.addresses),
        f"{own}/mac": mac,
        f"{own}/subnet-ipv4-cidr-block": str(interface.subnet),
        "dynamic/instance-identity/document": '{"region": "eu-central-1"}',
    }


def _listing(leaves: Iterable[str], folder: str) -> str | None:
    """The names in a folder, those of folders with a slash; None when there is no such folder."""
    prefix = folder.rstrip("/") + "/"
    names = [leaf.removeprefix(prefix).partition("/")[:2] for leaf in leaves if leaf.startswith(prefix)]
    return "\n".join(dict.fromkeys(name + slash for name, slash in names)) or None


class _Handler(BaseHTTPRequestHandler):
    answers: Callable[[str], str | None]
    token = secrets.token_urlsafe(32)
    wbufsize = -1  # one write per answer: unbuffered, it meets delayed acknowledgements
    disable_nagle_algorithm = True

    def do_PUT(self) -> None:
        if self.path != "/latest/api/token":
            self._send(404, "")
        elif not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
            self._send(400, "")
        else:
            self._send(200, self.token)

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != self.token:
            self._send(401, "")
            return
        body = type(self).answers(self.path)
        self._send(404, "") if body is None else self._send(200, body)

    def _send(self, status: int, body: str) -> None:
        payload = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads an access log of the lab."""
