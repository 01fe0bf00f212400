"""Posts ops messages into a room of this Errbot, and lets the chat command `note` of hal-bridge ask it.

hal.py is to be beside this file. Environment: TELLHAL_URL, the NATS server; TELLHAL_BRIDGE_KEY, which `hal-bridge key`
prints; TELLHAL_TAG, the tags of the messages, such as backup.>; TELLHAL_ROOM, the room.
"""

import asyncio
import html
import os
import re
import threading
from collections.abc import Coroutine

import nats
from errbot import BotPlugin, botcmd
from hal import Progress, contents, serve
from nats.js.api import ConsumerConfig, DeliverPolicy

PLACE = "listen-errbot-room"


class Tellhal(BotPlugin):
    """Posts ops messages into a room, and keeps a note for all chats."""

    def activate(self) -> None:
        super().activate()
        # Errbot runs plugins in threads, and nats-py needs an event loop: it has one in a thread of its own.
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.run(self.connect()).result(timeout=10)
        self.run(self.post(os.environ["TELLHAL_ROOM"]))

    def deactivate(self) -> None:
        self.run(self.bus.drain()).result(timeout=10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        super().deactivate()

    def run(self, coroutine: Coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    async def connect(self) -> None:
        server = os.environ.get("TELLHAL_URL", "nats://127.0.0.1:4222")
        self.bus = await nats.connect(server, max_reconnect_attempts=-1)
        keys = os.environ["TELLHAL_BRIDGE_KEY"].split(",")
        await serve(self.bus, keys, "note", self.show, about="shows the note that Errbot keeps")

    async def show(self, request: dict, progress: Progress) -> str:
        return self.get("note", "there is no note")

    @botcmd
    def note(self, message, text: str) -> str:
        """Keeps a note, which the command `note` in any chat of hal-bridge shows"""
        self["note"] = text
        return "noted"

    async def post(self, room: str) -> None:
        # The server keeps this Errbot's place in the log, so that nothing is missed while Errbot is down.
        messages = await self.bus.jetstream().pull_subscribe(
            f"hal.ops.*.{os.environ.get('TELLHAL_TAG', '>')}",
            stream="HAL_OPS",
            durable=PLACE,
            config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW),
        )
        while True:
            if not self.query_room(room).joined:
                await asyncio.sleep(0.5)
                continue
            try:
                batch = await messages.fetch(10, timeout=30)
            except nats.errors.TimeoutError:
                continue
            for message in batch:
                # hal . ops . source . tag, which has dots of its own
                tag = message.subject.split(".", 3)[3]
                first = contents(message.data).partition("\n")[0]
                self.send(self.build_identifier(room), plain(f"{tag}: {first}"))
                await message.ack()


def plain(text: str) -> str:
    """The text as it is: Errbot reads what it sends as Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#+.!-])", r"\\\1", html.escape(text, quote=False))
