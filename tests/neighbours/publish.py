"""Publishes plain text under a tag, with nothing but nats-py: python3 publish.py nats://server SOURCE TAG TEXT"""

import asyncio
import sys

import nats


async def main(url: str, source: str, tag: str, text: str) -> None:
    bus = await nats.connect(url)
    # The stream's acknowledgement says that the message is kept.
    ack = await bus.jetstream().publish(f"hal.ops.{source}.{tag}", text.encode())
    print(f"{ack.stream} {ack.seq}")
    await bus.close()


asyncio.run(main(*sys.argv[1:]))
