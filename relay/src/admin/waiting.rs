//! The deliveries of a message that its rooms have not reached yet. A room handles its deliveries in the log's order, so the
//! place of its last receipt tells.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use async_nats::jetstream::consumer::DeliverPolicy;

use super::Operator;
use super::explain::explain;
use super::trace::{Located, Retried};
use crate::bus::files;
use crate::bus::message::last;
use crate::delivery::{Delivery, Id, Place, Receipt};
use crate::engine::Rules;
use crate::engine::entry::ConfigEntry;

impl Operator {
    /// The rules that were in force at this sequence of the log; `None` if they are no longer known.
    pub async fn rules_at(&self, sequence: u64) -> anyhow::Result<Option<Arc<Rules>>> {
        let mut scan = self.scan(self.log().await?, self.names.ctl("config"), DeliverPolicy::All).await?;
        let mut hash = None;
        while let Some(found) = scan.next().await? {
            // Before the first configuration of the log, that one is in force.
            if hash.is_some() && found.sequence > sequence {
                break;
            }
            if let Ok(entry) = serde_json::from_slice::<ConfigEntry>(&found.payload) {
                hash = Some(entry.hash);
            }
        }
        let Some(hash) = hash else { return Ok(None) };
        let bucket = self.names.files_bucket();
        let files = self.jetstream.get_object_store(&bucket).await.with_context(|| bucket)?;
        files::load_rules(&files, &hash).await
    }

    /// The deliveries of the message and of its retries that wait, under the rules of its time.
    pub(super) async fn waiting(
        &self,
        located: &Located,
        retries: &[Retried],
        rules: &Arc<Rules>,
    ) -> anyhow::Result<Vec<Delivery>> {
        let expected = explain(rules, located.message.clone(), located.at).deliveries;
        let place = Place { sequence: located.sequence, number: 0 };
        let again = retries.iter().filter_map(|retry| {
            let room = rules.routing.target(&retry.room).to_owned();
            let id = Id::from(retry.id.as_str()).again(retry.sequence);
            let place = Place { sequence: retry.sequence, number: 0 };
            let like = expected.first()?.clone();
            Some(Delivery { id, room, place, at: retry.at, ..like })
        });
        let again: Vec<Delivery> = again.collect();
        let first = expected.into_iter().map(|delivery| Delivery { place, at: located.at, ..delivery });
        let mut reached = HashMap::new();
        let mut waiting = Vec::new();
        for delivery in first.chain(again) {
            let room = delivery.room.clone();
            let place = match reached.get(&room) {
                Some(place) => *place,
                None => self.place_of(&room).await?,
            };
            reached.insert(room, place);
            if place < delivery.place {
                waiting.push(delivery);
            }
        }
        Ok(waiting)
    }

    /// The place up to which a room has handled its deliveries.
    async fn place_of(&self, room: &str) -> anyhow::Result<Place> {
        let Some(sent) = self.stream(&self.names.sent_stream()).await? else { return Ok(Place::default()) };
        let receipt = last::<Receipt>(&sent, self.names.sent(room)).await?.and_then(|(_, receipt)| receipt);
        Ok(receipt.map(|receipt| receipt.place).unwrap_or_default())
    }
}
