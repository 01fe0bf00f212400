"""Answers a chat command of hal-bridge: a NATS service that takes only the requests that the bridge has signed.

Needs nats-py and PyNaCl. Decides nothing about rights: the bridge does, before it asks. handler.py shows its use.
"""

import base64
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from nats.aio.client import Client
from nats.micro import Request, Service, add_service

# The time after which the bridge's request is not begun any more; its clock may differ by as much.
FRESH = timedelta(seconds=60)


class Failed(Exception):
    """Ends a command with a failed answer: the text of the exception."""


class Refused(Exception):
    """The reason why a request is not handled."""


def contents(payload: bytes) -> str:
    """The text of an ops message: our messages are JSON objects with a version, everything else is plain text."""
    text = payload.decode(errors="replace")
    try:
        message = json.loads(text)
    except ValueError:
        return text
    if isinstance(message, dict) and "v" in message:
        return message.get("text") or message.get("title") or ""
    return text


class Gate:
    """Takes a request if one of the bridge's keys has signed it for this subject, it is fresh, and its id is new."""

    def __init__(self, bridge_keys: list[str]) -> None:
        # A public nkey in base32 is a byte for its type, the 32 bytes of the Ed25519 key, and two of a checksum.
        self._keys = {key: VerifyKey(base64.b32decode(key)[1:33]) for key in bridge_keys}
        self._taken: dict[str, datetime] = {}

    def take(self, subject: str, headers: dict[str, str] | None, payload: bytes) -> dict:
        headers = headers or {}
        key = self._keys.get(headers.get("Hal-Key", ""))
        if key is None:
            raise Refused("it is not signed, or with another key")
        try:
            key.verify(payload, base64.b64decode(headers.get("Hal-Signature", "")))
        except (BadSignatureError, ValueError) as error:
            raise Refused("its signature is wrong") from error
        request = json.loads(payload)
        if request["v"] != 1:
            raise Refused(f"version {request['v']} of requests is not known here")
        if request["subject"] != subject:
            raise Refused(f"it was signed for {request['subject']}")
        now, expires = datetime.now(timezone.utc), datetime.fromisoformat(request["expires"])
        if not now <= expires <= now + 2 * FRESH:
            raise Refused(f"it expires at {request['expires']}, and the time here is {now:%FT%TZ}")
        # An older one is refused for its age.
        self._taken = {id: until for id, until in self._taken.items() if until >= now}
        if request["id"] in self._taken:
            raise Refused("it came before")
        self._taken[request["id"]] = expires
        return request


Progress = Callable[[str], Awaitable[None]]


async def serve(
    bus: Client,
    bridge_keys: list[str],
    name: str,
    answer: Callable[[dict, Progress], Awaitable[str]],
    usage: str = "",
    about: str = "",
    prefix: str = "hal",
) -> Service:
    """Serves the command `name`: `answer(request, progress)` returns the answer's text or raises `Failed`.

    Requests are handled one after the other.
    """
    gate, host = Gate(bridge_keys), socket.gethostname()

    async def handle(message: Request) -> None:
        async def reply(**body) -> None:
            await message.respond(json.dumps({"v": 1, **body}).encode())

        try:
            request = gate.take(message.subject, message.headers, message.data)
            if "cancel" in request:
                return  # It would end an earlier request, which this example cannot.
            await reply(answer=await answer(request, lambda line: reply(progress=line)), host=host)
        except Refused as why:
            await reply(answer=f"the handler on {host} refuses the request: {why}", failed=True, host=host)
        except Failed as why:
            await reply(answer=str(why), failed=True, host=host)
        except Exception:
            logging.exception("%s failed", name)
            await reply(answer=f"{name} failed; the log of its handler says why", failed=True, host=host)

    service = await add_service(bus, name="commands", version="1.0.0", metadata={"host": host})
    metadata = {"usage": usage or name, "help": about}
    await service.add_endpoint(name=name, subject=f"{prefix}.cmd.{name}", handler=handle, metadata=metadata)
    # For `NAME --each`, which asks every instance: a queue group that no other instance is in.
    await service.add_endpoint(
        name=f"{name}_each", subject=f"{prefix}.cmd._each.{name}", handler=handle, queue_group=service.id, metadata=metadata
    )
    await bus.flush()
    return service
