//! The ids of deliveries.

/// The id of the message a delivery's id is about: see [`super::Delivery::id`]. A message's own id is about itself.
pub fn message_id(delivery: &str) -> &str {
    let summary = delivery.split_once('/').and_then(|(_, rest)| rest.split_once("/sum/"));
    summary.map_or_else(|| delivery.split('/').next().unwrap_or(delivery), |(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deliverys_id_tells_its_message() {
        for id in ["m-1", "m-1/ops", "m-1/ops/r7", "backups/m-1/sum/ops", "backups/m-1/sum/ops/r9"] {
            assert_eq!(message_id(id), "m-1", "{id}");
        }
        // Rooms and routes may have any name of one word.
        assert_eq!(message_id("m-1/sum"), "m-1");
        assert_eq!(message_id("m-1/sum/r7"), "m-1");
    }
}
