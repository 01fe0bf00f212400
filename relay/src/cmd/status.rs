//! `hal-relay status`: whether all is well, a line for each point.

use relay::admin::one_line;
use relay::admin::status::{Point, points};
use relay::config::Config;
use service::config::Configuration as _;
use tellhal::paint::Paint;
use tellhal::refusal::redact;

use super::config_path::ConfigPath;
use super::{print, print_json};

#[derive(clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    path: ConfigPath,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let config = Config::load(&self.path.config)?;
        let servers: Vec<String> = config.nats.servers().iter().map(|server| redact(server)).collect();
        let points = points(&config, &servers.join(", ")).await;
        if self.json {
            print_json(&points)?;
        } else {
            print(&lines(&points, Paint::of(&std::io::stdout())))?;
        }
        let wrong: Vec<&str> = points.iter().filter(|point| !point.is_well).map(|point| point.name).collect();
        anyhow::ensure!(wrong.is_empty(), "not well: {}", wrong.join(", "));
        Ok(())
    }
}

fn lines(points: &[Point], paint: Paint) -> String {
    let line = |point: &Point| {
        let mark = if point.is_well { paint.good("✓") } else { paint.bad("✗") };
        format!("{mark} {:8} {}\n", point.name, one_line(&point.words))
    };
    let mut text: String = points.iter().map(line).collect();
    if points.iter().all(|point| point.is_well) {
        text += &format!("{}\n", paint.good("all is well"));
    }
    text
}
