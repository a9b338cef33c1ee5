//! The whole life of a cgroup on this machine, as it is and, in a mount namespace of its own, as pure v2.
//!
//! Needs root and a cgroup file system that can be written; says so and passes where there is none.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hull_cgroup::{Cgroup, Host, Layout, OomEvent, OomWatch, State};
use hull_spec::config::Resources;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

const MIB: i64 = 1 << 20;

fn resources(value: serde_json::Value) -> Resources {
    serde_json::from_value(value).unwrap()
}

/// A container's cgroup that goes when the test ends, however it ends.
struct Case(Cgroup);

impl Case {
    fn plan(name: &str, path: bool) -> Case {
        let id = format!("hull-test-{name}-{}", std::process::id());
        let path = if path { format!("/{id}/in") } else { String::new() };
        Case(Cgroup::plan(&Host::detect().unwrap(), &path, &id, false).unwrap())
    }

    fn new(name: &str, res: &Resources) -> Case {
        let mut it = Case::plan(name, false);
        assert_eq!(it.0.create(res).unwrap(), State::Fresh);
        it
    }

    fn has(&self, controller: &str) -> bool {
        self.0.paths().contains_key(controller)
    }

    fn read(&self, controller: &str, file: &str) -> String {
        let path = Path::new(&self.0.paths()[controller]).join(file);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}")).trim().to_string()
    }

    fn start(&self, script: &str) -> Child {
        let mut child =
            Command::new("sh").args(["-c", &format!("read go; {script}")]).stdin(Stdio::piped()).spawn().unwrap();
        self.0.add(child.id() as i32).unwrap();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        child
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = self.0.kill_all();
        let _ = self.0.delete();
    }
}

