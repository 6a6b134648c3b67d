//! `linux.resources.blockIO` on either cgroup version.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

use crate::context::each;
use crate::ids::Pointer;
use crate::resources::{Place, Writer};

/// Converts weights and throttles.
pub(crate) fn plan(io: &LinuxBlockIo, at: &Pointer, writer: &mut Writer<'_>) {
    let weights = io.weight().is_some_and(|weight| weight != 0)
        || io.leaf_weight().is_some_and(|weight| weight != 0)
        || each(io.weight_device()).next().is_some();
    let throttles = throttle_lists(io).iter().any(|(list, ..)| each(list).next().is_some());
    if !weights && !throttles {
        return;
    }
    let Some(place) = writer.place("blkio", at) else { return };
    weight(io, place, at, writer);
    for (index, device) in each(io.weight_device()).enumerate() {
        weight_device(device, place, &at.child("weightDevice").child(index), writer);
    }
    for (list, key, v1_file, v2_key) in throttle_lists(io) {
        for (index, device) in each(list).enumerate() {
            throttle(device, place, (v1_file, v2_key), &at.child(key).child(index), writer);
        }
    }
}

type ThrottleList<'a> = (&'a Option<Vec<LinuxThrottleDevice>>, &'static str, &'static str, &'static str);

fn throttle_lists(io: &LinuxBlockIo) -> [ThrottleList<'_>; 4] {
    [
        (io.throttle_read_bps_device(), "throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
        (io.throttle_write_bps_device(), "throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
        (
            io.throttle_read_iops_device(),
            "throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            "riops",
        ),
        (
            io.throttle_write_iops_device(),
            "throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            "wiops",
        ),
    ]
}

/// Which file takes a weight depends on the I/O scheduler: `*.bfq.weight` with BFQ, `io.weight` with the cost model,
/// `blkio.weight` with CFQ (until Linux 5.0). Each is written where it is present.
fn weight(io: &LinuxBlockIo, place: Place, at: &Pointer, writer: &mut Writer<'_>) {
    let at_weight = at.child("weight");
    if let Some(weight) = io.weight().filter(|weight| in_range(*weight, &at_weight, writer)) {
        match place {
            Place::V1 => {
                writer.set_if_present("blkio", "blkio.weight", weight.to_string(), &at_weight);
                writer.set_if_present("blkio", "blkio.bfq.weight", weight.to_string(), &at_weight);
            }
            Place::V2 => {
                writer.set_if_present("io", "io.bfq.weight", weight.to_string(), &at_weight);
                writer.set_if_present(
                    "io",
                    "io.weight",
                    format!("default {}", v2_weight(weight)),
                    &at_weight,
                );
            }
        }
    }
    let at_leaf = at.child("leafWeight");
    if let Some(weight) = io.leaf_weight().filter(|weight| in_range(*weight, &at_leaf, writer)) {
        leaf(&weight.to_string(), "blkio.leaf_weight", place, &at_leaf, writer);
    }
}

fn weight_device(device: &LinuxWeightDevice, place: Place, at: &Pointer, writer: &mut Writer<'_>) {
    let Some(name) = device_name(device.major(), device.minor(), at, writer) else { return };
    if device.weight().is_none() && device.leaf_weight().is_none() {
        writer.problems.error(at, "needs weight or leafWeight");
    }
    let at_weight = at.child("weight");
    if let Some(weight) = device.weight().filter(|weight| in_range(*weight, &at_weight, writer)) {
        match place {
            Place::V1 => {
                writer.set_if_present("blkio", "blkio.weight_device", format!("{name} {weight}"), &at_weight);
                writer.set_if_present(
                    "blkio",
                    "blkio.bfq.weight_device",
                    format!("{name} {weight}"),
                    &at_weight,
                );
            }
            Place::V2 => {
                writer.set_if_present("io", "io.bfq.weight", format!("{name} {weight}"), &at_weight);
                writer.set_if_present("io", "io.weight", format!("{name} {}", v2_weight(weight)), &at_weight);
            }
        }
    }
    let at_leaf = at.child("leafWeight");
    if let Some(weight) = device.leaf_weight().filter(|weight| in_range(*weight, &at_leaf, writer)) {
        leaf(&format!("{name} {weight}"), "blkio.leaf_weight_device", place, &at_leaf, writer);
    }
}

fn leaf(value: &str, file: &str, place: Place, at: &Pointer, writer: &mut Writer<'_>) {
    match place {
        Place::V1 => {
            writer
                .problems
                .warn(at, "for the CFQ scheduler, which Linux 5.0 removed: set only where present");
            writer.set_if_present("blkio", file, value, at);
        }
        Place::V2 => writer.problems.error(at, "cgroup v2 has no leaf weights"),
    }
}

fn throttle(
    device: &LinuxThrottleDevice,
    place: Place,
    (v1_file, v2_key): (&str, &str),
    at: &Pointer,
    writer: &mut Writer<'_>,
) {
    let Some(name) = device_name(device.major(), device.minor(), at, writer) else { return };
    let rate = device.rate();
    match place {
        Place::V1 => writer.set("blkio", v1_file, format!("{name} {rate}"), at),
        // 0 lifts the limit on v1; on v2 that is "max".
        Place::V2 if rate == 0 => writer.set("io", "io.max", format!("{name} {v2_key}=max"), at),
        Place::V2 => writer.set("io", "io.max", format!("{name} {v2_key}={rate}"), at),
    }
}

fn device_name(major: i64, minor: i64, at: &Pointer, writer: &mut Writer<'_>) -> Option<String> {
    let valid = (0..=0xfff).contains(&major) && (0..=0xf_ffff).contains(&minor);
    if !valid {
        writer.problems.error(at, format!("{major}:{minor} is not a device number"));
    }
    valid.then(|| format!("{major}:{minor}"))
}

/// Weights are 10 to 1000; 0 means "not set".
fn in_range(weight: u16, at: &Pointer, writer: &mut Writer<'_>) -> bool {
    let valid = (10..=1000).contains(&weight);
    if !valid && weight != 0 {
        writer.problems.error(at, format!("{weight} is not from 10 to 1000"));
    }
    valid
}

/// 10 to 1000 on v1 is 1 to 10000 on v2.
fn v2_weight(weight: u16) -> u32 {
    1 + (u32::from(weight) - 10) * 9999 / 990
}
