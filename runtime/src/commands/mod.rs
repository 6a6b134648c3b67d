//! The verbs, one file each.

pub mod checkpoint;
pub mod completion;
pub mod create;
pub mod delete;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod explain;
pub mod features;
pub mod kill;
pub mod list;
pub mod pause;
pub mod ps;
pub mod restore;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;
pub mod validate;

use std::ffi::OsString;

use anyhow::Context as _;
use clap::{ArgMatches, Command};

use crate::context::Context;

/// Set in the environment of the sealed copy, so that it does not seal itself again.
const SEALED: &str = "_CAISSON_SEALED";

/// One verb of the command line.
#[derive(Debug)]
pub struct Verb {
    /// What the user types.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Adds its flags; called only when the verb is.
    pub flags: fn(Command) -> Command,
    /// Does it; gives the exit code.
    pub run: fn(&Context, &ArgMatches) -> anyhow::Result<u8>,
    /// The exit code of an error: runc's 1, and 255 for `exec`.
    pub error_code: u8,
    /// Whether the program must be sealed first: it will run inside a container (CVE-2019-5736).
    pub seals: bool,
    /// Not shown by `--help`.
    pub hidden: bool,
}

impl Verb {
    const fn new(
        name: &'static str,
        about: &'static str,
        flags: fn(Command) -> Command,
        run: fn(&Context, &ArgMatches) -> anyhow::Result<u8>,
    ) -> Self {
        Self { name, about, flags, run, error_code: 1, seals: false, hidden: false }
    }

    const fn sealed(mut self) -> Self {
        self.seals = true;
        self
    }

    const fn error_code(mut self, code: u8) -> Self {
        self.error_code = code;
        self
    }
}

/// Every verb, in the order of `--help`.
pub const VERBS: &[Verb] = &[
    create::VERB,
    start::VERB,
    run::VERB,
    exec::VERB,
    state::VERB,
    list::VERB,
    ps::VERB,
    events::VERB,
    kill::VERB,
    pause::PAUSE,
    pause::RESUME,
    update::VERB,
    delete::VERB,
    spec::VERB,
    explain::VERB,
    validate::VERB,
    doctor::VERB,
    features::VERB,
    completion::VERB,
    checkpoint::VERB,
    restore::VERB,
];

/// The verb called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// Whether a verb that seals may be among `args`. A container called `run` costs `state` a needless second start;
/// parsing twice would cost every `run` one.
pub(crate) fn may_need_seal(args: &[OsString]) -> bool {
    let seals = |arg: &OsString| arg.to_str().and_then(find).is_some_and(|verb| verb.seals);
    args.iter().skip(1).any(seals)
}

/// Makes this process's program unwritable from inside a container, by executing a sealed copy when needed.
/// An ordinary user's container cannot write root's program, so only real root needs it.
///
/// # Errors
/// When the program cannot be sealed.
pub(crate) fn seal_program() -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        caisson_sys::selfexe::seal_and_reexec(SEALED)
            .context("protect the caisson program from the container")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_verbs_that_enter_a_container_seal() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(may_need_seal(&words("caisson --root /r create -b /b web")));
        assert!(may_need_seal(&words("caisson exec web sh")));
        assert!(!may_need_seal(&words("caisson state web")));
        assert!(!may_need_seal(&words("create --version")));
    }
}
