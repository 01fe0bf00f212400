//! The command line: subcommands, options and help texts. Their implementations are in `commands/`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{OsStringValueParser, PossibleValue, StringValueParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand};
use tellhal::message::{Severity, Status};
use tellhal::tag::Pattern;

use crate::config::Flags;

mod dashes;

const EXAMPLES: &str = "\
Examples:
  tellhal backup.mysql \"Nightly backup finished\"
  df -h / | tellhal -p disk.report
  tellhal -t deploy -s warning --title \"Deploy is slow\" --key web --field host=web1 \"step 3 of 5\"
  tellhal run -t backup.mysql -- /usr/local/bin/backup.sh
  tellhal listen 'backup.>'
  tellhal serve uptime --exec uptime
  tellhal status";

/// The example configuration in help and manual; a test loads it.
macro_rules! config_example {
    () => {
        "\
source = \"db1\"                         # the short host name if absent
timeout = \"2s\"
[nats]
url = \"nats://nats1:4222\"              # or a list, or tls://
creds_file = \"/etc/tellhal/host.creds\" # or nkey_file, token_file, user and password_file
tls_ca = \"/etc/tellhal/ca.pem\"         # tls_cert and tls_key for a client certificate
tls_first = false                      # true for a server with handshake_first
inbox_prefix = \"_INBOX_db1\"            # if the credentials allow only that"
    };
}

const AFTER: &str = "\
Exit status 0 means that the message is kept: the server has it, or the spool holds it for later.
Others: 64 wrong usage, 65 message never accepted, 75 message not kept, 77 not permitted,
78 wrong configuration.

A tag is words of A-Z a-z 0-9 _ - joined by dots. A tag that is also a subcommand's name needs -t,
and so does one that differs from it in one letter if options or only one word follow. A message
that begins with - goes after --. Standard input (-p) is read to its end, however long that takes,
and at most 1 GiB of it. Of a text over 64 KiB the first 16 and the last 48 KiB are kept.

Configuration: ~/.config/tellhal/tellhal.toml, then /etc/tellhal/tellhal.toml. Every key is optional:";

/// Publishes one tagged message for the right chat room.
#[derive(Debug, Parser)]
#[command(
    name = "tellhal",
    version = tellhal::VERSION,
    about = "One line from any script to the right chat room, without ever stalling the job",
    before_help = EXAMPLES,
    after_help = flow(AFTER) + "\n\n" + config_example!(),
    override_usage = "tellhal TAG MESSAGE\n       COMMAND | tellhal -p TAG\n       tellhal -t TAG [OPTIONS] MESSAGE\n       tellhal SUBCOMMAND …"
)]
pub(crate) struct SendCli {
    #[command(flatten)]
    pub(crate) send: Send,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Send {
    /// Tag, unless -t gives it, and message; the words of a message are joined with spaces
    #[arg(value_name = "TAG MESSAGE")]
    pub(crate) words: Vec<OsString>,
    /// Tag of the message; all words are then the message
    #[arg(short, long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Read the message from standard input
    #[arg(short, long)]
    pub(crate) pipe: bool,
    /// Read the message from a file
    #[arg(short, long, value_name = "FILE", conflicts_with = "pipe")]
    pub(crate) file: Option<PathBuf>,
    /// Print the message that is sent
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// With -p or -f, send nothing when the input is empty; without this it is an error
    #[arg(short = 'e', long)]
    pub(crate) skip_empty: bool,
    /// Fail unless the server acknowledges the message; it is kept in the spool all the same
    #[arg(long)]
    pub(crate) require_ack: bool,
    #[command(flatten)]
    pub(crate) about: About,
}

/// The parts of a message besides its text.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct About {
    /// debug, info, notice, warning, error or critical, or another logger's name or number for one
    #[arg(short, long, value_name = "LEVEL", value_parser = OneOf::<Severity>::new(Severity::ALL.map(Severity::as_str)), hide_possible_values = true)]
    pub(crate) severity: Option<Severity>,
    /// Headline of one line
    #[arg(long, value_parser = lossy())]
    pub(crate) title: Option<String>,
    /// Additional field; may be repeated
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = lossy().try_map(|text| field(&text)))]
    pub(crate) fields: Vec<(String, String)>,
    /// Link to more information; may be repeated
    #[arg(long = "link", value_name = "URL", value_parser = link)]
    pub(crate) links: Vec<String>,
    /// Name of the thing the message is about; messages with the same key belong together
    #[arg(long, value_parser = lossy())]
    pub(crate) key: Option<String>,
    /// started, succeeded, failed or resolved
    #[arg(long, value_parser = OneOf::<Status>::new(Status::ALL.map(Status::as_str)), hide_possible_values = true)]
    pub(crate) status: Option<Status>,
    /// Full host name, if not this machine's
    #[arg(long, value_name = "NAME", value_parser = lossy())]
    pub(crate) host: Option<String>,
}

