//! The systemd driver: scope units over D-Bus.
use crate::location::{Location, SystemdUnit};
use caisson_plan::step::cgroup::{CgroupPlan, UnitProperty};
use std::time::Duration;
/// What can go wrong with systemd.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// Not there yet.
    #[error("the systemd driver is not built in")]
    Absent,
}
pub(crate) fn start(_plan: &CgroupPlan, _location: &Location, _pid: i32) -> crate::Result<()> {
    Err(SystemdError::Absent.into())
}
pub(crate) fn attach(_unit: &SystemdUnit, _pid: i32) -> crate::Result<()> {
    Err(SystemdError::Absent.into())
}
pub(crate) fn set_properties(_unit: &SystemdUnit, _properties: &[UnitProperty]) -> crate::Result<()> {
    Err(SystemdError::Absent.into())
}
pub(crate) fn stop(_unit: &SystemdUnit, _limit: Duration) -> crate::Result<()> {
    Err(SystemdError::Absent.into())
}
