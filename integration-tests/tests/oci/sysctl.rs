//! `linux.sysctl`.

use caisson_integration_tests::prelude::*;

#[test]
fn sysctls_of_the_containers_namespaces_are_set() {
    needs!(root);
    let bundle =
        Bundle::sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max")
            .set(
                "/linux/sysctl",
                json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096", "fs.mqueue.msg_max": "5"}),
            );
    assert_eq!(bundle.container().run().ok().lines(), ["1", "4096", "5"]);
}

#[test]
fn slashes_separate_as_well_as_dots() {
    needs!(root);
    let bundle = Bundle::sh("cat /proc/sys/net/ipv4/ip_forward");
    assert_eq!(
        bundle.set("/linux/sysctl", json!({"net/ipv4/ip_forward": "1"})).container().run().ok().text(),
        "1"
    );
}

#[test]
fn the_hosts_values_stay() {
    needs!(root);
    let path = "/proc/sys/kernel/shmmni";
    let before = std::fs::read_to_string(path).expect("the host's value");
    let out = Bundle::of(&["cat", path])
        .set("/linux/sysctl", json!({"kernel.shmmni": "77"}))
        .container()
        .run()
        .ok();
    assert_eq!(out.text(), "77");
    assert_eq!(std::fs::read_to_string(path).expect("the host's value"), before);
}

#[test]
fn a_sysctl_of_the_whole_host_is_refused() {
    needs!(root);
    let path = "/proc/sys/vm/swappiness";
    let before = std::fs::read_to_string(path).expect("the host's value");
    Bundle::sh("true").set("/linux/sysctl", json!({"vm.swappiness": "1"})).container().run().fails();
    assert_eq!(std::fs::read_to_string(path).expect("the host's value"), before);
}

#[test]
fn a_network_sysctl_in_the_hosts_network_is_refused() {
    needs!(root);
    let bundle = Bundle::sh("true").without_namespace("network");
    bundle.set("/linux/sysctl", json!({"net.ipv4.ip_default_ttl": "64"})).container().run().fails();
}

#[test]
fn a_sysctl_with_dots_that_climb_is_refused() {
    needs!(root);
    let sysctl = json!({"net.ipv4/../../vm/swappiness": "1"});
    let before = std::fs::read_to_string("/proc/sys/vm/swappiness").expect("the host's value");
    Bundle::sh("true").set("/linux/sysctl", sysctl).container().run().fails();
    assert_eq!(std::fs::read_to_string("/proc/sys/vm/swappiness").expect("the host's value"), before);
}

#[test]
fn an_unknown_sysctl_is_an_error_that_names_it() {
    needs!(root);
    let bundle = Bundle::sh("true").set("/linux/sysctl", json!({"net.nonsense": "1"}));
    bundle.container().run().fails().says("nonsense");
}
