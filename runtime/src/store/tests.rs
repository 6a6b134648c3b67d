use super::*;

/// A store in a directory of its own, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("caisson-store-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn store(&self) -> Store {
        Store::new(self.0.join("root"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn intent() -> Intent {
    Intent { cgroup: caisson_cgroup::Location::default(), bundle: "/b".into(), resctrl_group: None }
}

fn state(id: &str) -> State {
    let own = i32::try_from(std::process::id()).unwrap();
    State {
        caisson_state: State::VERSION,
        id: ContainerId::parse(id).unwrap(),
        bundle: "/b".into(),
        pid: own,
        start_time: crate::procs::see(own).unwrap().start_time,
        creating: false,
        created: "1970-01-01T00:00:00Z".into(),
        owner_uid: 0,
        cgroup: caisson_cgroup::Location::default(),
        after: caisson_plan::step::AfterPlan { oci_version: "1.3.0".into(), ..Default::default() },
        joining: caisson_plan::ExecContext::default(),
    }
}

fn id(text: &str) -> ContainerId {
    ContainerId::parse(text).unwrap()
}

#[test]
fn create_makes_private_directories_and_reserves_the_id() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("reserve");
    let store = scratch.store();
    let (entry, _lock) = store.create(&id("web"), &intent()).unwrap();
    assert_eq!(fs::metadata(entry.dir()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(scratch.0.join("root")).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(store.create(&id("web"), &intent()), Err(StoreError::Exists(_))));
}

#[test]
fn open_refuses_paths_and_names_the_missing() {
    let store = Scratch::new("open").store();
    assert!(matches!(store.open("../etc"), Err(StoreError::Id(_))));
    assert_eq!(store.open("nobody").unwrap_err().to_string(), "container nobody does not exist");
}

#[test]
fn create_broken_off_before_state_leaves_the_intent() {
    let scratch = Scratch::new("broken");
    let store = scratch.store();
    drop(store.create(&id("web"), &intent()).unwrap());
    let entry = store.open("web").unwrap();
    assert_eq!(entry.intent().unwrap(), Some(intent()));
    let error = entry.load().unwrap_err().to_string();
    assert!(error.contains("was broken off"), "{error}");
}

#[test]
fn load_while_created_by_another_says_so() {
    let scratch = Scratch::new("underway");
    let store = scratch.store();
    let (entry, _lock) = store.create(&id("web"), &intent()).unwrap();
    let error = entry.load().unwrap_err().to_string();
    assert!(error.contains("is under way"), "{error}");
}

#[test]
fn save_and_load_round_trip_while_another_holds_the_lock() {
    let scratch = Scratch::new("round");
    let store = scratch.store();
    let (entry, _lock) = store.create(&id("web"), &intent()).unwrap();
    entry.save(&state("web")).unwrap();
    let loaded = store.open("web").unwrap().load().unwrap();
    assert_eq!((loaded.id, loaded.pid), (id("web"), state("web").pid));
}

#[test]
fn lock_held_elsewhere_is_busy_and_free_afterwards() {
    let scratch = Scratch::new("lock");
    let store = scratch.store();
    let (entry, lock) = store.create(&id("web"), &intent()).unwrap();
    assert!(matches!(entry.lock(Duration::from_millis(20)), Err(StoreError::Busy { .. })));
    drop(lock);
    assert!(entry.lock(Duration::ZERO).is_ok());
}

#[test]
fn lock_of_a_removed_container_is_not_found() {
    let scratch = Scratch::new("gone");
    let store = scratch.store();
    let (entry, lock) = store.create(&id("web"), &intent()).unwrap();
    let waiting = store.open("web").unwrap();
    entry.remove(lock).unwrap();
    assert!(matches!(waiting.lock(Duration::from_secs(1)), Err(StoreError::NotFound(_))));
}

#[test]
fn damaged_state_is_named_and_does_not_hide_the_others() {
    let scratch = Scratch::new("damaged");
    let store = scratch.store();
    let (bad, _bad_lock) = store.create(&id("bad"), &intent()).unwrap();
    fs::write(bad.dir().join("state.json"), b"{\"caissonState\": 1,").unwrap();
    let (good, _good_lock) = store.create(&id("good"), &intent()).unwrap();
    good.save(&state("good")).unwrap();
    let entries = store.list().unwrap();
    assert_eq!(entries.len(), 2);
    assert!(matches!(entries[0].load(), Err(StoreError::Damaged { .. })));
    assert!(entries[1].load().is_ok());
}

#[test]
fn state_of_a_later_version_is_refused() {
    let scratch = Scratch::new("version");
    let (entry, _lock) = scratch.store().create(&id("web"), &intent()).unwrap();
    entry.save(&State { caisson_state: 2, ..state("web") }).unwrap();
    assert!(matches!(entry.load(), Err(StoreError::Version { found: 2, .. })));
}

#[test]
fn status_comes_from_the_process_and_the_start_socket() {
    use crate::status::Status;
    let scratch = Scratch::new("status");
    let (entry, _lock) = scratch.store().create(&id("web"), &intent()).unwrap();
    let running = state("web");
    assert_eq!(running.status(&entry, |_| false), Status::Running);
    assert_eq!(running.status(&entry, |_| true), Status::Paused);
    fs::write(entry.dir().join("start.sock"), b"").unwrap();
    assert_eq!(running.status(&entry, |_| true), Status::Created);
    let reused_pid = State { start_time: running.start_time + 1, ..running };
    assert_eq!(reused_pid.status(&entry, |_| true), Status::Stopped);
}

#[test]
fn list_of_a_missing_root_is_empty_and_skips_the_cache() {
    let scratch = Scratch::new("list");
    assert!(scratch.store().list().unwrap().is_empty());
    fs::create_dir_all(scratch.store().seccomp_cache()).unwrap();
    assert!(scratch.store().list().unwrap().is_empty());
}
