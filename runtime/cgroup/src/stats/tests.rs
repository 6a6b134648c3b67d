use super::*;
use crate::location::V1Dir;
use crate::testing::Scratch;

#[test]
fn v2_has_runcs_json() {
    let root = Scratch::new("stats-v2");
    root.file(
        "cpu.stat",
        "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
    )
    .file(
        "cpu.pressure",
        "some avg10=1.50 avg60=0.00 avg300=0.25 total=99\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    )
    .file("memory.current", "1000\n")
    .file("memory.max", "max\n")
    .file("memory.peak", "2000\n")
    .file("memory.swap.current", "24\n")
    .file("memory.swap.max", "100\n")
    .file("memory.stat", "anon 600\nfile 400\n")
    .file("memory.events", "low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\n")
    .file("pids.current", "2\n")
    .file("pids.max", "max\n")
    .file("io.stat", "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0 cost.usage=1\n7:40000 \n");
    let stats = read(&Location { v2: Some(root.path().to_owned()), ..Location::default() }).unwrap();
    let json = serde_json::to_value(&stats).unwrap();
    let expected = serde_json::json!({
        "cpu": {
            "usage": {"total": 30000, "kernel": 20000, "user": 10000},
            "throttling": {"periods": 5, "throttledPeriods": 2, "throttledTime": 7000},
            "psi": {
                "some": {"avg10": 1.5, "avg60": 0.0, "avg300": 0.25, "total": 99},
                "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0}
            }
        },
        "cpuset": {
            "cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0, "memory_spread_page": 0,
            "memory_spread_slab": 0, "memory_pressure": 0, "sched_load_balance": 0, "sched_relax_domain_level": 0
        },
        "memory": {
            "cache": 400,
            "usage": {"limit": u64::MAX, "usage": 1000, "max": 2000, "failcnt": 3},
            "swap": {"limit": u64::MAX, "usage": 1024, "failcnt": 0},
            "kernel": {"limit": 0, "failcnt": 0},
            "kernelTCP": {"limit": 0, "failcnt": 0},
            "raw": {"anon": 600, "file": 400},
            "peak": 2000
        },
        "pids": {"current": 2},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"major": 8, "op": "Read", "value": 4096}, {"major": 8, "op": "Write"}, {"major": 8, "op": "Discard"}
            ],
            "ioServicedRecursive": [
                {"major": 8, "op": "Read", "value": 1}, {"major": 8, "op": "Write"}, {"major": 8, "op": "Discard"}
            ]
        },
        "hugetlb": {}
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<Stats>(json).unwrap(), stats);
}

#[test]
fn v1_reads_each_controller_where_it_is() {
    let root = Scratch::new("stats-v1");
    root.file("m/memory.usage_in_bytes", "5\n")
        .file("m/memory.limit_in_bytes", "9223372036854771712\n")
        .file("m/memory.max_usage_in_bytes", "6\n")
        .file("m/memory.memsw.usage_in_bytes", "8\n")
        .file("m/memory.kmem.tcp.usage_in_bytes", "1\n")
        .file("m/memory.stat", "cache 4\nrss 1\n")
        .file("c/cpuacct.usage", "30\n")
        .file("c/cpuacct.usage_user", "10\n")
        .file("c/cpuacct.usage_sys", "20\n")
        .file("c/cpuacct.usage_percpu", "12 18 \n")
        .file("c/cpu.stat", "nr_periods 4\nnr_throttled 1\nthrottled_time 500\n")
        .file("s/cpuset.cpus", "0-2,5\n")
        .file("s/cpuset.sched_relax_domain_level", "-1\n")
        .file(
            "b/blkio.throttle.io_service_bytes_recursive",
            "7:40000 Read 4096\n7:40000 Total 4096\nTotal 4096\n",
        )
        .file("p/pids.max", "12\n")
        .file("p/pids.current", "3\n");
    let dir = |controllers: &[&str], name: &str| V1Dir {
        controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        dir: root.path().join(name),
    };
    let v1 = vec![
        dir(&["memory"], "m"),
        dir(&["cpu", "cpuacct"], "c"),
        dir(&["cpuset"], "s"),
        dir(&["blkio"], "b"),
        dir(&["pids"], "p"),
    ];
    let stats = read(&Location { v1, ..Location::default() }).unwrap();
    let entry = |limit, usage, max| MemoryEntry { limit, usage, max, failcnt: 0 };
    assert_eq!(stats.memory.usage, entry(9_223_372_036_854_771_712, 5, 6));
    assert_eq!((stats.memory.swap.usage, stats.memory.kernel_tcp.usage, stats.memory.cache), (8, 1, 4));
    assert_eq!(stats.memory.peak, Some(6));
    assert_eq!((stats.cpu.usage.total, stats.cpu.usage.user, stats.cpu.usage.kernel), (30, 10, 20));
    assert_eq!(stats.cpu.usage.percpu, [12, 18]);
    assert_eq!((stats.cpu.throttling.periods, stats.cpu.throttling.throttled_time), (4, 500));
    assert_eq!(stats.cpuset.cpus, [0, 1, 2, 5]);
    assert_eq!(stats.cpuset.sched_relax_domain_level, -1);
    let op = |op: &str| BlkioEntry { major: 7, minor: 40000, op: op.into(), value: 4096 };
    assert_eq!(stats.blkio.io_service_bytes_recursive, [op("Read"), op("Total")]);
    assert_eq!(stats.pids, Pids { current: 3, limit: 12 });
}

#[test]
fn rdma_is_counted_by_device() {
    let found = parse::rdma("mlx4_0 hca_handle=2 hca_object=2000\n");
    assert_eq!(found["mlx4_0"]["hca_object"], 2000);
}

#[test]
fn no_cgroup_has_no_statistics() {
    assert!(matches!(read(&Location::default()), Err(Error::Missing { .. })));
}
