//! The peers, a Hubot and an Errbot with one command of their own, and a handler in Node for the bridge; none limits its lines.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tests::{IrcClient, Neighbour, find};
use tokio::time::sleep;

/// The programs; killed when dropped.
pub(crate) struct Bots {
    _hubot: Neighbour,
    _errbot: Neighbour,
    _handler: Neighbour,
}

impl Bots {
    /// Starts them, and waits until each can be asked.
    pub(crate) async fn start(nats_url: &str, bridge_key: &str, irc: SocketAddr) -> Bots {
        let mut handler = handler(nats_url, bridge_key);
        let (hubot, errbot) = (hubot(irc), errbot(irc));
        handler.says("serves ping").await;
        for (channel, line) in [("#hubot", "hubot ping"), ("#errbot", "!ping")] {
            let client = IrcClient::join(irc, &channel.replace('#', "wait-"), channel).await;
            // A line that is said before the bot has joined is heard by nobody.
            while !client.texts().iter().any(|text| text.contains("pong")) {
                client.say(line).await;
                sleep(Duration::from_millis(500)).await;
            }
        }
        Bots { _hubot: hubot, _errbot: errbot, _handler: handler }
    }
}

fn handler(nats_url: &str, bridge_key: &str) -> Neighbour {
    let script = include_str!("../../peers/ping.mjs").to_owned();
    let mut command = Command::new("node");
    command.arg("ping.mjs");
    let env = [("TELLHAL_URL", nats_url.to_owned()), ("TELLHAL_BRIDGE_KEY", bridge_key.to_owned())];
    Neighbour::start(&[("hal.mjs", "hal.mjs")], &[("ping.mjs", script)], command, &env)
}

fn hubot(irc: SocketAddr) -> Neighbour {
    let script =
        "export default (robot) => robot.respond(/ping$/i, (response) => response.reply(\"pong\"));\n";
    let mut command = Command::new("node");
    command.arg(find::node_packages("hubot").join("hubot/bin/Hubot.mjs"));
    command.args(["--file", "./irc.mjs", "--name", "hubot", "--disable-httpd"]);
    let env = [
        ("HUBOT_IRC_SERVER", irc.ip().to_string()),
        ("HUBOT_IRC_PORT", irc.port().to_string()),
        ("HUBOT_IRC_TLS", "false".into()),
        ("HUBOT_IRC_ROOMS", "#hubot".into()),
    ];
    Neighbour::start(&[("hubot/irc.mjs", "irc.mjs")], &[("scripts/ping.mjs", script.into())], command, &env)
}

fn errbot(irc: SocketAddr) -> Neighbour {
    let config = format!(
        "BACKEND = 'IRC'\nBOT_IDENTITY = {{'nickname': 'errbot', 'server': '127.0.0.1', 'port': {}}}\n\
         CHATROOM_PRESENCE = ('#errbot',)\nBOT_ADMINS = ('root!*@*',)\nBOT_EXTRA_PLUGIN_DIR = 'plugins'\nBOT_DATA_DIR = '.'\n\
         BOT_LOG_FILE = None\nBOT_LOG_LEVEL = 20\nCORE_PLUGINS = ('ChatRoom',)\nAUTOINSTALL_DEPS = False\nSTORAGE = 'Memory'\n\
         IRC_CHANNEL_RATE = None\nIRC_PRIVATE_RATE = None\n",
        irc.port()
    );
    let plugin = "from errbot import BotPlugin, botcmd\n\n\nclass Ping(BotPlugin):\n    @botcmd\n    def ping(self, message, text):\n        return 'pong'\n";
    let plug = "[Core]\nName = Ping\nModule = ping\n[Python]\nVersion = 3\n";
    let files =
        [("config.py", config), ("plugins/ping.py", plugin.into()), ("plugins/ping.plug", plug.into())];
    let mut command = Command::new(find::in_venv("errbot", "errbot"));
    command.args(["--config", "config.py"]);
    Neighbour::start(&[], &files, command, &[])
}
