//! `hal-relay streams`: shows the streams and how full they are, or gives them the configured sizes and replicas.

use anyhow::ensure;
use relay::admin::Operator;
use relay::admin::streams::{Listed, list, replicate_bridge};
use relay::bus::Bus;
use relay::config::Config;
use service::config::Configuration as _;
use service::streams::size;
use service::text::columns;
use service::zone::Zone;
use tellhal::paint::Paint;

use super::config_path::ConfigPath;
use super::{Usage, print, print_json};

#[derive(clap::Args)]
pub(crate) struct Streams {
    /// Create the relay's streams that are missing, and give all the sizes and replicas of the configuration, as a start does
    #[arg(long)]
    apply: bool,
    /// Keep each stream, also the bridge's, on so many servers of a cluster; for a configuration without `replicas`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: Option<u8>,
    #[command(flatten)]
    path: ConfigPath,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Streams {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let config = Config::load(&self.path.config)?;
        let mut settings = config.streams.clone();
        if let Some(replicas) = self.replicas.map(usize::from) {
            let other = settings.replicas.filter(|configured| *configured != replicas);
            if let Some(other) = other {
                let why =
                    format!("the configuration says replicas = {other}: change it there, and use --apply");
                return Err(Usage(why).into());
            }
            settings.replicas = Some(replicas);
        }
        let operator = Operator::connect(&config.nats).await?;
        if self.apply || self.replicas.is_some() {
            let bus = Bus::connect(&config.nats, "hal-relay streams").await?;
            bus.connected().await?;
            bus.streams(&settings).await?;
        }
        if let Some(replicas) = self.replicas {
            replicate_bridge(&operator, replicas.into()).await?;
        }
        let (listed, missing) = list(&operator, &settings).await?;
        if self.json {
            print_json(&listed)?;
        } else {
            print(&table(&listed, &config.zone, Paint::of(&std::io::stdout())))?;
        }
        if !missing.is_empty() && !self.json {
            eprintln!("hal-relay: not there yet: {}", missing.join(", "));
        }
        let differ = listed.iter().filter(|stream| !stream.differs.is_empty()).count();
        ensure!(differ == 0, "{differ} of {} streams are not as configured", listed.len());
        Ok(())
    }
}

fn table(streams: &[Listed], zone: &Zone, paint: Paint) -> String {
    let head = ["stream", "used", "size", "replicas", "messages", "oldest", "holds"].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(streams.iter().map(|stream| cells(stream, zone)));
    let lines: Vec<String> =
        columns(&rows).iter().map(|row| row.join("  ").trim_end().to_owned() + "\n").collect();
    let mut text = paint.faint(&lines[0]);
    for (line, stream) in lines[1..].iter().zip(streams) {
        text += line;
        if !stream.behind.is_empty() {
            let behind = format!("not up to date on {}", stream.behind.join(", "));
            text += &format!("    {}\n", paint.caution(&behind));
        }
        if !stream.differs.is_empty() {
            let differs = format!("the configuration says {}", stream.differs.join(", "));
            text += &format!("    {}\n", paint.bad(&differs));
        }
    }
    text
}

fn cells(stream: &Listed, zone: &Zone) -> [String; 7] {
    let bytes = |bytes: u64| size(i64::try_from(bytes).unwrap_or(i64::MAX));
    [
        stream.stream.clone(),
        bytes(stream.bytes),
        stream.max_bytes.map_or_else(|| "unlimited".into(), bytes),
        stream.replicas.to_string(),
        stream.messages.to_string(),
        stream.oldest.map_or_else(|| "-".into(), |at| zone.moment(at)),
        stream.holds.into(),
    ]
}
