//! stub
use crate::context::Context;
use crate::ids::CgroupPath;
use crate::problem::Problems;
use crate::step::cgroup::CgroupDriver;
use oci_spec::runtime::LinuxResources;
pub(crate) fn place(
    _c: &Context<'_>,
    _r: Option<&LinuxResources>,
    _p: &mut Problems,
) -> (CgroupDriver, CgroupPath) {
    (CgroupDriver::Disabled, CgroupPath::new("/"))
}
