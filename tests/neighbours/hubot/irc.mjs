// An IRC adapter for Hubot 14 over irc-framework: channels and private messages, no more. The npm package hubot-irc is for Hubot 2.
//   HUBOT_IRC_SERVER=irc.example.com HUBOT_IRC_PORT=6667 HUBOT_IRC_ROOMS='#ops' npx hubot --file ./irc.mjs --name hubot
import { Adapter, TextMessage } from "hubot";
import { Client } from "irc-framework";

class Irc extends Adapter {
  #client = new Client();

  async send({ room }, ...texts) {
    for (const text of texts) this.#client.say(room, text);
  }

  async reply(envelope, ...texts) {
    await this.send(envelope, ...texts.map((text) => `${envelope.user.name}: ${text}`));
  }

  async run() {
    const { HUBOT_IRC_SERVER: host, HUBOT_IRC_PORT: port = 6697, HUBOT_IRC_ROOMS: rooms = "", HUBOT_IRC_TLS } = process.env;
    const missing = new Set(rooms.split(","));
    const client = this.#client;
    client.on("registered", () => missing.forEach((room) => client.join(room)));
    client.on("userlist", ({ channel }) => {
      // Scripts are loaded once Hubot is in its rooms, so that they can post.
      if (missing.delete(channel) && missing.size === 0) this.emit("connected");
    });
    client.on("privmsg", ({ nick, target, message }) => {
      const room = target === client.user.nick ? nick : target;
      this.receive(new TextMessage(this.robot.brain.userForId(nick, { name: nick, room }), message));
    });
    client.connect({ host, port, nick: this.robot.name, tls: HUBOT_IRC_TLS !== "false" });
  }

  close() {
    this.#client.quit();
  }
}

export default { use: (robot) => new Irc(robot) };
