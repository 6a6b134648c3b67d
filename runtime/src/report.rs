//! From `main` to a verb and back to an exit code: the one place that prints errors.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::ArgMatches;

use crate::context::{self, Context, Environment};
use crate::log::{Level, Log};
use crate::{cli, commands};

/// Parses `args`, runs the verb, and reports what went wrong.
///
/// Exit codes are runc's: 1 for an error of the runtime (255 for `exec`), else what the verb says, which for `run`
/// and `exec` is the code of the user's program, 128 plus the signal's number if one killed it.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    run_failing_at(args, None)
}

/// As [`run`], but the executor fails at the step of this index instead of doing it: for tests of the undo.
pub fn run_failing_at(args: impl Iterator<Item = OsString>, fail_at: Option<usize>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    // Before anything else: sealing starts the program again, and what was done before is done twice.
    if commands::may_need_seal(&args)
        && let Err(error) = commands::seal_program()
    {
        drop(writeln!(std::io::stderr(), "caisson: {error:#}"));
        return ExitCode::FAILURE;
    }
    let matches = match cli::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let Some((name, sub)) = matches.subcommand() else { return ExitCode::FAILURE };
    let Some(verb) = commands::find(name) else { return ExitCode::FAILURE };
    match call(verb, &matches, sub, fail_at) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&matches, &error);
            ExitCode::from(verb.error_code)
        }
    }
}

fn call(
    verb: &commands::Verb,
    matches: &ArgMatches,
    sub: &ArgMatches,
    fail_at: Option<usize>,
) -> anyhow::Result<u8> {
    let context = Context { fail_at, ..Context::new(matches, Environment::read())? };
    (verb.run)(&context, sub)
}

/// Help and version go to standard output with code 0; misuse to standard error with code 1, as with runc.
fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() || printed.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Prints the whole chain of causes to standard error, and to `--log` where the engine looks for it.
fn report(matches: &ArgMatches, error: &anyhow::Error) {
    let message = format!("{error:#}");
    let log = context::open_log(matches).unwrap_or_else(|_| Log::stderr(Level::Error));
    log.write(Level::Error, &message);
    drop(writeln!(std::io::stderr(), "caisson: {message}"));
}

/// Writes to standard output; a reader that went away (`| head`) is no error.
///
/// # Errors
/// Any other failure to write.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("write to standard output"))
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON of two-space indent and a final newline.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}
