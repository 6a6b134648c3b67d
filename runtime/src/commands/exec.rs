//! (under construction)
use super::Verb;
pub(super) const VERB: Verb =
    Verb::new("exec", "exec", |command| command, |_, _| anyhow::bail!("not there yet"));
