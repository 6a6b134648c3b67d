//! The systemd driver: a scope unit around the container's first process, by a small D-Bus client of our own.
//!
//! ```text
//! join(pid)  StartTransientUnit(PIDs=[pid]) ─▶ JobRemoved "done" ─▶ limits without a property, device rules
//! apply      SetUnitProperties
//! destroy    StopUnit ─▶ JobRemoved, ResetFailedUnit
//! ```
//!
//! Every conversation has a deadline. See org.freedesktop.systemd1(5) and systemd.resource-control(5).

use std::path::{Path, PathBuf};
use std::time::Duration;

use caisson_plan::facts::CgroupFacts;
use caisson_plan::step::cgroup::{CgroupDriver, CgroupPlan, UnitProperty};

use self::bus::{Connection, Peer};
use self::message::{Incoming, Method};
use self::wire::{Reader, Value, Writer};
use crate::location::{Location, SystemdUnit};
use crate::{Result, files, settings, v1, v2};

mod bus;
mod message;
mod wire;

/// How long systemd may take for a job: runc's limit too.
const LIMIT: Duration = Duration::from_secs(30);
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A conversation with systemd that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemdError {
    /// Nobody listens.
    #[error(
        "connect to systemd; tried {tried}; hint: is systemd the init of this host, and for a user: is there a \
         session (loginctl enable-linger, XDG_RUNTIME_DIR)? --cgroup-manager cgroupfs works without"
    )]
    NoBus {
        /// The sockets and why each failed.
        tried: String,
    },
    /// The bus does not accept us.
    #[error("authenticate with the bus: it answered {reply:?}")]
    Auth {
        /// Its words.
        reply: String,
    },
    /// An error reply.
    #[error("systemd {method}: {text} ({name})")]
    Call {
        /// The method called.
        method: &'static str,
        /// The D-Bus name of the error.
        name: String,
        /// systemd's words.
        text: String,
    },
    /// No answer in time.
    #[error("systemd {what}: no answer after {waited_ms} ms")]
    Timeout {
        /// What was awaited.
        what: &'static str,
        /// How long.
        waited_ms: u128,
    },
    /// The job ended otherwise than "done".
    #[error("systemd job for {unit}: {result}; hint: systemctl status {unit}, journalctl -u {unit}")]
    Job {
        /// The unit.
        unit: String,
        /// systemd's word.
        result: String,
    },
    /// systemd put the container elsewhere than the plan says.
    #[error("systemd placed {unit} at {found}, not at {expected}")]
    WrongPlace {
        /// The unit.
        unit: String,
        /// The cgroup of the plan.
        expected: String,
        /// The cgroup of the process.
        found: String,
    },
    /// The connection ended.
    #[error("systemd {what}: the connection was closed")]
    Closed {
        /// What was awaited.
        what: &'static str,
    },
    /// Not D-Bus.
    #[error("systemd {what}: malformed message")]
    Malformed {
        /// What was awaited.
        what: &'static str,
    },
    /// The socket failed.
    #[error("systemd {what}")]
    Io {
        /// What was under way.
        what: &'static str,
        /// The error.
        #[source]
        source: std::io::Error,
    },
}

impl SystemdError {
    pub(crate) fn is(&self, short_name: &str) -> bool {
        matches!(self, Self::Call { name, .. } if name.strip_prefix("org.freedesktop.systemd1.") == Some(short_name))
    }
}

/// Starts the plan's unit around `pid`, then does what systemd does not.
pub(crate) fn start(plan: &CgroupPlan, location: &Location, pid: i32) -> Result<()> {
    let (Some(unit), CgroupDriver::Systemd { properties, .. }) = (&location.systemd, &plan.driver) else {
        return Ok(());
    };
    let mut manager = Manager::connect(unit, LIMIT)?;
    manager.start(unit, properties, pid)?;
    finish(plan, location, unit, pid)
}

