//! stub
use crate::devices;
use crate::facts::HostFacts;
use crate::ids::Pointer;
use crate::problem::Problems;
use crate::step::cgroup::{DeviceRule, Setting};
use oci_spec::runtime::LinuxResources;

/// Limits converted for this host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    pub settings: Vec<Setting>,
    pub devices: Vec<DeviceRule>,
}

pub(crate) fn plan(
    resources: &LinuxResources,
    _facts: &HostFacts,
    at: &Pointer,
    problems: &mut Problems,
) -> Resources {
    let mut devices = devices::rules(resources.devices(), &at.child("devices"), problems);
    if !devices.is_empty() {
        devices.extend(devices::default_rules());
    }
    Resources { settings: Vec::new(), devices }
}
