//! Becoming the user: one path for `create`, `run` and `exec` (CVE-2025-27612 came from having two).
//!
//! The order is the kernel's:
//!
//! 1. the bounding set is dropped while CAP_SETPCAP is still there;
//! 2. groups, then gid, then uid, with PR_SET_KEEPCAPS, so that permitted capabilities survive setresuid(2);
//! 3. capset(2) to the wanted sets; CAP_SYS_ADMIN stays for a moment when a filter has to be loaded without
//!    no_new_privs (seccomp(2) asks for one of the two);
//! 4. ambient capabilities, which need permitted and inheritable to be set;
//! 5. no_new_privs;
//! 6. the filter, last: it may forbid any of the calls above. With CAP_SYS_ADMIN kept for it, one more capset(2).

use std::os::fd::OwnedFd;

use caisson_plan::step::IdentityPlan;
use caisson_plan::step::process::{CapsPlan, GroupsPlan, UserPlan};
use caisson_sys::caps::{self, CapSet};
use caisson_sys::{Errno, creds};

use crate::error::{Act, Context, Failure};
use crate::seccomp::{self, Filter};

const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Does all of it. `listener`: socket of the seccomp agent and what it is told.
pub(crate) fn become_user(
    plan: &IdentityPlan,
    filter: Option<&Filter>,
    listener: Option<(&OwnedFd, &str)>,
) -> Act {
    let filter = filter.filter(|_| plan.seccomp);
    if let Some(caps) = &plan.capabilities {
        caps::drop_bounding_except(CapSet(caps.bounding))
            .or_else(if_nothing_to_lose(caps))
            .on(|| "drop the bounding capability set")?;
    }
    creds::set_keep_caps(true).on(|| "keep capabilities over the change of user")?;
    set_user(&plan.user)?;
    let keep_admin = filter.is_some() && !plan.no_new_privileges;
    if let Some(caps) = &plan.capabilities {
        set_capabilities(caps, if keep_admin { CAP_SYS_ADMIN & held()? } else { 0 })?;
    }
    if plan.no_new_privileges {
        creds::set_no_new_privs().on(|| "set no_new_privs")?;
    }
    if let Some(filter) = filter {
        seccomp::load(filter, listener)?;
    }
    match &plan.capabilities {
        Some(caps) if keep_admin && caps.permitted & CAP_SYS_ADMIN == 0 => set_exactly(caps, 0),
        _ => Ok(()),
    }
}

fn held() -> Act<u64> {
    caps::capget().map(|held| held.permitted.0).on(|| "read the capability sets")
}

/// Without CAP_SETPCAP nothing can be dropped; that is fine only when the set is already within the wanted one.
fn if_nothing_to_lose(caps: &CapsPlan) -> impl FnOnce(Errno) -> caisson_sys::Result<()> {
    let wanted = caps.bounding;
    move |errno| match caps::bounding() {
        Ok(now) if now.0 & !wanted == 0 => Ok(()),
        _ => Err(errno),
    }
}

fn set_user(user: &UserPlan) -> Act {
    if let GroupsPlan::Set(groups) = &user.groups {
        creds::setgroups(groups).map_err(|errno| {
            let failure = Failure::errno(format!("set additional groups {groups:?}"), errno);
            if errno == Errno::EINVAL {
                failure.hint("a group is not mapped in the user namespace")
            } else {
                failure
            }
        })?;
    }
    let unmapped = |failure: Failure| match failure.errno.map(Errno::from_raw) {
        Some(Errno::EINVAL) => {
            failure.hint("the id is not mapped in the user namespace: see /linux/uidMappings")
        }
        _ => failure,
    };
    creds::setresgid(user.gid).on(|| format!("become group {}", user.gid)).map_err(unmapped)?;
    creds::setresuid(user.uid).on(|| format!("become user {}", user.uid)).map_err(unmapped)
}

/// The five sets but the bounding one; `extra` is kept in permitted and effective.
fn set_capabilities(caps: &CapsPlan, extra: u64) -> Act {
    set_exactly(caps, extra)?;
    caps::ambient_clear().on(|| "clear the ambient capability set")?;
    caps::ambient_raise(CapSet(caps.ambient)).on(|| "set the ambient capability set")
}

fn set_exactly(caps: &CapsPlan, extra: u64) -> Act {
    let effective = CapSet(caps.effective | extra);
    let permitted = CapSet(caps.permitted | extra);
    let inheritable = CapSet(caps.inheritable);
    caps::capset(effective, permitted, inheritable).map_err(|errno| {
        let failure = Failure::errno("set the capability sets", errno);
        let held = caps::capget().map(|h| h.permitted.0).unwrap_or(0);
        let missing = (caps.permitted | caps.inheritable) & !held;
        if errno == Errno::EPERM && missing != 0 {
            failure.detail(format!("the runtime itself does not hold {}", CapSet(missing).names().join(", ")))
        } else {
            failure
        }
    })
}
