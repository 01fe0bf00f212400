"""An XMPP client for the tests: prosody.py PORT JID PASSWORD. Sends each line of standard input as a stanza, and writes what it
receives as JSON, a line each."""

import asyncio
import json
import sys
import threading

import slixmpp

CLIENT, USER = "{jabber:client}", "{http://jabber.org/protocol/muc#user}"


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, password):
        super().__init__(jid, password)
        self.enable_starttls = False
        self.enable_direct_tls = False
        self.enable_plaintext = True
        self.plugin["feature_mechanisms"].unencrypted_plain = True
        self.add_event_handler("session_start", self.start)
        for kind in ("message", "presence"):
            path = slixmpp.xmlstream.matcher.MatchXPath(CLIENT + kind)
            self.register_handler(slixmpp.xmlstream.handler.Callback("any " + kind, path, self.show))

    async def start(self, _event):
        self.send_presence()
        threading.Thread(target=self.read, daemon=True).start()
        tell({"kind": "ready"})

    def read(self):
        for line in sys.stdin:
            self.loop.call_soon_threadsafe(self.send_raw, line.rstrip("\n"))

    def show(self, stanza):
        xml = stanza.xml
        replaces = xml.find("{urn:xmpp:message-correct:0}replace")
        tell({
            "kind": xml.tag.removeprefix(CLIENT),
            "from": xml.get("from", ""),
            "type": xml.get("type", ""),
            "id": xml.get("id", ""),
            "replaces": "" if replaces is None else replaces.get("id"),
            "body": xml.findtext(CLIENT + "body", ""),
            "is_old": xml.find("{urn:xmpp:delay}delay") is not None,
            "codes": [int(status.get("code")) for status in xml.findall(f"{USER}x/{USER}status")],
        })


def tell(event):
    print(json.dumps(event), flush=True)


async def main(port, jid, password):
    client = Client(jid, password)
    client.connect("127.0.0.1", int(port))
    await client.disconnected


asyncio.run(main(*sys.argv[1:]))
