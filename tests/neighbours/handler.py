"""Answers the chat command `deploy TARGET`: arguments, progress, an answer, a failure.

    pip install nats-py pynacl
    TELLHAL_URL=nats://server TELLHAL_BRIDGE_KEY=UC5C… python3 handler.py      (hal-bridge key prints the key)
"""

import asyncio
import os
import sys

import nats
from hal import Failed, Progress, serve


async def deploy(request: dict, progress: Progress) -> str:
    if request["args"] not in (["staging"], ["production"]):
        raise Failed("it is deploy staging or deploy production")
    [target] = request["args"]
    await progress(f"copying to {target}")
    await asyncio.sleep(0.1)
    # The bridge knows the person, and has looked up that they may.
    return f"{target} is deployed for {request['person']}"


async def main() -> None:
    bus = await nats.connect(os.environ.get("TELLHAL_URL", "nats://127.0.0.1:4222"), max_reconnect_attempts=-1)
    keys = os.environ["TELLHAL_BRIDGE_KEY"].split(",")
    await serve(bus, keys, "deploy", deploy, "deploy TARGET", "deploys the web servers")
    print("serves deploy", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
