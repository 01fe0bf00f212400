"""Prints tag and contents of every ops message, with nothing but nats-py: python3 subscribe.py [nats://user:password@server]"""

import asyncio
import json
import sys

import nats


def contents(payload: bytes) -> str:
    """Our messages are JSON objects with a version; everything else is plain text."""
    text = payload.decode(errors="replace")
    try:
        message = json.loads(text)
    except ValueError:
        return text
    if isinstance(message, dict) and "v" in message:
        return message.get("text") or message.get("title") or ""
    return text


async def main(url: str) -> None:
    bus = await nats.connect(url)
    messages = await bus.subscribe("hal.ops.>")
    await bus.flush()
    print("listening", file=sys.stderr, flush=True)
    async for message in messages.messages:
        # hal . ops . source . tag, which has dots of its own
        tag = message.subject.split(".", 3)[3]
        print(f"{tag}: {contents(message.data)}", flush=True)


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))
