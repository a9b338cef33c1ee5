//! What is accepted, and what is refused by which words.

use super::*;

const START: CheckHost = CheckHost { rootless: false, for_start: true };
const ROOTLESS: CheckHost = CheckHost { rootless: true, for_start: true };

/// A whole document out of parts that are put over a plain one.
fn document(over: &str) -> Spec {
    let mut all = serde_json::json!({
        "ociVersion": "1.3.0", "root": { "path": "r" }, "process": { "cwd": "/", "args": ["a"] },
    });
    merge(&mut all, &serde_json::from_str(over).expect("a test's own text"));
    Spec::from_slice(all.to_string().as_bytes()).expect("a test's own types")
}

fn merge(into: &mut serde_json::Value, over: &serde_json::Value) {
    match (into, over) {
        (serde_json::Value::Object(into), serde_json::Value::Object(over)) => {
            over.iter().for_each(|(k, v)| merge(into.entry(k.clone()).or_insert(serde_json::Value::Null), v));
        }
        (into, over) => *into = over.clone(),
    }
}

#[track_caller]
fn refused(host: &CheckHost, over: &str, expected: &str) {
    let e = document(over).check(host).expect_err(over).to_string();
    assert!(
        e.starts_with("config.json: ") && e.contains(expected),
        "{over}\n  is refused with: {e}\n  not: {expected}"
    );
}

#[track_caller]
fn accepted(host: &CheckHost, over: &str, warnings: usize) {
    let said = document(over).check(host).unwrap_or_else(|e| panic!("{over}: {e}"));
    assert_eq!(said.len(), warnings, "{over}: {said:?}");
}