#[derive(Debug, Parser)]
#[command(name = "tellhal", version = tellhal::VERSION)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command and send messages about its start and end
    Run(Run),
    /// Print messages as they arrive, or run a command for each
    Listen(Listen),
    /// Answer chat commands with programs of this machine
    Serve(Serve),
    /// Send the messages that wait in the spool
    Flush(Flush),
    /// Show configuration, server and spool
    Status(Json),
    /// Check the configuration
    Check(Check),
    /// Print the public key of this machine's credentials; make them if there are none
    Nkey(Nkey),
    /// Print a shell's completions
    #[cfg(feature = "pages")]
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or that of a subcommand
    #[cfg(feature = "pages")]
    Man {
        /// Subcommand
        name: Option<String>,
    },
    /// Print the JSON Schema of messages, or of chat commands
    #[cfg(feature = "pages")]
    Schema {
        /// Format to describe
        #[arg(default_value = "message")]
        of: Format,
    },
}

/// A format on the bus, or that of the configuration.
#[cfg(feature = "pages")]
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Format {
    /// An ops message
    Message,
    /// A chat command's request, progress, answer and audit
    Command,
    /// tellhal.toml
    Config,
}

const RUN_HELP: &str = "\
The command starts at once; messages about it are sent while it runs. tellhal exits with the
command's status, or with 126 if it cannot be executed, 127 if it is not found, 128+n if
signal n ended it; if Ctrl-C ended it, tellhal ends in the same way, so that a loop in a
script stops. A script without #! is run by sh.

Standard output and standard error pass through, and their last lines become the message's
text. Not captured are a terminal, and a standard output that goes to a file or a pipe of its
own, as in … | gzip: that is data. --output captures it too. A daemon that outlives the command loses its captured output when the command ends:
use --no-output, or redirect the daemon's output.";

#[derive(Debug, Args)]
#[command(after_help = flow(RUN_HELP), override_usage = "tellhal run -t TAG [OPTIONS] -- COMMAND [ARGUMENTS]")]
pub(crate) struct Run {
    /// Tag of the messages
    #[arg(short, long, value_name = "TAG")]
    pub(crate) tag: String,
    /// Send a message only when the command failed
    #[arg(long)]
    pub(crate) on_failure_only: bool,
    /// Do not capture standard output and standard error
    #[arg(long, conflicts_with = "output")]
    pub(crate) no_output: bool,
    /// Capture standard output even if it goes to a file or a pipe of its own
    #[arg(long)]
    pub(crate) output: bool,
    /// Number of last lines of output to send
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) lines: usize,
    /// A failure has the severity of --severity, or error; the key is the tag unless --key is given
    #[command(flatten)]
    pub(crate) about: About,
    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

const LISTEN_HELP: &str = "\
Examples:
  tellhal listen 'backup.>'
  tellhal listen '>' --since 1h --json
  tellhal listen 'deploy.*' --durable lights --exec 'blink \"$TELLHAL_SEVERITY\"' --exec-timeout 1m
  tellhal listen deploy.done --count 1
  tellhal listen --list

sh runs the command of --exec. It gets the message as JSON on standard input, and TELLHAL_ID,
_TAG, _FROM (the source), _HOST, _USER, _TIME, _SEVERITY, _TITLE, _TEXT, _KEY and _STATUS in its
environment. With --durable, messages that arrive between two runs are not missed, and a message
whose command fails comes again, after a longer pause each time. A signal that ends tellhal ends
the command first. Listening needs a listener's credentials: a host's may only publish. Without
permission for STREAM.MSG.GET, a message whose headers cannot be read is skipped.";

