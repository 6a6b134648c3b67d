//! `linux.resources`: limits converted to the files of this host's hierarchies.
//!
//! One converter a controller; `resources_v1` and `resources_v2` hold the two tables. Which of them speaks is decided
//! controller by controller, since a hybrid host has some on either side.

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxRdma, LinuxResources};

use crate::context::{each, sorted};
use crate::devices;
use crate::facts::{CgroupFacts, HostFacts};
use crate::ids::Pointer;
use crate::problem::Problems;
use crate::step::cgroup::{DeviceRule, Setting, SettingMode};
use crate::{resources_v1, resources_v2};

/// Limits converted for this host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    pub settings: Vec<Setting>,
    pub devices: Vec<DeviceRule>,
}

/// Where a controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    V1,
    V2,
}

/// Collects settings.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub facts: &'a HostFacts,
    pub problems: &'a mut Problems,
    pub settings: Vec<Setting>,
}

impl Writer<'_> {
    /// A setting whose failure is an error.
    pub fn set(&mut self, controller: &str, file: &str, value: impl Into<String>, from: &Pointer) {
        self.set_with(controller, file, value, from, SettingMode::Required);
    }

    /// A setting whose file some kernels lack.
    pub fn set_if_present(&mut self, controller: &str, file: &str, value: impl Into<String>, from: &Pointer) {
        self.set_with(controller, file, value, from, SettingMode::IfPresent);
    }

    /// A setting that is 0 by default: kernels without the file need nothing written.
    pub fn set_default_zero(&mut self, controller: &str, file: &str, value: Option<i128>, from: &Pointer) {
        if let Some(value) = value {
            let mode = if value == 0 { SettingMode::IfPresent } else { SettingMode::Required };
            self.set_with(controller, file, value.to_string(), from, mode);
        }
    }

    pub fn set_with(
        &mut self,
        controller: &str,
        file: &str,
        value: impl Into<String>,
        from: &Pointer,
        mode: SettingMode,
    ) {
        self.settings.push(Setting {
            controller: controller.to_owned(),
            file: file.to_owned(),
            value: value.into(),
            from: from.clone(),
            mode,
        });
    }

    /// Where `controller` is; reports an error at `from` when it is nowhere.
    pub fn place(&mut self, controller: &str, from: &Pointer) -> Option<Place> {
        let place = place(self.facts, controller);
        if place.is_none() {
            let hint = match controller {
                "net_cls" | "net_prio" => {
                    "cgroup v2 does not have it: use nftables in the container's namespace"
                }
                _ => "enable it in the kernel, or remove the limit",
            };
            self.problems.error_hint(from, format!("this host has no {controller} cgroup controller"), hint);
        }
        place
    }
}

/// Finds `controller` (by its v1 name) in the host's hierarchies.
pub(crate) fn place(facts: &HostFacts, controller: &str) -> Option<Place> {
    let v2_name = if controller == "blkio" { "io" } else { controller };
    match &facts.cgroups {
        CgroupFacts::V2(tree) => tree.controllers.iter().any(|name| name == v2_name).then_some(Place::V2),
        CgroupFacts::V1 { hierarchies, unified } => {
            let v1 = hierarchies
                .iter()
                .any(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller));
            let v2 = unified.as_ref().is_some_and(|tree| tree.controllers.iter().any(|name| name == v2_name));
            if v1 { Some(Place::V1) } else { v2.then_some(Place::V2) }
        }
        CgroupFacts::None => None,
    }
}

