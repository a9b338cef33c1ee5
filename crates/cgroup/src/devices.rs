//! Which devices a container may read, write and make: config.json's list, and the devices that every container has.
//!
//! The last rule that speaks of a permission decides it, for each of read, write and mknod by itself; without a rule
//! it is denied. v1 keeps such a list in the kernel but can't take a single device out of a wildcard, which is
//! refused here; v2 runs a program ([`crate::ebpf`]) that can.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use hull_spec::config::DeviceRule;
use hull_sys::bpf;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::create::State;
use crate::ebpf;
use crate::file::{is_denied, read, read_path, write_each};
use crate::group::Cgroup;
use crate::limits::Notes;
use crate::{Error, Result};

/// Permissions, with the kernel's bits of `BPF_DEVCG_ACC_…`.
pub(crate) const MKNOD: u8 = 1;
pub(crate) const READ: u8 = 2;
pub(crate) const WRITE: u8 = 4;
pub(crate) const ALL: u8 = MKNOD | READ | WRITE;

/// A kind of device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Block,
    Char,
}

/// One rule; `None` is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    pub(crate) kind: Option<Kind>,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) access: u8,
}

impl Rule {
    const fn char(major: u32, minor: Option<u32>) -> Rule {
        Rule { allow: true, kind: Some(Kind::Char), major: Some(major), minor, access: ALL }
    }

    const fn make(kind: Kind) -> Rule {
        Rule { allow: true, kind: Some(kind), major: None, minor: None, access: MKNOD }
    }

    /// Whether it speaks of everything, and so makes all earlier rules void.
    pub(crate) fn is_total(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }
}

/// What every container has, after config.json's rules: making any node, the default devices, terminals, and tun,
/// which engines have relied on for long.
const DEFAULTS: [Rule; 11] = [
    Rule::make(Kind::Char),
    Rule::make(Kind::Block),
    Rule::char(1, Some(3)),    // null
    Rule::char(1, Some(5)),    // zero
    Rule::char(1, Some(7)),    // full
    Rule::char(1, Some(8)),    // random
    Rule::char(1, Some(9)),    // urandom
    Rule::char(5, Some(0)),    // tty
    Rule::char(5, Some(2)),    // ptmx
    Rule::char(136, None),     // pts/*
    Rule::char(10, Some(200)), // net/tun
];

/// Reads config.json's rules and adds the defaults.
pub(crate) fn rules(list: &[DeviceRule]) -> Result<Vec<Rule>> {
    let mut rules = Vec::with_capacity(list.len() + DEFAULTS.len());
    for (i, rule) in list.iter().enumerate() {
        let bad = |field: &str, value: &dyn fmt::Debug, want: &str| {
            Error::new(format!("linux.resources.devices[{i}].{field} is {value:?}: it must be {want}"))
        };
        let kind = match rule.kind.as_str() {
            "" | "a" => None,
            "b" => Some(Kind::Block),
            "c" | "u" => Some(Kind::Char),
            other => return Err(bad("type", &other, "\"a\", \"b\" or \"c\"")),
        };
        let number = |field, value: Option<i64>| match value {
            None | Some(-1) => Ok(None),
            Some(n) => u32::try_from(n).map(Some).map_err(|_| bad(field, &n, "a device number or -1")),
        };
        let mut access = 0;
        for letter in rule.access.chars() {
            access |= match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                // Who checked config.json has warned of it.
                _ => 0,
            };
        }
        if access == 0 {
            return Err(bad("access", &rule.access, "at least one of the letters r, w and m"));
        }
        let (major, minor) = (number("major", rule.major)?, number("minor", rule.minor)?);
        rules.push(Rule { allow: rule.allow, kind, major, minor, access });
    }
    rules.extend(DEFAULTS);
    Ok(rules)
}

