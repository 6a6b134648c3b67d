//! The `poststart` hooks: after the user's program was executed, before `start` returns (runtime.md, "Lifecycle").

use anyhow::Context as _;
use caisson_exec::hooks;
use caisson_plan::step::HookKind;
use caisson_sys::pidfd;

use crate::store::State;
use crate::{live, make};

const SIGKILL: i32 = 9;

/// Runs the hooks in order. The first that fails stops the container (runtime-spec 1.3: "MUST generate an error,
/// stop the container").
///
/// # Errors
/// Names the hook that failed.
pub fn run(state: &State) -> anyhow::Result<()> {
    if state.after.poststart.is_empty() {
        return Ok(());
    }
    let json = make::state_for_hook(state, caisson_exec::Status::Running);
    let Err(failure) = hooks::run(HookKind::Poststart, &state.after.poststart, &json) else { return Ok(()) };
    if let Ok(init) = live::init_handle(state) {
        pidfd::send_signal(&init, SIGKILL).context("stop the container after its poststart hook failed")?;
    }
    anyhow::bail!("{failure}")
}
