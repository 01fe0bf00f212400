"""A Matrix client for the tests: matrix_client.py HOMESERVER USER TOKEN ROOM. Says each line of standard input in the room, and writes the
messages of others there as JSON, a line each."""

import asyncio
import json
import sys
import threading

import nio


async def main(homeserver, user, token, room):
    client = nio.AsyncClient(homeserver, user)
    client.restore_login(user, "nio", token)
    loop = asyncio.get_running_loop()

    def show(source, event):
        if source.room_id == room and event.sender != user:
            content = event.source["content"]
            tell({"sender": event.sender, "body": content.get("m.new_content", content)["body"], "type": content["msgtype"]})

    def read():
        for line in sys.stdin:
            content = {"msgtype": "m.text", "body": line.rstrip("\n")}
            asyncio.run_coroutine_threadsafe(client.room_send(room, "m.room.message", content), loop)

    await client.sync(full_state=True)
    client.add_event_callback(show, nio.RoomMessage)
    tell({"sender": "", "body": "", "type": "ready"})
    threading.Thread(target=read, daemon=True).start()
    await client.sync_forever(timeout=30000)


def tell(message):
    print(json.dumps(message), flush=True)


asyncio.run(main(*sys.argv[1:]))
