//! `update`: new limits for a running container.

use oci_spec::runtime::LinuxResources;

use crate::facts::HostFacts;
use crate::ids::Pointer;
use crate::problem::Problems;
use crate::step::cgroup::{DeviceRule, Setting, UnitProperty};
use crate::{devices, resources, systemd};

/// What `update` writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Cgroup files, in order.
    pub settings: Vec<Setting>,
    /// The new device rules; `None`: they stay.
    pub devices: Option<Vec<DeviceRule>>,
    /// The same for systemd's unit.
    pub properties: Vec<UnitProperty>,
    /// What will not be quite as asked for.
    pub warnings: Problems,
}

/// Decides what `update` writes. Pointers start at the resources: `/memory/limit`.
///
/// # Errors
/// Every limit that is malformed, or that this host cannot set.
pub fn plan_update(wanted: &LinuxResources, facts: &HostFacts) -> Result<Update, Problems> {
    let mut problems = Problems::default();
    let converted = resources::plan(wanted, facts, &Pointer::default(), &mut problems);
    let mut properties = systemd::of_resources(wanted, facts);
    let given = wanted.devices().as_ref().is_some_and(|rules| !rules.is_empty());
    let devices = given.then(|| {
        let mut rules = converted.devices;
        rules.extend(devices::default_rules());
        properties.extend(systemd::of_devices(&rules));
        rules
    });
    let (errors, warnings) = problems.split();
    if errors.list().is_empty() {
        Ok(Update { settings: converted.settings, devices, properties, warnings })
    } else {
        Err(errors)
    }
}
