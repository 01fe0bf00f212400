//! async-nats with default options: `async-nats-plain ADDRESS SUBJECT TEXT`.

use async_nats::{HeaderMap, jetstream};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, address, subject, text] = &args[..] else {
        anyhow::bail!("usage: async-nats-plain ADDRESS SUBJECT TEXT");
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let client = async_nats::connect(address).await?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", bench::nats::fresh_id());
        let stream = jetstream::new(client);
        stream.publish_with_headers(subject.clone(), headers, text.clone().into()).await?.await?;
        Ok(())
    })
}