/// Runs the test here, and again where v2 is all there is.
fn in_both_views(name: &str, test: fn()) {
    if !rustix::process::geteuid().is_root() || fs::create_dir("/sys/fs/cgroup/hull-probe").is_err() {
        eprintln!("{name}: skipped: needs root and a writable /sys/fs/cgroup");
        return;
    }
    fs::remove_dir("/sys/fs/cgroup/hull-probe").unwrap();
    test();
    if std::env::var_os("HULL_TEST_V2").is_some() || Host::detect().unwrap().layout() == Layout::V2 {
        return;
    }
    let view = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
    let again = Command::new("unshare")
        .args(["-m", "sh", "-c", view, "v2"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("HULL_TEST_V2", "1")
        .status()
        .unwrap();
    assert!(again.success(), "{name} failed under pure v2");
}

#[test]
fn life() {
    in_both_views("life", || {
        let mut it = Case::new("life", &Resources::default());
        assert!(it.0.exists());
        it.0.apply(&Resources::default(), State::Fresh).unwrap();
        let mut child = it.start("sleep 60 & wait");
        let pid = child.id() as i32;
        wait_until("both processes are in", || it.0.pids(true).unwrap().len() == 2);
        assert!(it.0.pids(false).unwrap().contains(&pid));
        let error = it.0.create(&Resources::default()).unwrap_err().to_string();
        assert!(error.contains("not empty: 2 process(es)"), "{error}");

        assert!(!it.0.is_frozen().unwrap());
        it.0.freeze().unwrap();
        assert!(it.0.is_frozen().unwrap());
        it.0.thaw().unwrap();
        assert!(!it.0.is_frozen().unwrap());

        let stats = it.0.stats().unwrap();
        assert!(stats.cpu.usage.total > 0 && stats.pids.current == 2, "{stats:?}");

        // A frozen container dies, too.
        it.0.freeze().unwrap();
        it.0.kill_all().unwrap();
        assert!(!child.wait().unwrap().success());
        it.0.delete().unwrap();
        assert!(!it.0.exists());
        it.0.delete().unwrap();
    });
}

#[test]
fn killing_without_the_kernels_help() {
    in_both_views("killing_without_the_kernels_help", || {
        let it = Case::new("kill", &Resources::default());
        // Without its v2 directory the container is a plain v1 one.
        let mut v1 = it.0.clone();
        v1.unified = None;
        if v1.is_empty() {
            return;
        }
        let mut child = it.start("while :; do sleep 60 & sleep 0.01; done");
        wait_until("it has forked", || v1.pids(true).unwrap().len() > 2);
        v1.kill_all().unwrap();
        assert!(!child.wait().unwrap().success());
        v1.delete().unwrap();
    });
}

#[test]
fn a_frozen_cgroup_is_refused_and_an_empty_one_taken() {
    in_both_views("a_frozen_cgroup_is_refused_and_an_empty_one_taken", || {
        let it = Case::plan("frozen", true);
        it.0.clone().create(&Resources::default()).unwrap();
        assert_eq!(it.0.clone().create(&Resources::default()).unwrap(), State::Used);
        it.0.freeze().unwrap();
        let error = it.0.clone().create(&Resources::default()).unwrap_err().to_string();
        assert!(error.contains("unexpectedly frozen"), "{error}");
        it.0.thaw().unwrap();
        it.0.delete().unwrap();
        // The parent was named by the path, and is left alone by the container.
        let mut parent = it.0.clone();
        parent.v1.iter_mut().chain(&mut parent.unified).for_each(|h| assert!(h.dir.pop() && h.dir.is_dir()));
        parent.delete().unwrap();
    });
}

#[test]
fn devices_are_denied_until_allowed() {
    in_both_views("devices_are_denied_until_allowed", || {
        let it = Case::new("devices", &Resources::default());
        it.0.apply(&Resources::default(), State::Fresh).unwrap();
        let opens = |path: &str| it.start(&format!("exec 2>&-; exec 3<{path}")).wait().unwrap().success();
        assert!(opens("/dev/zero"));
        assert!(!opens("/dev/kmsg"));
        let allow = json!({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]});
        it.0.update(&resources(allow)).unwrap();
        assert!(opens("/dev/kmsg") && opens("/dev/zero"));
        // An update of something else leaves the rules.
        it.0.update(&resources(json!({"cpu": {"shares": 1024}}))).unwrap();
        assert!(opens("/dev/kmsg"));
        it.0.update(&resources(json!({"devices": [{"allow": false, "access": "rwm"}]}))).unwrap();
        assert!(!opens("/dev/kmsg") && opens("/dev/zero"));
        it.0.update(&resources(json!({"devices": [{"allow": true, "access": "rwm"}]}))).unwrap();
        assert!(opens("/dev/kmsg"));
    });
}

#[test]
fn limits_are_in_force() {
    in_both_views("limits_are_in_force", || {
        let res = resources(json!({
            "memory": {"limit": 64 * MIB, "swap": 64 * MIB, "reservation": 32 * MIB},
            "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"},
            "pids": {"limit": 50},
        }));
        let it = Case::new("limits", &res);
        if !it.has("memory") {
            // This view has none of the controllers.
            let error = it.0.apply(&res, State::Fresh).unwrap_err().to_string();
            assert!(error.contains("linux.resources.memory"), "{error}");
            return;
        }
        it.0.apply(&res, State::Fresh).unwrap();
        assert_eq!(it.read("memory", "memory.limit_in_bytes"), (64 * MIB).to_string());
        assert_eq!(it.read("memory", "memory.memsw.limit_in_bytes"), (64 * MIB).to_string());
        assert_eq!(it.read("memory", "memory.soft_limit_in_bytes"), (32 * MIB).to_string());
        assert_eq!(it.read("cpu", "cpu.shares"), "512");
        assert_eq!(it.read("cpu", "cpu.cfs_quota_us"), "20000");
        assert_eq!(it.read("cpu", "cpu.cfs_period_us"), "50000");
        assert_eq!(it.read("cpuset", "cpuset.cpus"), "0");
        assert_eq!(it.read("pids", "pids.max"), "50");
        // Up and down again: each limit bounds the other.
        for size in [128 * MIB, 256 * MIB, 32 * MIB] {
            it.0.update(&resources(json!({"memory": {"limit": size, "swap": size}}))).unwrap();
            assert_eq!(it.read("memory", "memory.memsw.limit_in_bytes"), size.to_string());
        }
        it.0.update(&resources(json!({"memory": {"limit": -1}}))).unwrap();
        let unlimited = fs::read_to_string("/sys/fs/cgroup/memory/memory.limit_in_bytes").unwrap();
        assert_eq!(it.read("memory", "memory.memsw.limit_in_bytes"), unlimited.trim());
        let error = it.0.update(&resources(json!({"cpu": {"period": 5}}))).unwrap_err().to_string();
        assert!(error.contains("cpu.period") && error.contains("EINVAL"), "{error}");
        assert_eq!(it.0.stats().unwrap().pids.limit, 50);
    });
}

#[test]
fn huge_pages_are_limited_where_v2_has_the_controller() {
    in_both_views("huge_pages_are_limited_where_v2_has_the_controller", || {
        let res = resources(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}]}));
        let it = Case::new("huge", &res);
        let unified = it.0.unified.as_ref().map(|h| fs::read_to_string(h.mount.join("cgroup.controllers")).unwrap());
        if !unified.is_some_and(|list| list.contains("hugetlb")) {
            eprintln!("skipped: v2 has no controller hugetlb here");
            return;
        }
        it.0.apply(&res, State::Fresh).unwrap();
        assert_eq!(it.read("", "hugetlb.2MB.max"), "2097152");
        assert!(it.0.stats().unwrap().hugetlb.contains_key("2MB"));
    });
}

