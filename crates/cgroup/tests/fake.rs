//! Limits against plain directories: what exactly is written to which file, and what is said of a missing one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use hull_cgroup::{Cgroup, Host, Layout, Notes, Result, State};
use hull_spec::config::Resources;
use serde_json::{Value, json};

/// A directory that stands for the container's cgroup in every hierarchy, with the given files in it.
struct Fake {
    root: PathBuf,
    cgroup: Cgroup,
}

impl Fake {
    fn v2(files: &[&str]) -> Fake {
        Fake::new(Layout::V2, &[], "box", files)
    }

    fn v1(controllers: &[&str], files: &[&str]) -> Fake {
        Fake::new(Layout::V1, controllers, &format!("{}/box", controllers[0]), files)
    }

    fn new(layout: Layout, controllers: &[&str], dir: &str, files: &[&str]) -> Fake {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("hull-fake-{}-{n}", std::process::id()));
        let dir = root.join(dir);
        fs::create_dir_all(&dir).unwrap();
        for file in files {
            let (name, text) = file.split_once('=').unwrap_or((file, ""));
            fs::write(dir.join(name), text).unwrap();
        }
        let cgroup = Cgroup::plan(&Host::at(&root, layout, controllers), "/box", "box", false).unwrap();
        Fake { root, cgroup }
    }

    fn read(&self, file: &str) -> String {
        let dir = self.cgroup.paths().into_values().next().unwrap();
        fs::read_to_string(Path::new(&dir).join(file)).unwrap()
    }

    /// Sets resources; the device filter is no matter of files, so that a rule list that needs none is added.
    fn apply(&self, state: State, mut resources: Value) -> Result<Notes> {
        if state == State::Fresh {
            resources["devices"] = json!([{"allow": true, "access": "rwm"}]);
        }
        let resources: Resources = serde_json::from_value(resources).unwrap();
        match state {
            State::Fresh => self.cgroup.apply(&resources, state),
            State::Used => self.cgroup.update(&resources),
        }
    }

    #[track_caller]
    fn writes(&self, state: State, resources: Value, want: &[(&str, &str)]) {
        self.apply(state, resources).unwrap();
        for (file, text) in want {
            assert_eq!(self.read(file), *text, "{file}");
        }
    }

    #[track_caller]
    fn fails(&self, resources: Value, words: &[&str]) {
        let error = self.apply(State::Fresh, resources.clone()).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{resources}: {word:?} is not in: {error}");
        }
        let lower = error.to_lowercase();
        assert!(!lower.contains("no such file") && !lower.contains("permission denied"), "{error}");
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
    }
}

use State::{Fresh, Used};

#[test]
fn v2_memory() {
    let files = &["memory.max", "memory.low", "memory.swap.max", "memory.current=5000"];
    let all = json!({"memory": {"limit": 1000, "swap": 3000, "reservation": 500}});
    Fake::v2(files).writes(Fresh, all, &[("memory.max", "1000"), ("memory.swap.max", "2000"), ("memory.low", "500")]);
    let same = json!({"memory": {"limit": 1000, "swap": 1000}});
    Fake::v2(files).writes(Fresh, same, &[("memory.max", "1000"), ("memory.swap.max", "0"), ("memory.low", "")]);
    let unlimited = json!({"memory": {"limit": -1}});
    Fake::v2(files).writes(Used, unlimited.clone(), &[("memory.max", "max"), ("memory.swap.max", "max")]);
    Fake::v2(files).writes(Fresh, unlimited, &[("memory.max", ""), ("memory.swap.max", "")]);
    let swap = json!({"memory": {"swap": 900}});
    let fake = Fake::v2(&["memory.max=400", "memory.swap.max"]);
    fake.writes(Used, swap.clone(), &[("memory.swap.max", "500"), ("memory.max", "400")]);
    fake.fails(swap, &["linux.resources.memory.swap", "without memory limit"]);
    fake.fails(json!({"memory": {"limit": 10, "swap": 5}}), &["memory.swap", ">= memory limit"]);
    fake.fails(json!({"memory": {"swappiness": 30}}), &["memory.swappiness", "cgroup v1"]);
    fake.fails(json!({"memory": {"swappiness": 101}}), &["0-100"]);
    fake.fails(json!({"memory": {"disableOOMKiller": true}}), &["memory.disableOOMKiller", "cgroup v1"]);
    let checked = json!({"memory": {"limit": 4000, "checkBeforeUpdate": true}});
    let error = Fake::v2(files).apply(Used, checked).unwrap_err().to_string();
    assert!(error.contains("rejecting memory limit 4000 <= usage 5000"), "{error}");
}

