//! `caisson`: see the library for everything.

use std::process::ExitCode;

fn main() -> ExitCode {
    caisson::report::run(std::env::args_os())
}
