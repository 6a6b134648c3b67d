//! (under construction)
use super::Verb;
pub(super) const VERB: Verb =
    Verb::new("events", "events", |command| command, |_, _| anyhow::bail!("not there yet"));