fn finish(plan: &CgroupPlan, location: &Location, unit: &SystemdUnit, pid: i32) -> Result<()> {
    match &plan.hierarchies {
        CgroupFacts::V1 { hierarchies, .. } => {
            // systemd makes the cgroup in its own hierarchy, and in those of the controllers it uses itself.
            let dirs = v1::make(plan, hierarchies, &location.v1, &mut Vec::new())?;
            for dir in &dirs {
                crate::enter_dir(&dir.dir, &pid.to_string())?;
            }
        }
        CgroupFacts::V2(_) => {
            if let Some(dir) = location.v2.as_deref().filter(|_| unit.unit.ends_with(".slice")) {
                crate::enter_dir(dir, &pid.to_string())?;
            }
            check_place(plan, unit, pid)?;
        }
        CgroupFacts::None => {}
    }
    settings::write_all(location, &plan.settings)?;
    crate::write_devices(location, &plan.devices)?;
    match (plan.delegate_to, location.v2_only()) {
        (Some(uid), Some(dir)) => v2::delegate(dir, uid),
        _ => Ok(()),
    }
}

/// What is recorded must be where the process is: everything later relies on it.
fn check_place(plan: &CgroupPlan, unit: &SystemdUnit, pid: i32) -> Result<()> {
    let path = Path::new("/proc").join(pid.to_string()).join("cgroup");
    let text = files::read(&path).map_err(|errno| crate::Error::file("read", &path, errno))?;
    let found = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let expected = plan.path.as_path();
    if Path::new(found) == expected {
        return Ok(());
    }
    let (unit, expected, found) = (unit.unit.clone(), expected.display().to_string(), found.to_owned());
    Err(SystemdError::WrongPlace { unit, expected, found }.into())
}

/// Moves a process into a running unit.
pub(crate) fn attach(unit: &SystemdUnit, pid: i32) -> Result<()> {
    let mut body = Writer::default();
    body.text(&unit.unit).text("").array(4, |w| {
        w.u32(pid.cast_unsigned());
    });
    let mut manager = Manager::connect(unit, LIMIT)?;
    manager.call("AttachProcessesToUnit", "ssau", &body)?;
    Ok(())
}

/// Changes properties of a running unit, until the next start only.
pub(crate) fn set_properties(unit: &SystemdUnit, properties: &[UnitProperty]) -> Result<()> {
    let mut body = Writer::default();
    body.text(&unit.unit).bool(true).array(8, |w| {
        for property in properties {
            w.property(&property.name, &Value::Unit(&property.value));
        }
    });
    let mut manager = Manager::connect(unit, LIMIT)?;
    manager.call("SetUnitProperties", "sba(sv)", &body)?;
    Ok(())
}

/// Stops the unit and waits for it; one that is gone is no error.
pub(crate) fn stop(unit: &SystemdUnit, limit: Duration) -> Result<()> {
    let mut manager = Manager::connect(unit, limit)?;
    match manager.stop(unit) {
        // A scope whose last process has ended goes away by itself.
        Err(error) if error.is("NoSuchUnit") => {}
        other => other?,
    }
    // A scope that ended badly stays as "failed" and blocks its name; one that did not is an error nobody minds.
    let mut body = Writer::default();
    body.text(&unit.unit);
    manager.call("ResetFailedUnit", "s", &body).ok();
    Ok(())
}

/// systemd's manager object.
struct Manager(Connection);

type Answer<T> = std::result::Result<T, SystemdError>;

impl Manager {
    fn connect(unit: &SystemdUnit, limit: Duration) -> Answer<Self> {
        let user_dir = unit.user.then(|| match &unit.runtime_dir {
            Some(dir) => dir.clone(),
            None => PathBuf::from(format!("/run/user/{}", nix::unistd::geteuid())),
        });
        let (connection, peer) = Connection::open(&bus::sockets(user_dir.as_deref()), limit)?;
        Self::over(connection, peer)
    }