fn linux(text: &str) -> String {
    format!(r#"{{"linux":{text}}}"#)
}

fn process(text: &str) -> String {
    format!(r#"{{"process":{text}}}"#)
}

const MAP: &str = r#"[{"containerID":0,"hostID":1000,"size":10}]"#;
const USER_NS: &str = r#""namespaces":[{"type":"user"}]"#;

#[test]
fn versions_are_semantic_and_of_major_version_1() {
    for good in ["1.0.0", "1.0.2-dev", "1.3.0", "1.99.0+x.1-y", "1.0.0-rc.1+5", "1.2.0-0-x.10"] {
        assert_eq!(version(good), Ok(()), "{good}");
    }
    for bad in
        ["", "1", "1.0", "1.0.0.0", "01.0.0", "1.0.x", "1.0.0-", "1.0.0-a..b", "1.0.0-01", "1.0.0+", "v1.0.0", "1.0.0 "]
    {
        assert!(version(bad).unwrap_err().to_string().contains("must be a semantic version"), "{bad}");
    }
    for other in ["0.5.0-dev", "2.0.0", "10.0.0"] {
        assert!(version(other).unwrap_err().to_string().contains("unsupported version"), "{other}");
    }
}

#[test]
fn what_a_start_needs() {
    let bare = Spec { oci_version: "1.0.0".into(), ..Spec::default() };
    assert_eq!(bare.check(&CheckHost::default()), Ok(vec![]));
    assert!(bare.check(&START).unwrap_err().to_string().contains("root: must be specified"));
    let rooted = Spec { root: Some(crate::Root { path: "r".into(), readonly: false }), ..bare };
    assert!(rooted.check(&START).unwrap_err().to_string().contains("process: property must not be empty"));
    accepted(&START, "{}", 0);
    refused(&START, r#"{"root":{"path":""}}"#, "root.path: must not be empty");
}

#[test]
fn processes() {
    let cases = [
        (r#"{"cwd":""}"#, "process.cwd: Cwd property must not be empty"),
        (r#"{"cwd":"x"}"#, r#"process.cwd: "x": Cwd must be an absolute path"#),
        (r#"{"args":[]}"#, "process.args: args must not be empty"),
        (r#"{"args":[""]}"#, "process.args[0]: must not be empty"),
        (r#"{"commandLine":"x"}"#, "process.commandLine"),
        (r#"{"env":["A=1","B"]}"#, r#"process.env[1]: "B": invalid environment variable: missing '='"#),
        (r#"{"env":["=1"]}"#, "name cannot be empty"),
        (
            r#"{"rlimits":[{"type":"RLIMIT_X","soft":1,"hard":1}]}"#,
            r#"rlimits[0].type: "RLIMIT_X": wrong rlimit value"#,
        ),
        (
            r#"{"rlimits":[{"type":"RLIMIT_AS","soft":1,"hard":1},{"type":"RLIMIT_AS","soft":1,"hard":1}]}"#,
            r#"process.rlimits[1].type: "RLIMIT_AS": given twice"#,
        ),
        (r#"{"rlimits":[{"type":"RLIMIT_AS","soft":2,"hard":1}]}"#, "process.rlimits[0].soft: 2"),
        (r#"{"oomScoreAdj":1001}"#, "process.oomScoreAdj: 1001"),
        (r#"{"oomScoreAdj":-1001}"#, "process.oomScoreAdj: -1001"),
        (r#"{"ioPriority":{"class":"IOPRIO_CLASS_WOW"}}"#, "invalid ioPriority.Class"),
        (r#"{"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}}"#, "invalid ioPriority.Priority"),
        (r#"{"execCPUAffinity":{"initial":"a"}}"#, "process.execCPUAffinity.initial: \"a\": bad CPU affinity"),
        (r#"{"execCPUAffinity":{"final":"3-1"}}"#, "process.execCPUAffinity.final"),
    ];
    for (over, expected) in cases {
        refused(&START, &process(over), expected);
    }
    accepted(
        &START,
        &process(r#"{"oomScoreAdj":-1000,"env":["A=","B==\n"],"execCPUAffinity":{"initial":"0-3, 7"}}"#),
        0,
    );
    accepted(&START, &process(r#"{"ioPriority":{"class":"IOPRIO_CLASS_IDLE"}}"#), 0);
    let nul = crate::Process { args: vec!["a\0".into()], cwd: "/".into(), ..Default::default() };
    assert_eq!(nul.check("p").unwrap_err().to_string(), r#"p.args[0]: "a\0": must not contain a NUL byte"#);
}

#[test]
fn schedulers() {
    let cases = [
        (r#""policy":"""#, "scheduler policy is required"),
        (r#""policy":"SCHED_X""#, "scheduler policy is required to be one of SCHED_OTHER, "),
        (r#""policy":"SCHED_OTHER","nice":20"#, "process.scheduler.nice: 20: must be -20 to 19"),
        (r#""policy":"SCHED_BATCH","nice":-21"#, "process.scheduler.nice: -21"),
        (r#""policy":"SCHED_OTHER","priority":1"#, "scheduler.priority can only be specified for"),
        (r#""policy":"SCHED_DEADLINE","priority":1"#, "scheduler.priority can only be specified for"),
        (r#""policy":"SCHED_FIFO""#, "process.scheduler.priority: 0: must be 1 to 99"),
        (r#""policy":"SCHED_RR","priority":100"#, "process.scheduler.priority: 100"),
        (r#""policy":"SCHED_FIFO","priority":1,"runtime":20"#, "scheduler runtime/deadline/period can only be"),
        (r#""policy":"SCHED_IDLE","period":20"#, "scheduler runtime/deadline/period can only be"),
        (r#""policy":"SCHED_OTHER","flags":["X"]"#, "process.scheduler.flags[0]: \"X\": expected one of"),
        (r#""policy":"SCHED_DEADLINE","deadline":2000"#, "sched_setattr: `SCHED_DEADLINE` requires `runtime`"),
        (r#""policy":"SCHED_DEADLINE","deadline":2000"#, "`SCHED_DEADLINE` runtime must be greater than 0"),
        (r#""policy":"SCHED_DEADLINE","runtime":2000"#, "sched_setattr: `SCHED_DEADLINE` requires `deadline`"),
        (r#""policy":"SCHED_DEADLINE","runtime":3000,"deadline":2000"#, "runtime (3000) must be <= deadline (2000)"),
        (
            r#""policy":"SCHED_DEADLINE","runtime":2000,"deadline":3000,"period":2500"#,
            "deadline (3000) must be <= period (2500)",
        ),
        (r#""policy":"SCHED_DEADLINE","runtime":1023,"deadline":2000"#, "runtime (1023) must be between 1024 and"),
        (
            r#""policy":"SCHED_DEADLINE","runtime":9223372036854775808,"deadline":2000"#,
            "runtime (9223372036854775808) must be between 1024 and",
        ),
    ];
    for (over, expected) in cases {
        refused(&START, &process(&format!(r#"{{"scheduler":{{{over}}}}}"#)), expected);
    }
    for over in [
        r#""policy":"SCHED_OTHER","nice":19"#,
        r#""policy":"SCHED_FIFO","priority":99,"nice":100,"flags":["SCHED_FLAG_RESET_ON_FORK"]"#,
        r#""policy":"SCHED_DEADLINE","runtime":42000,"deadline":100000,"period":1000000,"nice":19"#,
        r#""policy":"SCHED_DEADLINE","runtime":1024,"deadline":1024"#,
    ] {
        accepted(&START, &process(&format!(r#"{{"scheduler":{{{over}}}}}"#)), 0);
    }
}

#[test]
fn namespaces_and_what_needs_them() {
    let cases = [
        (r#"{"namespaces":[{"type":"pid"},{"type":"pid"}]}"#, "linux.namespaces[1].type: \"pid\": malformed spec file"),
        (r#"{"namespaces":[{"type":"pid","path":"x"}]}"#, "linux.namespaces[0].path: \"x\": must be an absolute path"),
        (r#"{"maskedPaths":["/x"]}"#, "linux.maskedPaths: unable to restrict sys entries"),
        (r#"{"readonlyPaths":["/x"]}"#, "linux.readonlyPaths: unable to restrict sys entries"),
        (r#"{"namespaces":[{"type":"mount"}],"maskedPaths":["/x","y"]}"#, "linux.maskedPaths[1]: \"y\""),
        (r#"{"timeOffsets":{"monotonic":{"secs":1}}}"#, "linux.timeOffsets: time namespace offsets specified, but"),
        (
            r#"{"namespaces":[{"type":"time","path":"/x"}],"timeOffsets":{"monotonic":{"secs":1}}}"#,
            "both namespace path and time offsets specified",
        ),
        (
            r#"{"namespaces":[{"type":"time"}],"timeOffsets":{"realtime":{}}}"#,
            "linux.timeOffsets.realtime: unknown clock",
        ),
        (
            r#"{"namespaces":[{"type":"time"}],"timeOffsets":{"boottime":{"nanosecs":1000000000}}}"#,
            "linux.timeOffsets.boottime.nanosecs: 1000000000",
        ),
        (r#"{"netDevices":{"eth0":{}}}"#, "unable to move network devices without a NET namespace"),
        (
            r#"{"namespaces":[{"type":"network"}],"netDevices":{"a/b":{}}}"#,
            r#"linux.netDevices["a/b"]: invalid network"#,
        ),
        (
            r#"{"namespaces":[{"type":"network"}],"netDevices":{"eth0":{"name":"0123456789abcdef"}}}"#,
            "linux.netDevices.eth0.name: \"0123456789abcdef\": invalid network device name",
        ),
        (r#"{"namespaces":[{"type":"network"}],"netDevices":{"a":{"name":"b"},"b":{}}}"#, "another network device"),
    ];
    for (over, expected) in cases {
        refused(&START, &linux(over), expected);
    }
    refused(&START, r#"{"hostname":"h"}"#, "hostname: \"h\": unable to set hostname without a private UTS namespace");
    refused(&START, r#"{"domainname":"d"}"#, "unable to set domainname without a private UTS namespace");
    refused(
        &START,
        &format!(r#"{{"hostname":"{}","linux":{{"namespaces":[{{"type":"uts"}}]}}}}"#, "h".repeat(65)),
        "must not be longer than 64 bytes",
    );
    accepted(&START, r#"{"hostname":"h","domainname":"d","linux":{"namespaces":[{"type":"uts","path":"/x"}]}}"#, 0);
    accepted(&START, &linux(r#"{"namespaces":[{"type":"time"}],"timeOffsets":{"monotonic":{"secs":-5}}}"#), 0);
    accepted(
        &START,
        &linux(r#"{"namespaces":[{"type":"network","path":"/n"}],"netDevices":{"e%d":{"name":"c%d"}}}"#),
        0,
    );
    accepted(&START, &linux(r#"{"namespaces":[{"type":"pid","path":""}]}"#), 0);
    refused(
        &ROOTLESS,
        &linux(&format!(
            r#"{{"namespaces":[{{"type":"user"}},{{"type":"network"}}],"uidMappings":{MAP},"gidMappings":{MAP},
            "netDevices":{{"a":{{}}}}}}"#
        )),
        "network devices are not supported for rootless containers",
    );
}

#[test]
fn users_and_their_mappings() {
    let both = |map: &str| linux(&format!(r#"{{{USER_NS},"uidMappings":{map},"gidMappings":{MAP}}}"#));
    accepted(&START, &linux(&format!(r#"{{{USER_NS}}}"#)), 1);
    refused(
        &START,
        &linux(&format!(r#"{{"gidMappings":{MAP}}}"#)),
        "linux.gidMappings: user namespace mappings specified",
    );
    refused(
        &START,
        &linux(&format!(r#"{{{USER_NS},"gidMappings":{MAP}}}"#)),
        "linux.uidMappings: user namespaces enabled",
    );
    let range = |c: u32, h: u32, n: u32| format!(r#"{{"containerID":{c},"hostID":{h},"size":{n}}}"#);
    let cases = [
        (format!("[{}]", range(1, 1, 1)), "linux.uidMappings: no mapping for the container's root"),
        (format!("[{}]", range(0, 0, 0)), "linux.uidMappings[0].size: 0"),
        (format!("[{},{}]", range(0, 0, 5), range(4, 9, 1)), "linux.uidMappings[1].containerID: 4: overlaps"),
        (format!("[{},{}]", range(9, 4, 1), range(0, 0, 5)), "linux.uidMappings[0].hostID: 4: overlaps"),
        (format!("[{}]", range(0, 4_294_967_295, 1)), "linux.uidMappings[0].hostID: 4294967295: with size 1"),
        (
            format!("[{}]", (0..341).map(|i| range(i, i, 1)).collect::<Vec<_>>().join(",")),
            "linux.uidMappings: the kernel takes at most 340",
        ),
    ];
    for (map, expected) in cases {
        refused(&START, &both(&map), expected);
    }
    accepted(&START, &both(&format!("[{}]", range(0, 0, 4_294_967_295))), 0);
    let unmapped = format!(
        r#"{{"process":{{"user":{{"gid":10}}}},"linux":{{{USER_NS},"uidMappings":{MAP},"gidMappings":{MAP}}}}}"#
    );
    refused(&START, &unmapped, "process.user.gid: 10: cannot set gid to unmapped user in user namespace");
    accepted(&START, &linux(&format!(r#"{{"namespaces":[{{"type":"user","path":"/x"}}],"uidMappings":{MAP}}}"#)), 1);
    refused(&ROOTLESS, "{}", "rootless container requires user namespaces");
    accepted(&ROOTLESS, &both(MAP), 0);
}

#[test]
fn sysctls_are_those_of_a_namespace() {
    const ALL: &str = r#"[{"type":"ipc"},{"type":"network"},{"type":"uts"}]"#;
    let with =
        |namespaces: &str, key: &str| linux(&format!(r#"{{"namespaces":{namespaces},"sysctl":{{"{key}":"v"}}}}"#));
    for key in [
        "kernel.msgmax",
        "kernel/msgmax",
        "kernel.shm_rmid_forced",
        "fs.mqueue.msg_max",
        "fs/mqueue/msg_max",
        "net.core.somaxconn",
        "net/core/somaxconn",
        "net.ipv4.conf.eno2/100.rp_filter",
        "net/ipv4/conf/eno2.100/rp_filter",
        "kernel.domainname",
    ] {
        accepted(&START, &with(ALL, key), 0);
        refused(&START, &with("[]", key), &format!(": \"v\": sysctl \"{key}\""));
    }
    for key in ["kernel.panic", "kernel/panic", "vm.swappiness", "user", "net", "kernel.hostname", "fs.mqueue"] {
        refused(&START, &with(ALL, key), &format!("sysctl \"{key}\" is not"));
    }
    for key in ["net/../kernel/panic", "net..a", "net.//", "", "/net/core", "net/./x", "net./.x"] {
        refused(&START, &with(ALL, key), "is no name of a kernel parameter");
    }
    refused(&START, &with(ALL, "user.max_user_namespaces"), "setting ucounts without a user namespace not allowed");
    let own = r#"[{"type":"network","path":"/proc/self/ns/net"}]"#;
    refused(&START, &with(own, "net.core.somaxconn"), "not allowed in host network namespace");
    let domain = |value: &str| {
        let sysctl = format!(r#""sysctl":{{"kernel.domainname":"{value}"}}"#);
        format!(r#"{{"domainname":"d","linux":{{"namespaces":[{{"type":"uts"}}],{sysctl}}}}}"#)
    };
    accepted(&START, &domain("d"), 0);
    refused(&START, &domain("e"), "linux.sysctl[\"kernel.domainname\"]: \"e\": sysctl \"kernel.domainname\" conflicts");
    assert_eq!(sysctl_path("net.ipv4.conf.eno2/100.rp_filter"), "net/ipv4/conf/eno2.100/rp_filter");
    assert_eq!(sysctl_path("net/ipv4/conf/eno2.100/rp_filter"), "net/ipv4/conf/eno2.100/rp_filter");
}

#[test]
fn mounts() {
    let with = |m: &str| format!(r#"{{"mounts":[{{"destination":"/m",{m}}}]}}"#);
    let map = format!(r#""uidMappings":{MAP},"gidMappings":{MAP}"#);
    let cases = [
        (with(r#""type":"""#), "mounts[0].type: must be given"),
        (
            with(r#""type":"bind","options":["bind","mode=1"]"#),
            "bind mounts cannot have any filesystem-specific options",
        ),
        (with(r#""options":["rbind","acl"]"#), r#"mounts[0].options: ["acl"]: bind mounts cannot have"#),
        (with(r#""type":"ext4","options":["tmpcopyup"]"#), "tmpcopyup is for mounts of type tmpfs only"),
        (with(&format!(r#""type":"tmpfs",{map}"#)), "mounts[0]: id-mapped mounts are only supported for bind-mounts"),
        (with(r#""type":"tmpfs","options":["ridmap"]"#), "id-mapped mounts are only supported for bind-mounts"),
        (
            with(&format!(r#""options":["bind"],"uidMappings":{MAP}"#)),
            "id-mapped mounts must have both uid and gid mappings specified",
        ),
        (with(r#""options":["bind","idmap"]"#), "id-mapped mounts must have both uid and gid mappings specified"),
        (
            with(&format!(
                r#""options":["bind"],"uidMappings":[{{"containerID":0,"hostID":0,"size":0}}],"gidMappings":{MAP}"#
            )),
            "mounts[0].uidMappings[0].size: 0",
        ),
        (r#"{"mounts":[{"destination":"","type":"tmpfs"}]}"#.into(), "mounts[0].destination: must not be empty"),
    ];
    for (over, expected) in cases {
        refused(&START, &over, expected);
    }
    accepted(&START, &with(&format!(r#""options":["bind","idmap"],{map}"#)), 0);
    accepted(&START, &with(r#""type":"tmpfs","options":["tmpcopyup","mode=755"]"#), 0);
    accepted(&START, r#"{"mounts":[{"destination":"m","type":"tmpfs"},{"destination":"../x","type":"tmpfs"}]}"#, 2);
    let user = format!(r#""linux":{{{USER_NS},"uidMappings":{MAP},"gidMappings":{MAP}}}"#);
    let rootless = |m: &str| format!(r#"{{"mounts":[{{"destination":"/m",{m}}}],{user}}}"#);
    accepted(&START, &rootless(r#""options":["bind","idmap"]"#), 0);
    accepted(&ROOTLESS, &rootless(r#""type":"devpts","options":["gid=5","uid=x"]"#), 0);
    refused(&ROOTLESS, &rootless(r#""type":"devpts","options":["gid=10"]"#), "cannot specify gid=10 mount option");
    refused(&ROOTLESS, &rootless(&format!(r#""options":["bind"],{map}"#)), "not supported for rootless containers");
}

#[test]
fn limits() {
    let cases = [
        (r#"{"devices":[{"allow":true}]}"#, "devices[0].access: device access field cannot be empty"),
        (r#"{"devices":[{"allow":true,"access":"x"}]}"#, "devices[0].access: \"x\""),
        (r#"{"devices":[{"allow":true,"access":"r","type":"p"}]}"#, "devices[0].type: \"p\""),
        (r#"{"devices":[{"allow":true,"access":"r","major":-2}]}"#, "devices[0].major: -2"),
        (r#"{"memory":{"limit":-2}}"#, "memory.limit: -2"),
        (r#"{"memory":{"swappiness":101}}"#, "memory.swappiness: 101: must be 0 to 100"),
        (r#"{"cpu":{"quota":5,"burst":6}}"#, "cpu.burst: 6"),
        (r#"{"cpu":{"idle":2}}"#, "cpu.idle: 2"),
        (r#"{"pids":{"limit":-2}}"#, "pids.limit: -2"),
        (r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0}]}}"#, "blockIO.weightDevice[0]: must have weight or"),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":-1,"minor":0,"rate":1}]}}"#,
            "blockIO.throttleReadBpsDevice[0].major: -1",
        ),
        (r#"{"hugepageLimits":[{"pageSize":"64kB","limit":1}]}"#, "hugepageLimits[0].pageSize: \"64kB\""),
        (r#"{"hugepageLimits":[{"pageSize":"02MB","limit":1}]}"#, "hugepageLimits[0].pageSize: \"02MB\""),
        (r#"{"hugepageLimits":[{"pageSize":"MB","limit":1}]}"#, "hugepageLimits[0].pageSize: \"MB\""),
        (r#"{"rdma":{"mlx5_1":{}}}"#, "rdma.mlx5_1: must have hcaHandles or hcaObjects"),
        (r#"{"unified":{"../x":"1"}}"#, r#"unified["../x"]: must be a file name without any slash"#),
    ];
    for (over, expected) in cases {
        refused(&START, &linux(&format!(r#"{{"resources":{over}}}"#)), &format!("linux.resources.{expected}"));
        let e = crate::Resources::from_slice(over.as_bytes()).unwrap().check("").unwrap_err().to_string();
        assert!(e.starts_with(expected), "{e}");
    }
    accepted(
        &START,
        &linux(
            r#"{"resources":{
            "devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":-1,"access":"m"}],
            "cpu":{"quota":-1,"burst":6,"idle":1},"pids":{"limit":0},"memory":{"limit":-1,"swappiness":100},
            "unified":{"io.max":"8:0 rbps=1"}}}"#,
        ),
        0,
    );
}

#[test]
fn the_rest_of_linux() {
    let node = |text: &str| format!(r#"{{"devices":[{{"path":"/dev/x",{text}}}]}}"#);
    let cases = [
        (node(r#""type":"x""#), "linux.devices[0].type: \"x\": invalid device type"),
        (node(r#""type":"c","minor":1"#), "linux.devices[0].major: must be given unless type is p"),
        (node(r#""type":"b","major":1"#), "linux.devices[0].minor: must be given unless type is p"),
        (node(r#""type":"c","major":-1,"minor":0"#), "linux.devices[0].major: -1"),
        (node(r#""type":"p","fileMode":512"#), "linux.devices[0].fileMode: 512"),
        (r#"{"devices":[{"path":"dev/x","type":"p"}]}"#.into(), "linux.devices[0].path: \"dev/x\""),
        (r#"{"rootfsPropagation":"rshare"}"#.into(), "linux.rootfsPropagation: \"rshare\""),
        (r#"{"cgroupsPath":"a\nb"}"#.into(), "linux.cgroupsPath"),
        (r#"{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"}}"#.into(), "seccomp.listenerMetadata"),
        (
            r#"{"seccomp":{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"names":[],"action":"SCMP_ACT_KILL"}]}}"#.into(),
            "linux.seccomp.syscalls[0].names: must have at least one entry",
        ),
        (
            r#"{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL",
            "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}}"#
                .into(),
            "linux.seccomp.syscalls[0].args[0].index: 6",
        ),
        (r#"{"intelRdt":{"closID":".."}}"#.into(), "linux.intelRdt.closID: \"..\": invalid intelRdt.ClosID"),
        (r#"{"intelRdt":{"closID":"a/b"}}"#.into(), "invalid intelRdt.ClosID"),
        (r#"{"intelRdt":{"memBwSchema":"L3:0=f"}}"#.into(), "linux.intelRdt.memBwSchema"),
        (r#"{"intelRdt":{"schemata":["a","MB:0=20\nL3:0=1"]}}"#.into(), "linux.intelRdt.schemata[1]"),
        (r#"{"memoryPolicy":{}}"#.into(), "linux.memoryPolicy.mode: \"\": invalid memory policy mode"),
        (r#"{"memoryPolicy":{"mode":"INTERLEAVE"}}"#.into(), "invalid memory policy mode: expected one of"),
        (r#"{"memoryPolicy":{"mode":"MPOL_LOCAL","flags":["x"]}}"#.into(), "invalid memory policy flag"),
        (r#"{"memoryPolicy":{"mode":"MPOL_DEFAULT","nodes":"0-7"}}"#.into(), "mode requires 0 nodes but got 8"),
        (r#"{"memoryPolicy":{"mode":"MPOL_BIND"}}"#.into(), "mode requires at least one node but got 0"),
        (r#"{"memoryPolicy":{"mode":"MPOL_BIND","nodes":"0-9876543210"}}"#.into(), "invalid memory policy node"),
        (
            r#"{"memoryPolicy":{"mode":"MPOL_BIND","nodes":"0",
            "flags":["MPOL_F_STATIC_NODES","MPOL_F_RELATIVE_NODES"]}}"#
                .into(),
            "exclude each other",
        ),
        (r#"{"personality":{}}"#.into(), "linux.personality.domain: \"\": invalid personality domain"),
        (r#"{"personality":{"domain":"LINUX","flags":["x"]}}"#.into(), "linux.personality.flags: [\"x\"]"),
    ];
    for (over, expected) in cases {
        refused(&START, &linux(&over), expected);
    }
    for over in [
        node(r#""type":"p""#),
        node(r#""type":"u","major":1,"minor":3,"fileMode":8630"#),
        r#"{"rootfsPropagation":"rslave"}"#.into(),
        r#"{"intelRdt":{"closID":"/","memBwSchema":"MB:0=20","schemata":["L2:0=f"]}}"#.into(),
        r#"{"memoryPolicy":{"mode":"MPOL_PREFERRED","flags":["MPOL_F_RELATIVE_NODES"]}}"#.into(),
        r#"{"personality":{"domain":"LINUX32"}}"#.into(),
    ] {
        accepted(&START, &linux(&over), 0);
    }
}

#[test]
fn hooks_annotations_and_other_platforms() {
    let cases = [
        (
            r#"{"hooks":{"poststop":[{"path":"/a"},{"path":"b"}]}}"#,
            "hooks.poststop[1].path: \"b\": must be an absolute path",
        ),
        (
            r#"{"hooks":{"createRuntime":[{"path":"/a","timeout":0}]}}"#,
            "hooks.createRuntime[0].timeout: 0: must be at least 1",
        ),
        (r#"{"hooks":{"prestart":[{"path":"/a","timeout":-1}]}}"#, "hooks.prestart[0].timeout: -1"),
        (r#"{"annotations":{"":"x"}}"#, "annotations: keys must not be empty"),
        (r#"{"annotations":{"run.oci.seccomp.plugins":"/x"}}"#, r#"annotations["run.oci.seccomp.plugins"]: "/x": not"#),
        (r#"{"zos":{}}"#, "zos: config is for platform \"zos\", this is linux"),
        (r#"{"solaris":{}}"#, "platform \"solaris\""),
        (r#"{"windows":{"layerFolders":["a"]}}"#, "platform \"windows\""),
        (r#"{"freebsd":{"jail":{"ip4":"disable"}}}"#, "platform \"freebsd\""),
        (r#"{"freebsd":{"jail":{"vnet":"disable"}}}"#, "freebsd.jail.vnet: \"disable\": expected one of new, inherit"),
        (r#"{"freebsd":5}"#, "freebsd: expected an object"),
        (r#"{"vm":5}"#, "vm: expected an object"),
    ];
    for (over, expected) in cases {
        refused(&START, over, expected);
    }
    accepted(&START, r#"{"vm":{"kernel":{"path":"/k"}}}"#, 1);
}