#[test]
fn kernel_memory_is_a_warning() {
    let notes = Fake::v2(&[]).apply(Fresh, json!({"memory": {"kernel": 5, "kernelTCP": 6}})).unwrap();
    assert_eq!(notes.warnings.len(), 2);
    assert!(notes.warnings[1].contains("memory.kernelTCP"));
}

#[test]
fn v2_cpu() {
    let files = &["cpu.max=50000 100000\n", "cpu.max.burst", "cpu.weight", "cpu.idle"];
    let all = json!({"cpu": {"shares": 512, "quota": 20000, "period": 50000, "burst": 1000}});
    let want = [("cpu.max", "20000 50000"), ("cpu.max.burst", "1000"), ("cpu.weight", "59"), ("cpu.idle", "")];
    Fake::v2(files).writes(Fresh, all, &want);
    Fake::v2(files).writes(Used, json!({"cpu": {"quota": 30000}}), &[("cpu.max", "30000")]);
    Fake::v2(files).writes(Used, json!({"cpu": {"period": 70000}}), &[("cpu.max", "50000 70000")]);
    Fake::v2(files).writes(Used, json!({"cpu": {"quota": -1}}), &[("cpu.max", "max")]);
    Fake::v2(files).writes(
        Used,
        json!({"cpu": {"shares": 1024, "idle": 0}}),
        &[("cpu.weight", "100"), ("cpu.idle", "0")],
    );
    let unset = json!({"cpu": {"shares": 0, "quota": 0, "period": 0}});
    Fake::v2(files).writes(Used, unset, &[("cpu.weight", ""), ("cpu.max", "50000 100000\n")]);
    Fake::v2(files).fails(json!({"cpu": {"realtimeRuntime": 5000}}), &["cpu.realtimeRuntime", "cgroup v1"]);
    let sets = Fake::v2(&["cpuset.cpus", "cpuset.mems"]);
    sets.writes(Fresh, json!({"cpu": {"cpus": "0-1", "mems": "0"}}), &[("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]);
}

#[test]
fn v2_pids_huge_pages_and_rdma() {
    let pids = |limit: i64| json!({"pids": {"limit": limit}});
    Fake::v2(&["pids.max"]).writes(Fresh, pids(7), &[("pids.max", "7")]);
    Fake::v2(&["pids.max"]).writes(Fresh, pids(0), &[("pids.max", "1")]);
    Fake::v2(&["pids.max"]).writes(Used, pids(-1), &[("pids.max", "max")]);
    let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]});
    let names = &["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"];
    Fake::v2(names).writes(Fresh, huge.clone(), &[(names[0], "4194304"), (names[1], "4194304")]);
    Fake::v2(&names[..1]).writes(Fresh, huge, &[(names[0], "4194304")]);
    let rdma = json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}});
    Fake::v2(&["rdma.max"]).writes(Fresh, rdma, &[("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000")]);
}

#[test]
fn v2_block_io() {
    let rate = |n: u64| json!([{"major": 8, "minor": 0, "rate": n}]);
    let rates = json!({"blockIO": {
        "throttleReadBpsDevice": rate(1), "throttleWriteBpsDevice": rate(2),
        "throttleReadIOPSDevice": rate(3), "throttleWriteIOPSDevice": rate(0),
    }});
    Fake::v2(&["io.max"]).writes(Fresh, rates, &[("io.max", "8:0 rbps=1 wbps=2 riops=3 wiops=max")]);
    let weight = json!({"blockIO": {"weight": 750}});
    Fake::v2(&["io.weight"]).writes(Fresh, weight.clone(), &[("io.weight", "7475")]);
    let both = || Fake::v2(&["io.weight", "io.bfq.weight=default 100\n"]);
    both().writes(Fresh, weight, &[("io.bfq.weight", "750"), ("io.weight", "")]);
    let device = json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 16, "weight": 500}]}});
    both().writes(Fresh, device.clone(), &[("io.bfq.weight", "8:16 500")]);
    Fake::v2(&["io.weight"]).writes(Fresh, device, &[("io.weight", "8:16 4950")]);
    both().fails(json!({"blockIO": {"weight": 9}}), &["blockIO.weight", "10-1000"]);
    both().fails(json!({"blockIO": {"leafWeight": 100}}), &["blockIO.leafWeight", "cgroup v1"]);
}

