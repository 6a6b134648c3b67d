use caisson_plan::facts::*; use caisson_plan::ids::*; use caisson_plan::options::*; use std::os::fd::AsFd;
fn main() {
    let bundle = std::env::args().nth(1).unwrap();
    let json = std::fs::read(format!("{bundle}/config.json")).unwrap();
    let parsed = caisson_plan::spec::parse(&json).unwrap();
    let v1 = |c: &str, m: &str| V1Hierarchy { controllers: vec![c.into()], mount: HostPath::new(format!("/sys/fs/cgroup/{m}")), own: CgroupPath::new("/") };
    let mut hs: Vec<V1Hierarchy> = ["cpu","cpuacct","cpuset","memory","devices","freezer","blkio","pids"].iter().map(|c| v1(c,c)).collect();
    hs.push(v1("name=systemd","systemd"));
    let facts = HostFacts { kernel: (6,18), euid: 0, egid: 0, in_userns: false, capabilities: 0x1fffeffffff, last_cap: 40,
        cgroups: CgroupFacts::V1 { hierarchies: hs, unified: Some(V2Tree{ mount: HostPath::new("/sys/fs/cgroup/unified"), own: CgroupPath::new("/"), controllers: vec!["hugetlb".into()] }) },
        systemd: false, apparmor: false, selinux: false, landlock_abi: 6, resctrl: None, newuidmap: None, newgidmap: None, filesystems: vec![] };
    let mut o = Options::new(ContainerId::parse("try1").unwrap(), HostPath::new(&bundle));
    o.command = Command::Run;
    let planned = caisson_plan::plan::plan(&parsed.spec, &facts, &o);
    let plan = match planned.result { Ok(p) => p, Err(p) => { for x in p.list() { eprintln!("{x}"); } std::process::exit(1) } };
    if std::env::var("SHOW").is_ok() { for (i,s) in plan.steps.iter().enumerate() { let t=format!("{:?}", s.action); println!("{:2} {:?} {} [{}]", i+1, s.actor, &t[..t.len().min(150)], s.from); } }
    let dir = std::fs::File::open("/tmp").unwrap();
    let state = |pid: i32, s: caisson_exec::Status| format!("{{\"pid\":{pid},\"status\":\"{}\"}}", s.as_str());
    let c = caisson_exec::create(&plan, caisson_exec::Outside { state_dir: dir.as_fd(), console_socket: None, inherited: 0, seccomp_cache: None, timings: std::env::var("TIME").is_ok(), fail_at: std::env::var("FAIL").ok().map(|s| s.parse().unwrap()), hook_state: &state });
    let c = match c { Ok(c) => c, Err(e) => { eprintln!("ERR {e}"); std::process::exit(1) } };
    let loc = c.cgroup().cloned();
    match c.wait_for_exec() { Err(e) => eprintln!("ERR {e}"), Ok((pidfd, t)) => {
        let st = caisson_sys::pidfd::wait(pidfd.as_fd()).unwrap();
        println!("{st:?}"); if !t.is_empty() { let t0 = t.iter().map(|x| x.begin).min().unwrap(); let mut t=t; t.sort_by_key(|x| x.begin); for x in t { let a=format!("{:?}", plan.steps[x.step].action); println!("{:>8.1} {:>8.1}us {:?} {}", (x.begin-t0) as f64/1e3, (x.end-x.begin) as f64/1e3, x.actor, &a[..a.len().min(40)]); } } } }
    if let Some(l) = loc { caisson_cgroup::Cgroup::open(l).destroy(std::time::Duration::from_secs(2)).unwrap(); }
}
