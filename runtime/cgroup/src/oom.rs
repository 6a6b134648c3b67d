//! Watching for the memory limit being hit.
use crate::{Error, Location, Result};
/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum OomEvent {}
/// A watch.
#[derive(Debug)]
pub struct OomWatch;
impl OomWatch {
    pub(crate) fn open(_location: &Location) -> Result<Self> {
        Err(Error::Missing { what: "watch for the memory limit", needs: "memory cgroup" })
    }
}