    fn over(connection: Connection, peer: Peer) -> Answer<Self> {
        let mut manager = Self(connection);
        if peer == Peer::Bus {
            manager.0.match_signals(MANAGER, "JobRemoved")?;
            // Without a subscriber systemd sends no signals to the bus; a second subscription is no error.
            manager.call("Subscribe", "", &Writer::default())?;
        }
        Ok(manager)
    }

    fn call(&mut self, name: &'static str, signature: &'static str, body: &Writer) -> Answer<Vec<u8>> {
        let method = Method {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: MANAGER,
            name,
            signature,
        };
        self.0.call(&method, &body.0)
    }

    fn start(&mut self, unit: &SystemdUnit, properties: &[UnitProperty], pid: i32) -> Answer<()> {
        let body = transient_unit(unit, properties, pid);
        let job = match self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", &body) {
            Err(error) if error.is("UnitExists") => {
                // A failed scope of an earlier container keeps its name until somebody resets it.
                let mut name = Writer::default();
                name.text(&unit.unit);
                self.call("ResetFailedUnit", "s", &name).ok();
                self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", &body)?
            }
            other => other?,
        };
        self.wait_for(&job, unit, "StartTransientUnit")
    }

    fn stop(&mut self, unit: &SystemdUnit) -> Answer<()> {
        let mut body = Writer::default();
        body.text(&unit.unit).text("replace");
        let job = self.call("StopUnit", "ss", &body)?;
        self.wait_for(&job, unit, "StopUnit")
    }

    /// Waits for the end of the job whose object path is in `reply`.
    fn wait_for(&mut self, reply: &[u8], unit: &SystemdUnit, what: &'static str) -> Answer<()> {
        let job = Reader::new(reply).text().ok_or(SystemdError::Malformed { what })?.to_owned();
        let result = self.0.signal(what, |message| job_result(message, &job))?;
        if result == "done" { Ok(()) } else { Err(SystemdError::Job { unit: unit.unit.clone(), result }) }
    }
}

/// The result in a JobRemoved(u id, o job, s unit, s result) of this job.
fn job_result(message: &Incoming, job: &str) -> Option<String> {
    let Incoming::Signal { interface, member, body } = message else { return None };
    if interface != MANAGER || member != "JobRemoved" {
        return None;
    }
    let mut reader = Reader::new(body);
    reader.u32()?;
    if reader.text()? != job {
        return None;
    }
    reader.text()?;
    reader.text().map(str::to_owned)
}

/// The arguments of StartTransientUnit.
fn transient_unit(unit: &SystemdUnit, properties: &[UnitProperty], pid: i32) -> Writer {
    let description = format!("caisson container {}", unit.unit.trim_end_matches(".scope"));
    let pids = [pid.cast_unsigned()];
    let basic = [
        ("Description", Value::Text(&description)),
        ("Slice", Value::Text(&unit.slice)),
        // The container may have cgroups of its own below, and the runtime writes files that systemd leaves alone.
        ("Delegate", Value::Bool(true)),
        // Not stopped with the rest at shutdown before the engine had its say, and not after sysinit.target.
        ("DefaultDependencies", Value::Bool(false)),
        ("CPUAccounting", Value::Bool(true)),
        ("MemoryAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
        ("IOAccounting", Value::Bool(true)),
        ("PIDs", Value::Numbers(&pids)),
    ];
    let mut body = Writer::default();
    body.text(&unit.unit).text("replace").array(8, |w| {
        for (name, value) in &basic {
            // A slice takes its place from its name, and neither processes nor delegation.
            if unit.unit.ends_with(".slice") && ["Slice", "Delegate", "PIDs"].contains(name) {
                continue;
            }
            if !properties.iter().any(|property| property.name == *name) {
                w.property(name, value);
            }
        }
        for property in properties {
            w.property(&property.name, &Value::Unit(&property.value));
        }
    });
    // No auxiliary units.
    body.array(8, |_| {});
    body
}

#[cfg(test)]
mod tests;