/// Converts `resources` of config.json.
pub(crate) fn plan(
    resources: &LinuxResources,
    facts: &HostFacts,
    at: &Pointer,
    problems: &mut Problems,
) -> Resources {
    let devices = devices::rules(resources.devices(), &at.child("devices"), problems);
    let mut writer = Writer { facts, problems, settings: Vec::new() };
    if let Some(cpu) = resources.cpu() {
        cpu_controllers(cpu, &at.child("cpu"), &mut writer);
    }
    if let Some(memory) = resources.memory() {
        crate::resources_memory::plan(memory, &at.child("memory"), &mut writer);
    }
    if let Some(limit) = resources.pids() {
        pids(*limit, &at.child("pids").child("limit"), &mut writer);
    }
    if let Some(block_io) = resources.block_io() {
        crate::resources_io::plan(block_io, &at.child("blockIO"), &mut writer);
    }
    hugepages(resources.hugepage_limits(), &at.child("hugepageLimits"), &mut writer);
    if let Some(wanted) = resources.network() {
        network(wanted, &at.child("network"), &mut writer);
    }
    for (name, limits) in resources.rdma().iter().flat_map(sorted) {
        rdma(name, limits, &at.child("rdma").child(name), &mut writer);
    }
    // Last: what is written by name wins over what was converted.
    for (file, value) in resources.unified().iter().flat_map(sorted) {
        unified(file, value, &at.child("unified").child(file), &mut writer);
    }
    Resources { settings: writer.settings, devices }
}

fn cpu_controllers(cpu: &oci_spec::runtime::LinuxCpu, at: &Pointer, writer: &mut Writer<'_>) {
    check_cpu(cpu, at, writer.problems);
    let time = cpu.shares().is_some_and(|shares| shares != 0)
        || cpu.quota().is_some_and(|quota| quota != 0)
        || cpu.period().is_some_and(|period| period != 0)
        || cpu.burst().is_some()
        || cpu.idle().is_some()
        || cpu.realtime_runtime().is_some_and(|runtime| runtime != 0)
        || cpu.realtime_period().is_some_and(|period| period != 0);
    if time {
        match writer.place("cpu", at) {
            Some(Place::V1) => resources_v1::cpu(cpu, at, writer),
            Some(Place::V2) => resources_v2::cpu(cpu, at, writer),
            None => {}
        }
    }
    // The files have the same names on v1 and v2.
    for (list, key) in [(cpu.cpus(), "cpus"), (cpu.mems(), "mems")] {
        let at = at.child(key);
        let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else { continue };
        if crate::scheduling::number_list(list, &at, writer.problems).is_some()
            && writer.place("cpuset", &at).is_some()
        {
            writer.set("cpuset", &format!("cpuset.{key}"), list, &at);
        }
    }
}

fn check_cpu(cpu: &oci_spec::runtime::LinuxCpu, at: &Pointer, problems: &mut Problems) {
    let burst = cpu.burst().unwrap_or(0);
    let quota = cpu.quota().and_then(|quota| u64::try_from(quota).ok()).unwrap_or(0);
    if quota > 0 && burst > quota {
        problems.error(&at.child("burst"), format!("{burst} exceeds the quota {quota}"));
    }
    if cpu.idle().is_some_and(|idle| !matches!(idle, 0 | 1)) {
        problems.error(&at.child("idle"), "expected 0 or 1");
    }
}

/// The kernel takes 0, but no process can be made in such a cgroup, init included; and the model reads a missing limit
/// as 0. So 0 means "not set", as in all runtimes of the field.
fn pids(limit: LinuxPids, at: &Pointer, writer: &mut Writer<'_>) {
    if limit.limit() == 0 {
        writer.problems.warn(at, "0 is taken as no limit given: init itself could not be made");
    } else if writer.place("pids", at).is_some() {
        writer.set("pids", "pids.max", or_max(limit.limit()), at);
    }
}

