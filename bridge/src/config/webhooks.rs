//! Webhooks as they are written, and their checks.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::PATH;
use service::secret::Secret;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Webhook {
    /// The secret that signs requests.
    secret: Option<Secret>,
    /// A file with the secret.
    #[schemars(extend("format" = PATH))]
    secret_file: Option<PathBuf>,
    /// The tag, in which `{name}` stands for a part of the request.
    tag: Option<String>,
}
