//! (under construction)
use super::Verb;
pub(super) const VERB: Verb =
    Verb::new("validate", "validate", |command| command, |_, _| anyhow::bail!("not there yet"));