#[test]
fn v2_files_by_name() {
    let fake = Fake::v2(&["memory.high", "cgroup.controllers=memory io\n", "io.max"]);
    let unified = json!({"unified": {"memory.high": "100", "io.max": "8:0 rbps=1\n"}});
    fake.writes(Fresh, unified, &[("memory.high", "100"), ("io.max", "8:0 rbps=1")]);
    let case = |name: &str| json!({"unified": {name: "1"}});
    fake.fails(case("../memory.high"), &["\"../memory.high\"", "no slashes"]);
    fake.fails(case("memory"), &["CONTROLLER.VALUE"]);
    fake.fails(case("pids.max"), &["\"pids.max\"", "controller `pids` is not available"]);
    fake.fails(case("memory.fancy"), &["\"memory.fancy\"", "kernel has no file of this name"]);
    Fake::v1(&["cpu"], &[]).fails_without_devices(case("pids.max"), &["cgroup v2 only"]);
}

impl Fake {
    /// As [`Fake::fails`], where no hierarchy takes device rules.
    #[track_caller]
    fn fails_without_devices(&self, resources: Value, words: &[&str]) {
        let error = self.apply(Used, resources).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "{error}"));
    }
}

#[test]
fn v1_memory_and_cpu() {
    let memory = Fake::v1(
        &["memory"],
        &[
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.soft_limit_in_bytes",
            "memory.swappiness",
            "memory.oom_control",
        ],
    );
    let all = json!({"memory": {
        "limit": 1000, "swap": 3000, "reservation": 500, "swappiness": 10, "disableOOMKiller": true,
    }});
    memory.writes(
        Used,
        all,
        &[
            ("memory.limit_in_bytes", "1000"),
            ("memory.memsw.limit_in_bytes", "3000"),
            ("memory.soft_limit_in_bytes", "500"),
            ("memory.swappiness", "10"),
            ("memory.oom_control", "1"),
        ],
    );
    let unlimited = json!({"memory": {"limit": -1}});
    memory.writes(Used, unlimited, &[("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")]);
    let cpu = Fake::v1(
        &["cpu"],
        &[
            "cpu.shares",
            "cpu.cfs_quota_us",
            "cpu.cfs_period_us",
            "cpu.cfs_burst_us",
            "cpu.rt_runtime_us",
            "cpu.rt_period_us",
        ],
    );
    let all = json!({"cpu": {
        "shares": 512, "quota": 20000, "period": 50000, "burst": 1000, "realtimeRuntime": 7, "realtimePeriod": 9,
    }});
    cpu.writes(
        Used,
        all,
        &[
            ("cpu.shares", "512"),
            ("cpu.cfs_quota_us", "20000"),
            ("cpu.cfs_period_us", "50000"),
            ("cpu.cfs_burst_us", "1000"),
            ("cpu.rt_runtime_us", "7"),
            ("cpu.rt_period_us", "9"),
        ],
    );
    let too_many = json!({"cpu": {"shares": 262145}});
    cpu.fails_without_devices(too_many, &["cpu.shares", "maximum allowed cpu-shares is 262144"]);
}

#[test]
fn v1_network_and_block_io() {
    let class = json!({"network": {"classID": 1048577}});
    Fake::v1(&["net_cls"], &["net_cls.classid"]).writes(Used, class.clone(), &[("net_cls.classid", "1048577")]);
    Fake::v2(&[]).fails(class, &["network.classID", "cgroup v1"]);
    let priority = json!({"network": {"priorities": [{"name": "lo", "priority": 5}]}});
    let prio = Fake::v1(&["net_prio"], &["net_prio.ifpriomap"]);
    prio.writes(Used, priority, &[("net_prio.ifpriomap", "lo 5")]);
    let weight = json!({"blockIO": {"weight": 300}});
    Fake::v1(&["blkio"], &["blkio.weight"]).writes(Used, weight.clone(), &[("blkio.weight", "300")]);
    Fake::v1(&["blkio"], &["blkio.bfq.weight"]).writes(Used, weight, &[("blkio.bfq.weight", "300")]);
    let rate = json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}]}});
    let file = "blkio.throttle.read_bps_device";
    Fake::v1(&["blkio"], &[file]).writes(Used, rate, &[(file, "8:0 1024")]);
}

