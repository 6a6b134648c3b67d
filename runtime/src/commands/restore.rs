//! `caisson restore ID`: makes a container from the files that `checkpoint` wrote.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context as _;
use caisson_plan::options::Command as Planned;
use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::criu::restore::{self, Images, Restored};
use crate::criu::rpc::Options;
use crate::criu::{Dir, flags};
use crate::foreground::{self, Signals, Terminal};
use crate::make::{self, Wishes};
use crate::store::StoreError;
use crate::{bundle, poststart, sockets, teardown};

pub(super) const VERB: Verb = Verb::new("restore", "Make a container from a checkpoint's files", args, run);

fn args(command: Command) -> Command {
    command.args(flags::common()).args(bundle::flags()).args([
        cli::path("console-socket", "PATH", "Send the terminal's master to this Unix socket"),
        cli::path("pidfd-socket", "PATH", "Send a pidfd of the first process to this Unix socket"),
        cli::path("pid-file", "FILE", "Write the first process's pid to FILE"),
        cli::switch("detach", "Leave as soon as the container runs").short('d'),
        cli::switch("no-subreaper", "Accepted for runc's sake: caisson is never a subreaper"),
        cli::switch("no-pivot", "Accepted for runc's sake: criu makes the root"),
        cli::text("lsm-profile", "KIND:NAME", "Use this profile: apparmor:NAME or selinux:LABEL"),
        cli::text("lsm-mount-context", "CONTEXT", "Use this SELinux context for mounts that have one"),
        cli::id(),
    ])
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let detach = matches.on("detach");
    let mut wishes = Wishes::new(matches, Planned::Run, detach)?;
    let id = wishes.id.clone();
    let images = Images {
        dir: Dir::open("--image-path", &flags::image_path(matches))?,
        work: matches.path("work-path").map(|path| Dir::make("--work-path", path)).transpose()?,
        options: Options {
            lsm_profile: matches.text("lsm-profile").map(str::to_owned),
            lsm_mount_context: matches.text("lsm-mount-context").map(str::to_owned),
            ..flags::options(matches)?
        },
    };
    let console = matches.path("console-socket");
    let plan = make::plan(context, &wishes, console.is_some())?;
    wishes.console = console.map(|path| sockets::connect(path)).transpose()?;
    let restored = restore::restore(context, &plan, wishes, images)
        .with_context(|| format!("restore container {id}"))?;
    if let Err(error) = poststart::run(&restored.state) {
        teardown::whole(context, &restored.entry, restored.lock, &restored.state)?;
        return Err(error);
    }
    if detach {
        return Ok(0);
    }
    let Restored { entry, state, lock, process, terminal } = restored;
    drop(lock);
    let code = stay(&process, terminal);
    match entry.lock(Duration::from_secs(60)) {
        Ok(lock) => teardown::whole(context, &entry, lock, &state)?,
        Err(StoreError::NotFound(_)) => {} // deleted by somebody else
        Err(error) => return Err(error.into()),
    }
    code
}

fn stay(process: &OwnedFd, terminal: Option<OwnedFd>) -> anyhow::Result<u8> {
    let signals = Signals::catch()?;
    let terminal = terminal.map(Terminal::new).transpose()?;
    foreground::attend(process, terminal, &signals, None)
}
