"""nats-py: python3 nats_oneshot.py ADDRESS SUBJECT TEXT publishes one message and waits for the stream."""

import asyncio
import sys
import uuid

import nats


async def main(address, subject, text):
    client = await nats.connect(f"nats://{address}")
    await client.jetstream().publish(subject, text.encode(), headers={"Nats-Msg-Id": uuid.uuid4().hex})
    await client.close()


asyncio.run(main(*sys.argv[1:]))