/// What limits nothing, on hosts that lack the controller.
fn idle_values() -> Value {
    json!({
        "memory": {"limit": -1, "swap": -1, "reservation": 0, "disableOOMKiller": false, "swappiness": 60},
        "cpu": {"shares": 1024, "quota": -1, "period": 100000, "burst": 0, "idle": 0, "realtimePeriod": 1000000},
        "pids": {"limit": -1},
        "blockIO": {"weight": 0, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]},
        "network": {"classID": 0},
    })
}

#[test]
fn what_limits_nothing_needs_no_controller() {
    for state in [Fresh, Used] {
        let notes = Fake::v2(&[]).apply(state, idle_values()).unwrap();
        assert_eq!(notes.warnings, [""; 0]);
    }
    let notes = Fake::v1(&["freezer"], &[]).apply(Used, idle_values()).unwrap();
    assert!(notes.debug.iter().any(|n| n.contains("cpu.shares")), "{notes:?}");
    assert!(Fake::v2(&[]).apply(Fresh, json!({"pids": {"limit": 0}, "cpu": {"shares": 0}})).is_ok());
}

#[test]
fn a_limit_needs_its_controller() {
    for (resources, field, controller, file) in [
        (json!({"pids": {"limit": 2048}}), "pids.limit", "pids", "pids.max"),
        (json!({"cpu": {"shares": 2}}), "cpu.shares", "cpu", "cpu.weight"),
        (json!({"cpu": {"quota": 5000}}), "cpu.quota", "cpu", "cpu.max"),
        (json!({"cpu": {"cpus": "0"}}), "cpu.cpus", "cpuset", "cpuset.cpus"),
        (json!({"memory": {"limit": 4096}}), "memory.limit", "memory", "memory.max"),
        (json!({"blockIO": {"weight": 100}}), "blockIO.weight", "io", "io.weight"),
        (json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}), "hugepageLimits", "hugetlb", "hugetlb.2MB.max"),
    ] {
        let (field, controller, file) =
            (format!("linux.resources.{field}"), format!("{controller:?}"), format!("{file:?}"));
        Fake::v2(&[]).fails(resources.clone(), &[&field, &controller, &file, "remove"]);
        let error = Fake::v1(&["freezer"], &[]).apply(Used, resources).unwrap_err().to_string();
        assert!(error.contains("mount the controller, or remove the limit"), "{error}");
    }
    let enabled = Fake::v2(&["cgroup.controllers=cpu\n"]);
    enabled.fails(json!({"cpu": {"idle": 1}}), &["cpu.idle", "kernel's controller \"cpu\" has no file \"cpu.idle\""]);
    fs::write(enabled.root.join("cgroup.controllers"), "cpu pids\n").unwrap();
    enabled.fails(json!({"pids": {"limit": 5}}), &["\"pids\" is not enabled", "cgroup.subtree_control"]);
}

#[test]
fn hybrid_takes_each_controller_from_where_it_is() {
    let fake = Fake::new(Layout::Hybrid, &["pids"], "pids/box", &["pids.max"]);
    let unified = fake.root.join("unified/box");
    fs::create_dir_all(&unified).unwrap();
    fs::write(unified.join("hugetlb.2MB.max"), "").unwrap();
    let both = json!({"pids": {"limit": 9}, "hugepageLimits": [{"pageSize": "2MB", "limit": 0}]});
    fake.apply(Used, both).unwrap();
    assert_eq!(fs::read_to_string(fake.root.join("pids/box/pids.max")).unwrap(), "9");
    assert_eq!(fs::read_to_string(unified.join("hugetlb.2MB.max")).unwrap(), "0");
}

#[test]
fn controllers_are_handed_down() {
    let fake = Fake::v2(&["cgroup.controllers=\n"]);
    fs::write(fake.root.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
    fs::write(fake.root.join("cgroup.subtree_control"), "").unwrap();
    let mut cgroup = fake.cgroup.clone();
    assert_eq!(cgroup.create(&Resources::default()).unwrap(), Used);
    assert_eq!(fs::read_to_string(fake.root.join("cgroup.subtree_control")).unwrap(), "+cpu +memory +pids");
}

#[test]
fn a_used_cgroup_is_refused() {
    let fake = Fake::v2(&["cgroup.procs=1\n2\n"]);
    fs::write(fake.root.join("cgroup.controllers"), "").unwrap();
    let refused = |fake: &Fake| fake.cgroup.clone().create(&Resources::default()).unwrap_err().to_string();
    assert!(refused(&fake).contains("cgroup is not empty: 2 process(es) found"));
    assert!(refused(&Fake::v2(&["cgroup.procs", "cgroup.freeze=1\n"])).contains("unexpectedly frozen"));
}
