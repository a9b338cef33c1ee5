//! Which cgroup hierarchies there are, which controllers they have, and whether the caller may use them.

use std::path::{Path, PathBuf};

use super::Finding;
use super::access::{Caller, may_write};

/// A controller of v2, its name in v1, and what it limits.
const CONTROLLERS: [(&str, &str, &str); 5] = [
    ("cpu", "cpu", "linux.resources.cpu"),
    ("cpuset", "cpuset", "linux.resources.cpu.cpus and mems"),
    ("memory", "memory", "linux.resources.memory"),
    ("pids", "pids", "linux.resources.pids"),
    ("io", "blkio", "linux.resources.blockIO"),
];

const LAYOUT: &str = "limits, statistics, and stopping all processes of a container";

/// The mounted hierarchies.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mounts {
    /// Where the v2 hierarchy is.
    v2: Option<PathBuf>,
    /// Where each v1 hierarchy is, with its controllers.
    v1: Vec<(PathBuf, Vec<String>)>,
}

impl Mounts {
    /// Reads the text of /proc/self/mountinfo.
    fn parse(mountinfo: &str) -> Mounts {
        let mut mounts = Mounts::default();
        for line in mountinfo.lines() {
            // Fields, a lone dash, then type, source and options of the file system.
            let Some((mount, fs)) = line.split_once(" - ") else { continue };
            let (Some(point), Some(kind)) = (mount.split(' ').nth(4), fs.split(' ').next()) else { continue };
            let point = PathBuf::from(point.replace("\\040", " "));
            match kind {
                "cgroup2" => mounts.v2 = mounts.v2.or(Some(point)),
                "cgroup" => {
                    let options = fs.split(' ').nth(2).unwrap_or_default();
                    let known = |o: &&str| !matches!(*o, "rw" | "ro") && !o.starts_with("name=");
                    let controllers: Vec<_> = options.split(',').filter(known).map(String::from).collect();
                    mounts.v1.push((point, controllers));
                }
                _ => {}
            }
        }
        mounts
    }

    fn v1_of(&self, controller: &str) -> Option<&Path> {
        let holds = |(_, controllers): &&(PathBuf, Vec<String>)| controllers.iter().any(|c| c == controller);
        self.v1.iter().find(holds).map(|(point, _)| point.as_path())
    }

    fn layout(&self) -> &'static str {
        match (&self.v2, self.v1.is_empty()) {
            (Some(_), true) => "v2",
            (Some(_), false) => "hybrid: controllers on v1, and v2 beside it",
            (None, false) => "v1",
            (None, true) => "none mounted",
        }
    }
}

pub(super) fn findings(who: &Caller) -> Vec<Finding> {
    let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    if mounts == Mounts::default() {
        return vec![
            Finding::limited("cgroups", LAYOUT, mounts.layout())
                .advise("mount -t cgroup2 cgroup2 /sys/fs/cgroup, or use --cgroup-manager disabled"),
        ];
    }
    let own = own_v2(&std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    // A user gets what the system has handed over, root gets all.
    let handed = |v2: &Path| if who.uid == 0 || own == Path::new("") { v2.to_owned() } else { v2.join(&own) };
    let place = mounts.v2.as_deref().map(handed);
    let in_v2 = place.as_ref().map(|dir| super::line_of(dir.join("cgroup.controllers")).unwrap_or_default());
    let in_v2 = in_v2.unwrap_or_default();

    let mut found = vec![Finding::ok("cgroups", LAYOUT, mounts.layout())];
    found.push(permission(who, &mounts, place.as_deref()));
    for (v2, v1, needed_for) in CONTROLLERS {
        found.push(controller(v2, v1, needed_for, &mounts, &in_v2, who));
    }
    found.push(devices(&mounts));
    found.push(kill(&mounts, &own));
    found
}

fn permission(who: &Caller, mounts: &Mounts, place: Option<&Path>) -> Finding {
    const NAME: &str = "cgroup permission";
    let v1 = || mounts.v1.first().map(|(point, _)| point.clone());
    let dir = if mounts.v1.is_empty() || who.uid != 0 { place.map(Path::to_owned) } else { None };
    let Some(dir) = dir.or_else(v1) else { return Finding::limited(NAME, LAYOUT, mounts.layout()) };
    if may_write(&dir) {
        return Finding::ok(NAME, LAYOUT, format!("{} may be written to", dir.display()));
    }
    let advice = if who.uid == 0 {
        "mount it writable (inside another container: run that one privileged), or use --cgroup-manager disabled"
    } else {
        "have the cgroup delegated (systemd: a user session with Delegate=yes); until then limits are not available"
    };
    Finding::limited(NAME, LAYOUT, format!("{} may not be written to", dir.display())).advise(advice)
}

fn controller(
    v2: &'static str,
    v1: &str,
    needed_for: &'static str,
    mounts: &Mounts,
    in_v2: &str,
    who: &Caller,
) -> Finding {
    if in_v2.split_whitespace().any(|name| name == v2) {
        return Finding::ok(name_of(v2), needed_for, "on v2");
    }
    if let Some(point) = mounts.v1_of(v1) {
        let detail = format!("on v1, at {}", point.display());
        if may_write(point) {
            return Finding::ok(name_of(v2), needed_for, detail);
        }
        return Finding::limited(name_of(v2), needed_for, detail + ", which may not be written to").advise(
            "boot with cgroup v2 alone (cgroup_no_v1=all) and have the cgroup delegated, or call hull as root",
        );
    }
    if taken_by_v1(&std::fs::read_to_string("/proc/cgroups").unwrap_or_default(), v1) {
        return Finding::missing(name_of(v2), needed_for, "on a v1 hierarchy that is not mounted here")
            .advise(format!("mount -t cgroup -o {v1} cgroup /sys/fs/cgroup/{v1}, or boot with cgroup_no_v1=all"));
    }
    let advice = if who.uid == 0 {
        format!("boot a kernel that has it, without cgroup_disable={v2}; inside another container, have it delegated")
    } else {
        format!("have {v2} delegated: a drop-in for user@.service with Delegate=cpu cpuset io memory pids")
    };
    Finding::missing(name_of(v2), needed_for, "on no hierarchy that the caller has").advise(advice)
}

/// Whether a v1 hierarchy holds a controller, by the text of /proc/cgroups: the number of v2 is 0.
fn taken_by_v1(table: &str, controller: &str) -> bool {
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|fields| match fields[..] {
        [name, hierarchy, ..] => name == controller && hierarchy != "0",
        _ => false,
    })
}

