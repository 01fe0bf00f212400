//! `hal-relay trace`: the deliveries of a message as a timeline.

use anyhow::bail;
use relay::admin::timeline::{headline, timeline};
use relay::admin::trace::Search;
use relay::admin::{Operator, one_line};
use relay::config::Config;
use relay::lead::report;
use service::config::Configuration as _;
use tellhal::paint::Paint;

use super::config_path::ConfigPath;
use super::{print, print_json};

#[derive(clap::Args)]
pub(crate) struct Trace {
    /// The message's id, or at least its first 8 characters; or seq-N for its sequence N in the log
    id: String,
    #[command(flatten)]
    path: ConfigPath,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Trace {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let config = Config::load(&self.path.config)?;
        let operator = Operator::connect(&config.nats).await?;
        let located = match operator.find(&self.id).await? {
            Search::One(located) => *located,
            Search::Several(candidates) => {
                let paint = Paint::of(&std::io::stdout());
                candidates.iter().try_for_each(|each| print(&(headline(each, paint) + "\n")))?;
                bail!("several ids begin with {}; give more characters", one_line(&self.id));
            }
            Search::Nothing => bail!(
                "no message {} in {}: it may still be in its host's spool (tellhal status), or be older than the log",
                one_line(&self.id),
                operator.names.ops_stream()
            ),
        };
        let rules = operator.rules_at(located.sequence).await?;
        let fate = operator.fate(located, rules.as_ref()).await?;
        if self.json {
            return print_json(&fate);
        }
        // Without a leader there is no state of the rooms; the traces are shown all the same.
        let rooms = report::read(&operator.jetstream, &operator.names).await.unwrap_or_default();
        Ok(print(&timeline(&fate, &rooms, &config.zone, Paint::of(&std::io::stdout())))?)
    }
}