#[derive(Debug, Args)]
#[command(after_help = flow(LISTEN_HELP))]
pub(crate) struct Listen {
    /// Tags to listen to: * stands for one word, a last > for all words that follow
    #[arg(required_unless_present_any = ["list", "remove"])]
    pub(crate) pattern: Option<Pattern>,
    /// Run this command for each message
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,
    /// End a command that runs for longer; it has failed then
    #[arg(long, value_name = "TIME", requires = "exec", value_parser = crate::config::duration)]
    pub(crate) exec_timeout: Option<Duration>,
    /// End after this many messages, not counting those that come again
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Keep this listener's position on the server under this name
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) durable: Option<String>,
    /// Start this far in the past; an existing durable listener continues where it stopped
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) since: Option<Duration>,
    /// Print each message as one line of JSON; with --list, print a list
    #[arg(long)]
    pub(crate) json: bool,
    /// List the durable listeners of this user
    #[arg(long, conflicts_with_all = ["pattern", "exec", "count", "durable", "since", "remove"])]
    pub(crate) list: bool,
    /// Remove the durable listener of this name and its position
    #[arg(long, value_name = "NAME", value_parser = name, conflicts_with_all = ["pattern", "exec", "count", "durable", "since"])]
    pub(crate) remove: Option<String>,
}

const SERVE_HELP: &str = "\
Examples:
  tellhal serve uptime --exec uptime
  tellhal serve deploy --exec '/usr/local/bin/deploy --to {target}' --arg 'target=staging|production'
  tellhal serve --config /etc/tellhal/serve.toml

The program runs without a shell. {target} stands for the whole value of an argument; arguments
that the program's words do not name follow at their end. A value that begins with - is refused
unless the configuration says dashes = true. The program gets the request as JSON on standard
input, and TELLHAL_COMMAND, _PERSON, _ROLES, _ROOM and _REQUEST in its environment. Its output is
the answer, and so are the files that it leaves in the folder $TELLHAL_FILES, such as a picture;
while it runs, its last line is shown as progress. Several machines that serve the same
command share its requests. With --describe the program says itself what it takes: run with
--hal-describe it prints {\"help\": \"deploys\", \"args\": [{\"name\": \"target\", \"one_of\": [\"staging\"]}]}.

Rules of the bridge decide who may give a command. --bridge-key makes sure that the bridge has
asked; without it, only a server on this machine is served.";

#[derive(Debug, Args)]
#[command(after_help = flow(SERVE_HELP), override_usage = "tellhal serve NAME --exec COMMAND [OPTIONS]\n       tellhal serve --config FILE")]
pub(crate) struct Serve {
    /// Name of the command; without it, the commands of [[serve]] in the configuration are served
    #[arg(requires = "exec")]
    pub(crate) name: Option<String>,
    /// Program to run, with its arguments
    #[arg(long, value_name = "COMMAND", requires = "name")]
    pub(crate) exec: Option<String>,
    /// One line about the command, for help in the chat
    #[arg(long, value_name = "TEXT", requires = "name")]
    pub(crate) about: Option<String>,
    /// Argument of the command, by its position; may be repeated
    #[arg(long = "arg", value_name = "NAME[=ONE|OTHER]", requires = "name", value_parser = crate::config::Arg::parse)]
    pub(crate) args: Vec<crate::config::Arg>,
    /// Ask the program for its arguments and its help: it is run once with --hal-describe
    #[arg(long, requires = "name")]
    pub(crate) describe: bool,
    /// Public key of a bridge whose requests are taken; may be repeated
    #[arg(long = "bridge-key", value_name = "KEY", env = "TELLHAL_BRIDGE_KEY", value_parser = public_key)]
    pub(crate) bridge_keys: Vec<String>,
    /// Number of programs at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) parallel: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Flush {
    /// Try again until the spool is empty, for as long as it takes; for systemd's tellhal-flush.path
    #[arg(long, conflicts_with = "json")]
    pub(crate) wait: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const NKEY_HELP: &str = "\
Example:
  tellhal nkey /etc/tellhal/host.nk

The seed stays in the file, which only its owner may read. The NATS server is told the public key,
for example with deploy/nats/users add host db1 --key UC5C…";

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// File to check, instead of the files in force
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = flow(NKEY_HELP))]
pub(crate) struct Nkey {
    /// File with the seed, instead of nkey_file of the configuration
    pub(crate) file: Option<PathBuf>,
}