#[test]
fn a_process_can_enter_by_itself() {
    in_both_views("a_process_can_enter_by_itself", || {
        let it = Case::new("enter", &Resources::default());
        let files: Vec<File> = it.0.task_files().unwrap().into_iter().map(File::from).collect();
        assert_eq!(files.len(), it.0.v1.len());
        assert_eq!(it.0.enter_fd().unwrap().is_some(), it.0.unified.is_some());
        let mut command = Command::new("sleep");
        command.arg("60");
        let numbers: Vec<i32> = files.iter().map(|f| f.as_raw_fd()).collect();
        let enter = move || {
            // SAFETY: write(2) may be called after fork(2), and the byte outlives it.
            let ok = numbers.iter().all(|fd| unsafe { libc::write(*fd, b"0".as_ptr().cast(), 1) } == 1);
            if ok { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: the closure makes system calls only.
        let mut child = unsafe { command.pre_exec(enter) }.spawn().unwrap();
        let expected = if it.0.v1.is_empty() { vec![] } else { vec![child.id() as i32] };
        assert_eq!(it.0.pids(true).unwrap(), expected);
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn a_kill_for_want_of_memory_is_seen() {
    in_both_views("a_kill_for_want_of_memory_is_seen", || {
        let res = resources(json!({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}));
        let it = Case::new("oom", &res);
        if !it.has("memory") {
            assert!(it.0.oom_watch().unwrap_err().to_string().contains("no memory controller"));
            assert_eq!(it.0.oom_kills().unwrap(), 0);
            return;
        }
        it.0.apply(&res, State::Fresh).unwrap();
        let mut watch = it.0.oom_watch().unwrap();
        assert_eq!(watch.take().unwrap(), OomEvent::Other);
        let mut child = it.start("exec tail /dev/zero");
        let wait = |watch: &mut OomWatch| {
            let mut fds = [PollFd::new(watch, PollFlags::IN)];
            assert_eq!(poll(&mut fds, Some(&Timespec { tv_sec: 20, tv_nsec: 0 })).unwrap(), 1);
            watch.take().unwrap()
        };
        assert_eq!(wait(&mut watch), OomEvent::Oom);
        assert!(!child.wait().unwrap().success());
        assert_eq!(it.0.oom_kills().unwrap(), 1);
        assert!(it.0.stats().unwrap().memory.usage.max > 15 * MIB as u64);
        it.0.delete().unwrap();
        assert_eq!(wait(&mut watch), OomEvent::End);
    });
}

#[test]
fn stats_have_the_shape_that_engines_read() {
    in_both_views("stats_have_the_shape_that_engines_read", || {
        let it = Case::new("shape", &Resources::default());
        it.start("exit 0").wait().unwrap();
        let stats = serde_json::to_value(it.0.stats().unwrap()).unwrap();
        let keys: Vec<_> = stats.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["blkio", "cpu", "cpuset", "hugetlb", "memory", "network_interfaces", "pids"]);
        assert!(stats["network_interfaces"].is_null());
        assert!(stats["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
        assert!(stats["cpuset"]["sched_relax_domain_level"].is_i64());
        if it.has("memory") {
            assert!(stats["memory"]["usage"]["limit"].as_u64().unwrap() > 0);
            assert!(stats["memory"]["raw"].as_object().unwrap().len() > 10);
            assert_eq!(stats["cpuset"]["sched_load_balance"], 1);
        }
    });
}

#[test]
fn without_rights_a_rootless_container_goes_without() {
    in_both_views("without_rights_a_rootless_container_goes_without", || {
        let user = || {
            // SAFETY: no memory is passed. The bare system call changes this thread alone.
            assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, -1, 65534, -1) }, 0);
            let host = Host::detect().unwrap();
            let limits = resources(json!({"pids": {"limit": 5}}));

            let mut free = Cgroup::plan(&host, "", "hull-test-rootless", true).unwrap();
            free.create(&limits).unwrap();
            assert!(free.is_empty() && free.denied);
            assert_eq!(free.apply(&Resources::default(), State::Fresh).unwrap().warnings.len(), 1);
            free.add(std::process::id() as i32).unwrap();
            free.kill_all().unwrap();
            free.delete().unwrap();
            let error = free.apply(&limits, State::Fresh).unwrap_err().to_string();
            assert!(error.contains("pids.limit") && error.contains("Delegate=yes"), "{error}");

            let mut named = Cgroup::plan(&host, "/hull-test-rootless", "x", true).unwrap();
            let error = named.create(&Resources::default()).unwrap_err();
            assert!(error.to_string().starts_with("cannot create cgroup") && error.errno() == Some(libc::EACCES));
        };
        std::thread::spawn(user).join().unwrap();
    });
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
