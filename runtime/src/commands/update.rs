//! (under construction)
use super::Verb;
pub(super) const VERB: Verb =
    Verb::new("update", "update", |command| command, |_, _| anyhow::bail!("not there yet"));