impl Cgroup {
    /// Puts the device rules in force.
    pub(crate) fn set_devices(&self, list: &[DeviceRule], state: State, notes: &mut Notes) -> Result<()> {
        let rules = rules(list)?;
        let result = if let Some(dir) = self.v1_dir("devices") {
            set_v1(dir, &rules, state)
        } else if let Some(dir) = self.v2_dir() {
            set_v2(dir, &rules, state)
        } else if list.is_empty() || self.rootless {
            notes.warnings.push("no cgroup restricts the container's devices".into());
            return Ok(());
        } else {
            return Err(Error::new(
                "linux.resources.devices: cannot be enforced, as the container has neither a v1 cgroup with the \
                 controller \"devices\" nor a v2 cgroup; mount a cgroup file system or remove the rules",
            ));
        };
        match result {
            // Who is root only in a user namespace, or not at all, may neither set device rules nor make devices.
            Err(Failed::Kernel(_, e)) if is_denied(&e) && (self.rootless || in_user_namespace()) => {
                notes.debug.push(format!("linux.resources.devices: left to the host's rules ({e})"));
                Ok(())
            }
            Err(Failed::Kernel(doing, e)) => Err(Error::io(format_args!("linux.resources.devices: {doing}"), &e)),
            Err(Failed::Rules(e)) => Err(e),
            Ok(()) => Ok(()),
        }
    }
}

/// Why rules are not in force: the rules themselves, or a step that the kernel refused.
enum Failed {
    Rules(Error),
    Kernel(String, io::Error),
}

/// Whether hull itself runs in a user namespace below the host's.
fn in_user_namespace() -> bool {
    let map = read_path(Path::new("/proc/self/uid_map")).unwrap_or_default();
    !map.is_empty() && !map.split_whitespace().eq(["0", "0", "4294967295"])
}

type Device = (Kind, Option<u32>, Option<u32>);

/// The list as v1 keeps it: what holds by default, and exceptions to it.
#[derive(Debug, Default, PartialEq, Eq)]
struct List {
    allow: bool,
    exceptions: BTreeMap<Device, u8>,
}

impl List {
    fn of(rules: &[Rule]) -> Result<List> {
        let mut list = List::default();
        for rule in rules {
            if rule.is_total() {
                list = List { allow: rule.allow, exceptions: BTreeMap::new() };
                continue;
            }
            for kind in [Kind::Block, Kind::Char] {
                if rule.kind.is_none_or(|k| k == kind) {
                    list.add(rule.allow, (kind, rule.major, rule.minor), rule.access)?;
                }
            }
        }
        Ok(list)
    }

    fn add(&mut self, allow: bool, device: Device, access: u8) -> Result<()> {
        if allow != self.allow {
            *self.exceptions.entry(device).or_default() |= access;
            return Ok(());
        }
        let (kind, major, minor) = device;
        for wider in [(kind, None, minor), (kind, major, None), (kind, None, None)] {
            if wider != device && self.exceptions.get(&wider).is_some_and(|have| have & access != 0) {
                return Err(Error::new(format!(
                    "linux.resources.devices: cgroup v1 cannot take {:?} out of the earlier rule {:?}",
                    line(&device, access),
                    line(&wider, self.exceptions[&wider])
                )));
            }
        }
        if let Some(have) = self.exceptions.get_mut(&device) {
            *have &= !access;
        }
        self.exceptions.retain(|_, access| *access != 0);
        Ok(())
    }

    /// Reads `devices.list`. Where it allows all by default, the kernel doesn't show the exceptions.
    fn parse(text: &str) -> Option<List> {
        let mut list = List::default();
        for text in text.lines() {
            let mut words = text.split([' ', ':']);
            let kind = match words.next()? {
                "a" => return Some(List { allow: true, exceptions: BTreeMap::new() }),
                "b" => Kind::Block,
                "c" => Kind::Char,
                _ => return None,
            };
            let mut number = || match words.next()? {
                "*" => Some(None),
                n => n.parse().ok().map(Some),
            };
            let device = (kind, number()?, number()?);
            let letters = words.next()?;
            let bit = |letter, bit| if letters.contains(letter) { bit } else { 0 };
            list.exceptions.insert(device, bit('r', READ) | bit('w', WRITE) | bit('m', MKNOD));
        }
        Some(list)
    }