fn hugepages(limits: &Option<Vec<LinuxHugepageLimit>>, at: &Pointer, writer: &mut Writer<'_>) {
    for (index, limit) in each(limits).enumerate() {
        let at = at.child(index);
        let size = limit.page_size();
        if !is_page_size(size) {
            writer
                .problems
                .error(&at.child("pageSize"), format!("{size:?} is not a size like 64KB, 2MB or 1GB"));
            continue;
        }
        // Reservations are limited where the kernel can; usage always (config-linux.md, "Huge page limits").
        match writer.place("hugetlb", &at) {
            Some(Place::V1) => {
                let value = limit.limit().to_string();
                writer.set("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), value.clone(), &at);
                writer.set_if_present("hugetlb", &format!("hugetlb.{size}.rsvd.limit_in_bytes"), value, &at);
            }
            Some(Place::V2) => {
                let value = or_max(limit.limit());
                writer.set("hugetlb", &format!("hugetlb.{size}.max"), value.clone(), &at);
                writer.set_if_present("hugetlb", &format!("hugetlb.{size}.rsvd.max"), value, &at);
            }
            None => {}
        }
    }
}

fn is_page_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit)).unwrap_or("");
    !number.is_empty() && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn network(wanted: &LinuxNetwork, at: &Pointer, writer: &mut Writer<'_>) {
    if let Some(class) = wanted.class_id().filter(|class| *class != 0) {
        let at = at.child("classID");
        if writer.place("net_cls", &at).is_some() {
            writer.set("net_cls", "net_cls.classid", class.to_string(), &at);
        }
    }
    for (index, priority) in each(wanted.priorities()).enumerate() {
        let at = at.child("priorities").child(index);
        if priority.name().is_empty() || priority.name().contains(char::is_whitespace) {
            writer.problems.error(&at.child("name"), format!("{:?} is no interface name", priority.name()));
        } else if writer.place("net_prio", &at).is_some() {
            let value = format!("{} {}", priority.name(), priority.priority());
            writer.set("net_prio", "net_prio.ifpriomap", value, &at);
        }
    }
}

fn rdma(name: &str, limits: &LinuxRdma, at: &Pointer, writer: &mut Writer<'_>) {
    if name.is_empty() || name.contains(char::is_whitespace) {
        writer.problems.error(at, format!("{name:?} is no device name"));
        return;
    }
    let handles = limits.hca_handles().map(|count| format!(" hca_handle={count}"));
    let objects = limits.hca_objects().map(|count| format!(" hca_object={count}"));
    if handles.is_none() && objects.is_none() {
        writer.problems.error(at, "needs hcaHandles or hcaObjects");
    } else if writer.place("rdma", at).is_some() {
        let value = format!("{name}{}{}", handles.unwrap_or_default(), objects.unwrap_or_default());
        writer.set("rdma", "rdma.max", value, at);
    }
}

fn unified(file: &str, value: &str, at: &Pointer, writer: &mut Writer<'_>) {
    let tree = match &writer.facts.cgroups {
        CgroupFacts::V2(tree) => Some(tree),
        CgroupFacts::V1 { unified, .. } => unified.as_ref(),
        CgroupFacts::None => None,
    };
    let Some(tree) = tree else {
        writer.problems.error_hint(at, "needs cgroup v2", "use the fields of the v1 controllers");
        return;
    };
    let Some((controller, rest)) = file.split_once('.').filter(|_| !file.contains(['/', '\0'])) else {
        writer.problems.error(at, "not a file name of the form controller.name");
        return;
    };
    let known = controller == "cgroup" || tree.controllers.iter().any(|name| name == controller);
    if !known || rest.is_empty() {
        writer.problems.error(at, format!("this host has no {controller} controller on cgroup v2"));
        return;
    }
    let process_file =
        matches!(file, "cgroup.procs" | "cgroup.threads" | "cgroup.subtree_control" | "cgroup.kill");
    if process_file || matches!(file, "cgroup.freeze" | "cgroup.type") {
        writer.problems.error(at, "written by the runtime itself");
        return;
    }
    // The kernel takes one line a write.
    for line in value.lines() {
        writer.set(controller, file, line, at);
    }
}

/// A v2 limit: negative is `max`.
pub(crate) fn or_max(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}
