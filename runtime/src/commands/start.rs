//! `caisson start ID`: lets a created container execute its program.

use anyhow::Context as _;
use clap::ArgMatches;
use std::os::fd::AsFd;

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::notify_socket::Proxy;
use crate::status::Event;
use crate::{live, poststart};

pub(super) const VERB: Verb =
    Verb::new("start", "Start the program of a created container", |command| command.arg(cli::id()), run);

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let id = matches.text("id").unwrap_or_default();
    let container = live::lock_for(&context.store, id, Event::Start)?;
    // Bound before the program runs: it may be ready at once.
    let host = context.environment.notify_socket.as_deref();
    let proxy = host.map(|host| Proxy::bind(container.entry.dir(), host, container.state.pid)).transpose()?;
    let dir = container.entry.dir_fd()?;
    let started = caisson_exec::start(dir.as_fd()).with_context(|| format!("start container {id}"));
    // Whatever came of it, nobody waits there any more.
    container.entry.forget_start()?;
    started?;
    poststart::run(&container.state)?;
    drop(container.lock);
    if let (Some(proxy), Ok(init)) = (proxy.flatten(), live::init_handle(&container.state)) {
        proxy.until_ready(&init)?;
    }
    Ok(0)
}
