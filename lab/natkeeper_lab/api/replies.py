"""Error replies in each AWS wire protocol, and the error code read back out of any reply.

The gateway uses both. May not import moto or boto3.
"""

from __future__ import annotations

import json
import re
import uuid
from xml.sax.saxutils import escape

from natkeeper_lab.faults import Refusal
from natkeeper_lab.wire import HttpReply

_XML_CODE = re.compile(rb"<Code>([^<]*)</Code>")


def refuse(protocol: str, refusal: Refusal, **members: str) -> HttpReply:
    """`protocol` is botocore's name: ec2, query, json or rest-json; further `members` are for the latter two."""
    request_id = str(uuid.uuid4())
    code, message = escape(refusal.code), escape(refusal.message)
    if protocol == "ec2":
        body = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        )
        return HttpReply(refusal.status, body.encode(), {"content-type": "text/xml;charset=UTF-8"})
    if protocol == "query":
        side = "Sender" if refusal.status < 500 else "Receiver"
        body = (
            f"<ErrorResponse><Error><Type>{side}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return HttpReply(refusal.status, body.encode(), {"content-type": "text/xml"})
    payload = json.dumps({"__type": refusal.code, "message": refusal.message, **members}).encode()
    headers = {
        "content-type": "application/json" if protocol == "rest-json" else "application/x-amz-json-1.0",
        "x-amzn-errortype": refusal.code,
        "x-amzn-requestid": request_id,
    }
    return HttpReply(refusal.status, payload, headers)


def error_code(reply: HttpReply) -> str | None:
    """The error code of a refusal, None for a success."""
    if reply.status < 300:
        return None
    if found := _XML_CODE.search(reply.body):
        return found.group(1).decode()
    headers = {name.lower(): value for name, value in reply.headers.items()}
    named = headers.get("x-amzn-errortype", "")
    if not named:
        try:
            named = str(json.loads(reply.body).get("__type", ""))
        except (ValueError, AttributeError):
            named = ""
    return named.split("#")[-1].split(":")[0] or str(reply.status)
