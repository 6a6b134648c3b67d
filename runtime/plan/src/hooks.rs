//! `hooks`: the six points where the host's programs run.

use oci_spec::runtime::Hook as SpecHook;

use crate::context::{Context, each};
use crate::ids::{HostPath, Pointer};
use crate::problem::Problems;
use crate::step::Hook;

/// The hooks of the config, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

/// Reads `hooks`.
pub(crate) fn plan(context: &Context<'_>, problems: &mut Problems) -> Hooks {
    let Some(hooks) = context.spec.hooks() else {
        return Hooks::default();
    };
    let prestart = hooks.prestart();
    let mut read = |key: &str, list: &Option<Vec<SpecHook>>| {
        let at = Pointer::new("/hooks").child(key);
        each(list).enumerate().map(|(index, hook)| one(hook, &at.child(index), problems)).collect()
    };
    Hooks {
        prestart: read("prestart", prestart),
        create_runtime: read("createRuntime", hooks.create_runtime()),
        create_container: read("createContainer", hooks.create_container()),
        start_container: read("startContainer", hooks.start_container()),
        poststart: read("poststart", hooks.poststart()),
        poststop: read("poststop", hooks.poststop()),
    }
}

fn one(hook: &SpecHook, at: &Pointer, problems: &mut Problems) -> Hook {
    if !hook.path().is_absolute() {
        problems.error(&at.child("path"), format!("{} is not an absolute path", hook.path().display()));
    }
    let timeout = hook.timeout().and_then(|seconds| {
        let fits = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        if fits.is_none() {
            problems.error(&at.child("timeout"), format!("{seconds} is not a number of seconds above 0"));
        }
        fits
    });
    // execv semantics: args[0] is the caller's choice; without args the path is the only one.
    let args = hook.args().clone().filter(|args| !args.is_empty());
    Hook {
        path: HostPath::new(hook.path()),
        args: args.unwrap_or_else(|| vec![hook.path().display().to_string()]),
        env: hook.env().clone().unwrap_or_default(),
        timeout,
        from: at.clone(),
    }
}