    /// What to write to `devices.deny` and then to `devices.allow` to come here from `now`. A list that is already
    /// in the right mode is changed rule by rule, so that a running container loses nothing on the way.
    fn steps_from(&self, now: Option<&List>) -> [(&'static str, Vec<String>); 2] {
        let (mut deny, mut allow) = (Vec::new(), Vec::new());
        let none = BTreeMap::new();
        let have = match now {
            Some(now) if !now.allow && !self.allow => &now.exceptions,
            _ => {
                (if self.allow { &mut allow } else { &mut deny }).push("a".to_string());
                &none
            }
        };
        let lost = |from: &BTreeMap<Device, u8>, to: &BTreeMap<Device, u8>| {
            let differ = |(device, access): (&Device, &u8)| (*device, access & !to.get(device).copied().unwrap_or(0));
            let lines = from.iter().map(differ).filter(|(_, access)| *access != 0);
            lines.map(|(device, access)| line(&device, access)).collect::<Vec<_>>()
        };
        let (gain, drop) = if self.allow { (&mut deny, &mut allow) } else { (&mut allow, &mut deny) };
        drop.extend(lost(have, &self.exceptions));
        gain.extend(lost(&self.exceptions, have));
        // "a" empties the kernel's list, and so comes first.
        if self.allow {
            [("devices.allow", allow), ("devices.deny", deny)]
        } else {
            [("devices.deny", deny), ("devices.allow", allow)]
        }
    }
}

/// A rule as v1 writes it.
fn line(&(kind, major, minor): &Device, access: u8) -> String {
    let number = |n: Option<u32>| n.map_or("*".to_string(), |n| n.to_string());
    let letter = |bit, letter: &'static str| if access & bit != 0 { letter } else { "" };
    let kind = match kind {
        Kind::Block => 'b',
        Kind::Char => 'c',
    };
    let (r, w, m) = (letter(READ, "r"), letter(WRITE, "w"), letter(MKNOD, "m"));
    format!("{kind} {}:{} {r}{w}{m}", number(major), number(minor))
}

fn set_v1(dir: &Path, rules: &[Rule], state: State) -> std::result::Result<(), Failed> {
    let list = List::of(rules).map_err(Failed::Rules)?;
    let now = match state {
        State::Fresh => None,
        State::Used => {
            let text = read(dir, "devices.list")
                .map_err(|e| Failed::Kernel(format!("cannot read {:?}", dir.join("devices.list")), e))?;
            List::parse(&text)
        }
    };
    for (name, lines) in list.steps_from(now.as_ref()) {
        if !lines.is_empty() {
            write_each(dir, name, &lines)
                .map_err(|e| Failed::Kernel(format!("cannot write {lines:?} to {:?}", dir.join(name)), e))?;
        }
    }
    Ok(())
}

fn set_v2(dir: &Path, rules: &[Rule], state: State) -> std::result::Result<(), Failed> {
    let program = ebpf::compile(rules);
    if program.is_none() && state == State::Fresh {
        return Ok(());
    }
    let failed = |doing: &'static str| move |e: io::Error| Failed::Kernel(format!("{doing} cgroup {dir:?}"), e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cgroup = openat(CWD, dir, flags, Mode::empty()).map_err(|e| failed("cannot open")(e.into()))?;
    let mut old = Vec::new();
    if state == State::Used {
        for id in bpf::device_filters(cgroup.as_fd()).map_err(failed("cannot list the device filters of"))? {
            old.push(bpf::open_program(id).map_err(failed("cannot open a device filter of"))?);
        }
    }
    if let Some(program) = program {
        let new =
            bpf::load_device_filter(&program, c"Apache-2.0").map_err(failed("cannot load a device filter for"))?;
        let attach = |replace| bpf::attach_device_filter(cgroup.as_fd(), new.as_fd(), replace);
        match &old[..] {
            // In one step, where the kernel can (Linux 5.6).
            [one] if attach(Some(one.as_fd())).is_ok() => return Ok(()),
            // All filters of a cgroup must agree, so that the old ones go after the new one is there.
            _ => attach(None).map_err(failed("cannot attach a device filter to"))?,
        }
    }
    for one in &old {
        bpf::detach_device_filter(cgroup.as_fd(), one.as_fd())
            .map_err(failed("cannot detach an old device filter from"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DeviceRule {
        let words: Vec<_> = text.split(' ').collect();
        let number = |w: &str| if w == "*" { None } else { w.parse().ok() };
        DeviceRule {
            allow: words[0] == "+",
            kind: words[1].into(),
            major: number(words[2]),
            minor: number(words[3]),
            access: words[4].into(),
        }
    }

    fn list(texts: &[&str]) -> Result<List> {
        List::of(&rules(&texts.iter().map(|t| rule(t)).collect::<Vec<_>>())?)
    }

    #[test]
    fn without_rules_only_the_defaults_are_allowed() {
        let list = list(&[]).unwrap();
        assert!(!list.allow);
        let [(first, deny), (second, allow)] = list.steps_from(None);
        assert_eq!((first, second), ("devices.deny", "devices.allow"));
        assert_eq!(deny, ["a"]);
        let want = [
            "b *:* m",
            "c *:* m",
            "c 1:3 rwm",
            "c 1:5 rwm",
            "c 1:7 rwm",
            "c 1:8 rwm",
            "c 1:9 rwm",
            "c 5:0 rwm",
            "c 5:2 rwm",
            "c 10:200 rwm",
            "c 136:* rwm",
        ];
        assert_eq!(allow, want);
    }

    #[test]
    fn permissions_of_one_device_add_up() {
        let list = list(&["- a * * rwm", "+ b 8 0 r", "+ b 8 0 w", "- b 8 0 r"]).unwrap();
        assert_eq!(list.exceptions[&(Kind::Block, Some(8), Some(0))], WRITE);
    }

    #[test]
    fn a_total_rule_voids_the_earlier_ones_and_a_partial_one_speaks_of_both_kinds() {
        let all = list(&["- b 8 0 r", "+ a * * rwm", "- b 8 1 rwm"]).unwrap();
        assert!(all.allow);
        assert_eq!(all.exceptions, BTreeMap::from([((Kind::Block, Some(8), Some(1)), ALL)]));
        let partial = list(&["+ a * * r"]).unwrap();
        assert!(!partial.allow);
        assert_eq!(partial.exceptions[&(Kind::Block, None, None)], READ | MKNOD);
    }

    #[test]
    fn v1_refuses_a_hole_in_a_wildcard() {
        let error = list(&["+ c 4 * rw", "- c 4 64 w"]).unwrap_err().to_string();
        assert!(error.contains("\"c 4:64 w\"") && error.contains("\"c 4:* rw\""), "{error}");
    }

    #[test]
    fn an_update_changes_only_what_differs() {
        let now = List::parse("c 1:3 rwm\nb 8:0 rw\n").unwrap();
        let mut target = List::parse("c 1:3 rwm\nb 8:0 r\nb *:1 m\n").unwrap();
        let steps = |list: &List, now: &List| list.steps_from(Some(now)).map(|(_, lines)| lines.join(";"));
        assert_eq!(steps(&target, &now), ["b 8:0 w", "b *:1 m"]);
        assert_eq!(steps(&target, &target), ["", ""]);
        assert_eq!(steps(&now, &List::parse("a *:* rwm\n").unwrap()), ["a", "b 8:0 rw;c 1:3 rwm"]);
        target.allow = true;
        assert_eq!(steps(&target, &now), ["a", "b *:1 m;b 8:0 r;c 1:3 rwm"]);
    }

    #[test]
    fn bad_rules_are_named() {
        for (text, field) in [
            ("+ p 1 1 r", "devices[0].type"),
            ("+ c -2 1 r", "devices[0].major"),
            ("+ c 1 4294967296 r", "devices[0].minor"),
            ("+ c 1 1 x", "devices[0].access"),
            ("+ c 1 1 ", "devices[0].access"),
        ] {
            let error = rules(&[rule(text)]).unwrap_err().to_string();
            assert!(error.contains(field), "{text}: {error}");
        }
    }
}
