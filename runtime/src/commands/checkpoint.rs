//! `caisson checkpoint ID`: writes the processes of a container to files, from which `restore` makes them again.

use anyhow::Context as _;
use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::criu::dump::{self, Dump};
use crate::criu::rpc::Options;
use crate::criu::{Dir, flags};
use crate::status::Event;
use crate::{live, teardown};

pub(super) const VERB: Verb =
    Verb::new("checkpoint", "Write the processes of a container to files", args, run);

fn args(command: Command) -> Command {
    command.args(flags::common()).args([
        cli::path(
            "parent-path",
            "DIR",
            "Write only what changed since these images; relative to --image-path",
        ),
        cli::switch("leave-running", "Let the container run on"),
        cli::switch("tcp-skip-in-flight", "Leave out TCP connections that are not yet established"),
        cli::number::<i32>("status-fd", "N", "Write a byte to descriptor N when lazy pages can be served"),
        cli::text("page-server", "ADDRESS:PORT", "Send memory to a page server of criu"),
        cli::switch("pre-dump", "Write memory only, and let the container run on: for a later checkpoint"),
        cli::id(),
    ])
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let id = matches.text("id").unwrap_or_default();
    let container = live::lock_for(&context.store, id, Event::Checkpoint)?;
    let pre_dump = matches.on("pre-dump");
    let leave_running = matches.on("leave-running");
    let work = match matches.path("work-path") {
        Some(path) => Dir::make("--work-path", path)?,
        None => Dir::make("--work-path", &container.entry.dir().join("criu.work"))?,
    };
    let wanted = Dump {
        images: Dir::make("--image-path", &flags::image_path(matches))?,
        work,
        parent: matches.path("parent-path").cloned(),
        pre_dump,
        options: Options {
            leave_running,
            tcp_skip_in_flight: matches.on("tcp-skip-in-flight"),
            status_fd: matches.number("status-fd"),
            page_server: matches.text("page-server").map(flags::page_server).transpose()?,
            ..flags::options(matches)?
        },
    };
    dump::dump(&container.entry, &container.state, &wanted)
        .with_context(|| format!("checkpoint container {id}"))?;
    if !pre_dump && !leave_running {
        // As with runc: its processes are gone, and the id is free for a restore.
        teardown::whole(context, &container.entry, container.lock, &container.state)?;
    }
    Ok(0)
}