/// A parsed command line.
#[derive(Debug)]
pub(crate) enum Invocation {
    Send(Box<SendCli>),
    Other(Box<Cli>),
}

/// Reads the command line. The first word decides: a subcommand's name, or a tag.
pub(crate) fn parse(args: Vec<OsString>) -> Result<Invocation, clap::Error> {
    let (first, rest) = first_word(&args);
    if ["-h", "--help", "help"].contains(&first)
        && args.len() == 2
        && let Err(help) = documented().try_get_matches_from(["tellhal", "--help"])
    {
        return Err(help);
    }
    if is_subcommand(first) {
        return Ok(Invocation::Other(Box::new(Cli::try_parse_from(args)?)));
    }
    if let Some(name) = mistyped(first, rest) {
        return Err(clap::Error::raw(
            clap::error::ErrorKind::InvalidSubcommand,
            format!("did you mean tellhal {name}? A message with the tag {first} needs tellhal -t {first}\n"),
        ));
    }
    let cli = match plain(&args) {
        Some(words) => SendCli { send: Send { words, ..Send::default() }, flags: Flags::default() },
        None => options(args)?,
    };
    Ok(Invocation::Send(Box::new(cli)))
}

// Not inlined, for the stack that only it needs.
#[inline(never)]
fn options(args: Vec<OsString>) -> Result<SendCli, clap::Error> {
    let mut cli = SendCli::try_parse_from(dashes::shield(args, SendCli::command))?;
    cli.send.words = cli.send.words.into_iter().map(dashes::bare).collect();
    let title = cli.send.about.title.take().map(|title| dashes::bare(title.into()));
    cli.send.about.title = title.map(|title| title.to_string_lossy().into_owned());
    Ok(cli)
}

/// The words of `tellhal TAG MESSAGE` without any option, the most frequent call in scripts: clap would give
/// the same words, but only after building every option and its help.
fn plain(args: &[OsString]) -> Option<Vec<OsString>> {
    let words = args.get(1..).filter(|words| !words.is_empty())?;
    let is_option = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    (!words.iter().any(is_option)).then(|| words.to_vec())
}

/// The first word after the flags that may precede a subcommand, as in `tellhal --url … status`, and the
/// words after it.
fn first_word(args: &[OsString]) -> (&str, &[OsString]) {
    const FLAGS: [&str; 6] = ["--url", "--context", "--config", "--spool", "--source", "--timeout"];
    let mut words = args.get(1..).unwrap_or_default();
    while let [word, rest @ ..] = words {
        let word = word.to_str().unwrap_or_default();
        let (flag, value) = word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)));
        if !FLAGS.contains(&flag) {
            return (word, rest);
        }
        words = rest.get(usize::from(value.is_none())..).unwrap_or_default();
    }
    ("", &[])
}

/// The subcommand that `first` is one slip away from, if the words after it are a subcommand's arguments: options,
/// or one word without a space. A job that should have run or been listened to must not end as a message. Any
/// other message is sent under such a tag too, and with -t every message.
fn mistyped(first: &str, rest: &[OsString]) -> Option<&'static str> {
    let name = near_subcommand(first, 1)?;
    let has_space = |word: &OsString| word.as_encoded_bytes().iter().any(u8::is_ascii_whitespace);
    let is_option = |word: &OsString| word.as_encoded_bytes().starts_with(b"-") && !has_space(word);
    let one_word = matches!(rest, [only] if !only.is_empty() && !has_space(only));
    (one_word || rest.iter().any(is_option)).then_some(name)
}

/// The subcommand whose name differs from `word` in at most `slips` letters.
pub(crate) fn near_subcommand(word: &str, slips: usize) -> Option<&'static str> {
    let lower = word.to_ascii_lowercase();
    let near = |name: &&str| !is_subcommand(word) && strsim::damerau_levenshtein(&lower, name) <= slips;
    ["run", "listen", "serve", "flush", "status", "check"].into_iter().find(near)
}