fn name_of(controller: &'static str) -> &'static str {
    match controller {
        "cpu" => "cgroup cpu",
        "cpuset" => "cgroup cpuset",
        "memory" => "cgroup memory",
        "pids" => "cgroup pids",
        _ => "cgroup io",
    }
}

/// v1 has a controller for devices; v2 leaves it to a BPF program.
fn devices(mounts: &Mounts) -> Finding {
    const FOR: &str = "linux.resources.devices";
    match (mounts.v1_of("devices"), &mounts.v2) {
        (Some(point), _) => Finding::ok("cgroup devices", FOR, format!("on v1, at {}", point.display())),
        (None, Some(_)) if hull_sys::probe::bpf().is_ok() => Finding::ok("cgroup devices", FOR, "on v2, by BPF"),
        _ => Finding::missing("cgroup devices", FOR, "neither a v1 controller nor v2 with BPF")
            .advise("use a kernel with CONFIG_CGROUP_BPF"),
    }
}

/// cgroup.kill is in every cgroup but the root.
fn kill(mounts: &Mounts, own: &Path) -> Finding {
    const FOR: &str = "killing all processes of a container in one step";
    const NAME: &str = "cgroup.kill";
    let Some(v2) = &mounts.v2 else {
        return Finding::limited(NAME, FOR, "v1 only; processes are killed one by one")
            .advise("nothing, or boot with cgroup v2");
    };
    let children = std::fs::read_dir(v2).into_iter().flatten().flatten().map(|entry| entry.path());
    if std::iter::once(v2.join(own)).chain(children).any(|dir| dir.join(NAME).exists()) {
        return Finding::ok(NAME, FOR, "the kernel has it");
    }
    // With no cgroup to look into, the release tells.
    if rustix::system::uname().release().to_str().ok().and_then(release).is_some_and(|release| release >= (5, 14)) {
        return Finding::ok(NAME, FOR, "by the kernel's release; there is no cgroup to see it in");
    }
    Finding::limited(NAME, FOR, "not there; processes are killed one by one").advise("use Linux 5.14 or later")
}

/// Major and minor number of a release such as `6.1.0-18-amd64`.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The caller's v2 cgroup below the mount, from the text of /proc/self/cgroup.
fn own_v2(text: &str) -> PathBuf {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // `/..` leads out of the cgroup namespace, where nothing is to be had.
    if path.starts_with("..") { PathBuf::new() } else { path.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn hierarchies_are_read_off_the_mounts() {
        let mounts = Mounts::parse(HYBRID);
        assert_eq!(mounts.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/uni fied")));
        assert_eq!(mounts.v1_of("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(mounts.v1_of("systemd"), None);
        assert!(mounts.layout().starts_with("hybrid"));
        assert_eq!(Mounts::parse("1 0 0:1 / / rw - ext4 /dev/sda rw").layout(), "none mounted");
        assert_eq!(Mounts::parse("1 0 0:1 / /c rw - cgroup2 c rw").layout(), "v2");
    }

    #[test]
    fn the_own_cgroup() {
        assert_eq!(own_v2("3:cpu:/a\n0::/user.slice/x\n"), Path::new("user.slice/x"));
        assert_eq!(own_v2("0::/../..\n"), Path::new(""));
        assert_eq!(own_v2("3:cpu:/a\n"), Path::new(""));
    }

    #[test]
    fn a_controller_is_on_one_hierarchy() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\npids\t0\t1\t1\n";
        assert!(taken_by_v1(table, "cpu"));
        assert!(!taken_by_v1(table, "pids"));
        assert!(!taken_by_v1(table, "io"));
    }

    #[test]
    fn releases() {
        assert_eq!(release("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(release("5.14-rc1"), Some((5, 14)));
        assert_eq!(release("x"), None);
    }
}