/// The whole command line as one, for help, manual and completions.
pub(crate) fn documented() -> clap::Command {
    SendCli::command().subcommands(Cli::command().get_subcommands().cloned())
}

/// True for the name of a subcommand, which is a tag only with -t. The same in every build.
pub(crate) fn is_subcommand(word: &str) -> bool {
    const NAMES: [&str; 11] = [
        "run",
        "listen",
        "serve",
        "flush",
        "status",
        "check",
        "nkey",
        "completions",
        "man",
        "schema",
        "help",
    ];
    NAMES.contains(&word)
}

/// `text` with each paragraph in one line: clap wraps it to the terminal's width. Indented lines stay as they are.
fn flow(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
    for line in text.lines() {
        match lines.last_mut().filter(|last| is_prose(last) && is_prose(line)) {
            Some(last) => *last += &format!(" {line}"),
            None => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// One of the words that completions offer, or another that its type reads, such as `WARN`.
#[derive(Clone)]
struct OneOf<T>(Vec<&'static str>, std::marker::PhantomData<T>);

impl<T> OneOf<T> {
    fn new(words: impl IntoIterator<Item = &'static str>) -> Self {
        OneOf(words.into_iter().collect(), std::marker::PhantomData)
    }
}

impl<T: FromStr<Err = String> + Clone + std::marker::Send + Sync + 'static> TypedValueParser for OneOf<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        StringValueParser::new().try_map(|text| text.parse::<T>()).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

/// A text of others, in whatever encoding: a message is not lost for a letter.
fn lossy() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|text| text.to_string_lossy().into_owned())
}

fn field(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("a field has the form NAME=VALUE".into()),
    }
}

fn link(text: &str) -> Result<String, String> {
    let web = text.starts_with("https://") || text.starts_with("http://");
    if web && !text.contains(char::is_whitespace) {
        return Ok(text.into());
    }
    Err("a link has the form https://… or http://…".into())
}

fn public_key(text: &str) -> Result<String, String> {
    let is_key = tellhal::command::is_public_key(text);
    is_key.then(|| text.into()).ok_or_else(|| "it is not a public nkey, which hal-bridge key prints".into())
}

fn name(text: &str) -> Result<String, String> {
    let legal = tellhal::tag::is_token(text) && text.len() <= 64;
    legal.then(|| text.into()).ok_or_else(|| "a name is one word of A-Z a-z 0-9 _ -".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Invocation {
        parse(line.split(' ').map(OsString::from).collect()).unwrap()
    }

    #[test]
    fn the_configuration_that_help_shows_is_right() {
        let shown = crate::config::parse_file("help", config_example!());
        assert!(shown.is_ok(), "{shown:?}");
    }

    #[test]
    fn the_command_line_is_consistent() {
        documented().debug_assert();
        Cli::command().debug_assert();
        let names: Vec<String> = Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
        assert!(names.iter().all(|name| is_subcommand(name)), "{names:?}");
    }

    #[test]
    fn plain_words_are_what_clap_finds_too() {
        let lines: [&[&str]; 5] =
            [&["a.b"], &["a", ""], &["", "x"], &["backup.mysql", "Nightly backup", "--", "x"], &["a", "-"]];
        for words in lines {
            let args: Vec<OsString> = ["tellhal"].iter().chain(words).map(OsString::from).collect();
            let Invocation::Send(cli) = parse(args.clone()).unwrap() else {
                panic!("not a message: {words:?}")
            };
            let clap = SendCli::try_parse_from(args).unwrap();
            assert_eq!(format!("{cli:?}"), format!("{clap:?}"));
        }
        assert_eq!(plain(&["tellhal".into()]), None);
        assert_eq!(plain(&["tellhal".into(), "a".into(), "-v".into()]), None);
    }

    #[test]
    fn texts_in_another_encoding_are_taken() {
        use std::os::unix::ffi::OsStringExt as _;
        let line = b"tellhal -t a --title caf\xe9 --key \xe9 --field x=\xe9 --host=\xe9 text";
        let args = line.split(|byte| *byte == b' ').map(|word| OsString::from_vec(word.to_vec())).collect();
        let Invocation::Send(cli) = parse(args).unwrap() else { panic!("not a message") };
        let about = cli.send.about;
        assert_eq!((about.title.as_deref(), about.key.as_deref()), (Some("caf\u{fffd}"), Some("\u{fffd}")));
        assert_eq!(about.fields, [("x".into(), "\u{fffd}".into())]);
        assert_eq!(about.host.as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn help_has_paragraphs_and_completions_know_the_words() {
        assert_eq!(
            flow("One\ntwo.\n\nExamples:\n  a\n  b\n\nThree\nfour"),
            "One two.\n\nExamples:\n  a\n  b\n\nThree four"
        );
        let command = documented();
        let words = |id: &str| -> Vec<String> {
            let arg = command.get_arguments().find(|arg| arg.get_id() == id).unwrap();
            arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
        };
        assert_eq!(words("severity"), Severity::ALL.map(Severity::as_str));
        assert_eq!(words("status"), ["started", "succeeded", "failed", "resolved"]);
        let Invocation::Send(cli) = parsed("tellhal -s FATAL -f x.log a") else { panic!("not a message") };
        assert_eq!(
            (cli.send.about.severity, cli.send.file),
            (Some(Severity::Critical), Some("x.log".into()))
        );
    }

    #[test]
    fn the_options_with_values_are_known() {
        let command = SendCli::command();
        for arg in
            command.get_arguments().filter(|arg| arg.get_action().takes_values() && !arg.is_positional())
        {
            let long = arg.get_long().map(|long| format!("--{long}"));
            let short = arg.get_short().map(|short| format!("-{short}"));
            assert!(long.into_iter().chain(short).all(|option| dashes::takes_value(&option)), "{arg}");
        }
    }

    #[test]
    fn the_first_word_decides_between_tag_and_subcommand() {
        assert!(matches!(parsed("tellhal status"), Invocation::Other(_)));
        assert!(matches!(parsed("tellhal --url nats://x status --json"), Invocation::Other(_)));
        assert!(matches!(parsed("tellhal -t status hello"), Invocation::Send(_)));
        assert!(matches!(parsed("tellhal -t x flush"), Invocation::Send(_)));
        let Invocation::Send(cli) = parsed("tellhal backup status of it -- -x") else {
            panic!("not a message")
        };
        assert_eq!(cli.send.words.len(), 5);
        let Invocation::Other(cli) = parsed("tellhal run -t x -- ls -l --json") else { panic!("not run") };
        assert!(matches!(cli.command, Command::Run(run) if run.command == ["ls", "-l", "--json"]));
    }

    #[test]
    fn a_mistyped_subcommand_is_not_sent_as_a_message() {
        let refused: [(&[&str], &str); 10] = [
            (&["LISTEN", "backup.>"], "listen"),
            (&["runn", "-t", "backup.x", "--", "/usr/local/bin/backup.sh"], "run"),
            (&["--url", "nats://x", "--timeout=1s", "rnu", "--", "true"], "run"),
            (&["lisen", "backup.>"], "listen"),
            (&["listne", "backup.>", "--durable", "x"], "listen"),
            (&["flsh", "now"], "flush"),
            (&["flush_", "--json"], "flush"),
            (&["stauts", "--json"], "status"),
            (&["chek", "/etc/tellhal/tellhal.toml"], "check"),
            (&["stats", "disk is full", "-v"], "status"),
        ];
        for (words, name) in refused {
            let args = ["tellhal"].iter().chain(words).map(OsString::from).collect();
            let error = parse(args).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(&format!("did you mean tellhal {name}?")), "{words:?}: {error}");
            assert!(error.contains("tellhal -t "), "{words:?}: {error}");
        }
        let sent: [&[&str]; 9] = [
            &["stats", "disk is full"],
            &["flash", "firmware", "written"],
            &["flash", "-5 degrees"],
            &["checks.nightly", "passed"],
            &["chef", "-s", "error", "failed"],
            &["-v", "stats", "42"],
            &["-t", "runn", "x"],
            &["-t", "x", "lisen", "backup.>"],
            &["disk", "full", "--", "-x"],
        ];
        for words in sent {
            let args: Vec<OsString> = ["tellhal"].iter().chain(words).map(OsString::from).collect();
            assert_eq!(mistyped(first_word(&args).0, first_word(&args).1), None, "{words:?}");
        }
    }
}
