//! Mount options: the whole table, and what a list of them asks for.
//!
//! The table is the specification's (config.md, "Linux mount options") and what peers take beyond it. An option that
//! is not in it belongs to the file system. Mounts nothing.

use crate::config::{IdMapping, Spec};

/// `MOUNT_ATTR_*` of mount_setattr(2).
mod attr {
    pub(super) const RDONLY: u64 = 0x1;
    pub(super) const NOSUID: u64 = 0x2;
    pub(super) const NODEV: u64 = 0x4;
    pub(super) const NOEXEC: u64 = 0x8;
    /// A field rather than bits: 0 in it is relatime.
    pub(super) const ATIME: u64 = 0x70;
    pub(super) const NOATIME: u64 = 0x10;
    pub(super) const STRICTATIME: u64 = 0x20;
    pub(super) const NODIRATIME: u64 = 0x80;
    pub(super) const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// `MS_*` of mount(2).
mod ms {
    pub(super) const RDONLY: u64 = 1;
    pub(super) const NOSUID: u64 = 1 << 1;
    pub(super) const NODEV: u64 = 1 << 2;
    pub(super) const NOEXEC: u64 = 1 << 3;
    pub(super) const SYNCHRONOUS: u64 = 1 << 4;
    pub(super) const REMOUNT: u64 = 1 << 5;
    pub(super) const MANDLOCK: u64 = 1 << 6;
    pub(super) const DIRSYNC: u64 = 1 << 7;
    pub(super) const NOSYMFOLLOW: u64 = 1 << 8;
    pub(super) const NOATIME: u64 = 1 << 10;
    pub(super) const NODIRATIME: u64 = 1 << 11;
    pub(super) const BIND: u64 = 1 << 12;
    pub(super) const REC: u64 = 1 << 14;
    pub(super) const SILENT: u64 = 1 << 15;
    pub(super) const UNBINDABLE: u64 = 1 << 17;
    pub(super) const PRIVATE: u64 = 1 << 18;
    pub(super) const SLAVE: u64 = 1 << 19;
    pub(super) const SHARED: u64 = 1 << 20;
    pub(super) const RELATIME: u64 = 1 << 21;
    pub(super) const I_VERSION: u64 = 1 << 23;
    pub(super) const STRICTATIME: u64 = 1 << 24;
    pub(super) const LAZYTIME: u64 = 1 << 25;
}

/// What the options of one mount ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// A bind mount.
    pub bind: bool,
    /// A bind mount with what is mounted below the source.
    pub rbind: bool,
    /// A change of what is mounted at the destination.
    pub remount: bool,
    /// Attributes to set on the mount.
    pub attr_set: u64,
    /// Attributes to clear.
    pub attr_clr: u64,
    /// Attributes to set on the mount and those below it.
    pub rec_set: u64,
    /// Attributes to clear there.
    pub rec_clr: u64,
    /// The same as flags of mount(2), with those of the superblock: a new file system is read-only in both with
    /// `ro`, and only mount(2) has `iversion` and `silent`.
    pub ms_set: u64,
    /// Flags of mount(2) that are asked not to be set.
    pub ms_clr: u64,
    /// Propagation flags (`MS_*`) in order, each with whether it holds for mounts below too.
    pub propagation: Vec<(u64, bool)>,
    /// Options of the file system's superblock that take no value, such as `sync`.
    pub superblock: Vec<String>,
    /// Options that only the file system knows, in order.
    pub data: Vec<(String, Option<String>)>,
    /// Copy what the image has at the target into a new tmpfs.
    pub tmpcopyup: bool,
    /// Map ids on this mount.
    pub idmap: bool,
    /// Map ids on the mounts below too.
    pub ridmap: bool,
    /// Copy a source that is a symbolic link instead of mounting.
    pub copy_symlink: bool,
    /// Don't follow the source's last component.
    pub src_nofollow: bool,
    /// Follow no link of the destination.
    pub dest_nofollow: bool,
}

/// An option that hull can't honour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Options that set or clear a flag: name, attribute, flag of mount(2), whether it clears.
const FLAGS: [(&str, u64, u64, bool); 34] = [
    ("async", 0, ms::SYNCHRONOUS, true),
    ("atime", attr::NOATIME, ms::NOATIME, true),
    ("defaults", 0, 0, false),
    ("dev", attr::NODEV, ms::NODEV, true),
    ("diratime", attr::NODIRATIME, ms::NODIRATIME, true),
    ("dirsync", 0, ms::DIRSYNC, false),
    ("exec", attr::NOEXEC, ms::NOEXEC, true),
    ("iversion", 0, ms::I_VERSION, false),
    ("lazytime", 0, ms::LAZYTIME, false),
    ("loud", 0, ms::SILENT, true),
    ("mand", 0, ms::MANDLOCK, false),
    ("noatime", attr::NOATIME, ms::NOATIME, false),
    ("nodev", attr::NODEV, ms::NODEV, false),
    ("nodiratime", attr::NODIRATIME, ms::NODIRATIME, false),
    ("noexec", attr::NOEXEC, ms::NOEXEC, false),
    ("noiversion", 0, ms::I_VERSION, true),
    ("nolazytime", 0, ms::LAZYTIME, true),
    ("nomand", 0, ms::MANDLOCK, true),
    ("norelatime", 0, ms::RELATIME, true),
    ("nostrictatime", attr::STRICTATIME, ms::STRICTATIME, true),
    ("nosuid", attr::NOSUID, ms::NOSUID, false),
    ("nosymfollow", attr::NOSYMFOLLOW, ms::NOSYMFOLLOW, false),
    ("relatime", 0, ms::RELATIME, false),
    ("remount", 0, ms::REMOUNT, false),
    ("ro", attr::RDONLY, ms::RDONLY, false),
    ("rw", attr::RDONLY, ms::RDONLY, true),
    ("silent", 0, ms::SILENT, false),
    ("strictatime", attr::STRICTATIME, ms::STRICTATIME, false),
    ("suid", attr::NOSUID, ms::NOSUID, true),
    ("symfollow", attr::NOSYMFOLLOW, ms::NOSYMFOLLOW, true),
    ("sync", 0, ms::SYNCHRONOUS, false),
    ("bind", 0, ms::BIND, false),
    ("rbind", 0, ms::BIND | ms::REC, false),
    ("tmpcopyup", 0, 0, false),
];

/// Flags of mount(2) of which one at most is in force.
const ATIME_MODES: u64 = ms::NOATIME | ms::RELATIME | ms::STRICTATIME;

const PROPAGATION: [(&str, u64, bool); 8] = [
    ("private", ms::PRIVATE, false),
    ("rprivate", ms::PRIVATE, true),
    ("rshared", ms::SHARED, true),
    ("rslave", ms::SLAVE, true),
    ("runbindable", ms::UNBINDABLE, true),
    ("shared", ms::SHARED, false),
    ("slave", ms::SLAVE, false),
    ("unbindable", ms::UNBINDABLE, false),
];

/// Superblock options that fsconfig(2) takes, by their flag of mount(2).
const SUPERBLOCK: [(u64, &str); 4] =
    [(ms::SYNCHRONOUS, "sync"), (ms::DIRSYNC, "dirsync"), (ms::MANDLOCK, "mand"), (ms::LAZYTIME, "lazytime")];

/// Options that are hull's to carry out, not the kernel's.
const OWN: [&str; 5] = ["copy-symlink", "dest-nofollow", "idmap", "ridmap", "src-nofollow"];

/// Every option that has a meaning beyond the file system's own, sorted, for `features`.
pub fn known() -> Vec<String> {
    let recursive = FLAGS.iter().filter(|f| is_attribute(f.1, f.2)).map(|f| format!("r{}", f.0));
    let plain = FLAGS.iter().map(|f| f.0).chain(PROPAGATION.iter().map(|p| p.0)).chain(OWN).map(str::to_owned);
    let mut all: Vec<String> = plain.chain(recursive).collect();
    all.sort_unstable();
    all
}

/// Whether an option is about an attribute of the mount, and so can be recursive.
fn is_attribute(attribute: u64, flag: u64) -> bool {
    attribute != 0 || flag == ms::RELATIME
}

/// Reads the options of a mount of type `kind`.
///
/// # Errors
/// For an option that hull can't honour.
pub fn parse(options: &[String], kind: &str) -> Result<MountOptions, Error> {
    let mut parsed = MountOptions { bind: kind == "bind", ..MountOptions::default() };
    for option in options {
        let name = option.as_str();
        if let Some(&(_, attribute, flag, clears)) = FLAGS.iter().find(|f| f.0 == name) {
            parsed.flag(name, attribute, flag, clears);
        } else if let Some(&(_, flag, recursive)) = PROPAGATION.iter().find(|p| p.0 == name) {
            parsed.propagation.push((flag, recursive));
        } else if let Some(&(_, attribute, flag, clears)) = recursive(name) {
            change(&mut parsed.rec_set, &mut parsed.rec_clr, attribute, flag, clears);
            if clears && flag & ATIME_MODES != 0 {
                // A tree has no one mode to fall back to: what is not this mode is the default one.
                parsed.rec_clr |= attr::ATIME;
            }
        } else if !parsed.own(name) {
            parsed.data(name)?;
        }
    }
    Ok(parsed)
}

fn recursive(name: &str) -> Option<&'static (&'static str, u64, u64, bool)> {
    let name = name.strip_prefix('r')?;
    FLAGS.iter().find(|f| f.0 == name && is_attribute(f.1, f.2))
}

/// A later option takes an earlier one of the same attribute back.
fn change(set: &mut u64, clr: &mut u64, attribute: u64, flag: u64, clears: bool) {
    if flag & ATIME_MODES == 0 {
        (*set, *clr) =
            if clears { (*set & !attribute, *clr | attribute) } else { (*set | attribute, *clr & !attribute) };
    } else if !clears {
        (*set, *clr) = (*set & !attr::ATIME | attribute, *clr | attr::ATIME);
    } else if *clr & attr::ATIME != 0 && *set & attr::ATIME == attribute {
        // mount(8) and peers leave the mode of a mount as it is when told which one it is not to be.
        (*set, *clr) = (*set & !attr::ATIME, *clr & !attr::ATIME);
    }
}

impl MountOptions {
    fn flag(&mut self, name: &str, attribute: u64, flag: u64, clears: bool) {
        if is_attribute(attribute, flag) {
            change(&mut self.attr_set, &mut self.attr_clr, attribute, flag, clears);
        }
        let (set, clr) = (self.ms_set, self.ms_clr);
        (self.ms_set, self.ms_clr) = if clears { (set & !flag, clr | flag) } else { (set | flag, clr & !flag) };
        self.bind |= flag & ms::BIND != 0;
        self.rbind |= flag & ms::REC != 0;
        self.remount |= flag == ms::REMOUNT;
        self.tmpcopyup |= name == "tmpcopyup";
        if let Some((_, name)) = SUPERBLOCK.iter().find(|s| s.0 == flag) {
            self.superblock.retain(|n| n != name);
            if !clears {
                self.superblock.push((*name).to_owned());
            }
        }
    }

    fn own(&mut self, name: &str) -> bool {
        match name {
            "idmap" => self.idmap = true,
            "ridmap" => (self.idmap, self.ridmap) = (true, true),
            "copy-symlink" => self.copy_symlink = true,
            "src-nofollow" => self.src_nofollow = true,
            "dest-nofollow" => self.dest_nofollow = true,
            _ => return false,
        }
        true
    }

    /// Takes options of the file system's own; one string may have several, as mount(2) takes them.
    fn data(&mut self, text: &str) -> Result<(), Error> {
        if mapping_text(text).is_some() {
            return Err(Error(format!("\"{text}\": give the mappings as uidMappings and gidMappings of the mount")));
        }
        for option in split(text).filter(|o| !o.is_empty()) {
            self.data.push(match option.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(unquoted(key, value).to_owned())),
                None => (option.to_owned(), None),
            });
        }
        Ok(())
    }

    /// What the attributes of a bind mount become if the options are all that counts, as (set, clear): peers give
    /// it the flags that were asked for and no others, so that a source's `noexec` is gone with `bind,ro`. Nothing
    /// if no option is about flags: then all is kept. Where the kernel forbids it, as flags that another user
    /// namespace set are locked, what is left is to change no more than was asked: `attr_set` and `attr_clr`.
    pub fn exact(&self) -> Option<(u64, u64)> {
        const FLAGS: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW;
        const TIMES: u64 = attr::ATIME | attr::NODIRATIME;
        if (self.ms_set & !(ms::BIND | ms::REC | ms::REMOUNT)) | self.ms_clr == 0 {
            return None;
        }
        // Access times are kept unless one of their flags is set; to clear one does not count.
        let times = if self.ms_set & (ATIME_MODES | ms::NODIRATIME) == 0 { 0 } else { TIMES };
        let set = self.attr_set & (FLAGS | times);
        Some((set, (FLAGS | times) & !(set & !attr::ATIME)))
    }
}

/// Splits at commas that are neither in quotes nor after a backslash.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let here = c == ',' && !quoted && !escaped;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        here
    })
}

/// The value of a security label without the quotes that mount(2) wants around its commas.
fn unquoted<'a>(key: &str, value: &'a str) -> &'a str {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.filter(|_| key.ends_with("context")).unwrap_or(value)
}

fn mapping_text(option: &str) -> Option<(&'static str, &str)> {
    match option.split_once('=')? {
        ("idmap", text) => Some(("idmap", text)),
        ("ridmap", text) => Some(("ridmap", text)),
        _ => None,
    }
}

/// Moves mappings that mounts carry in their options, `idmap=uids=0-1000-10#10-2000-5;gids=@0-0-10`, to the fields for
/// them. A triplet is the first id of the file system, the first id of the host, and how many; after "@" the second
/// is an id of the container's user namespace.
///
/// # Errors
/// By the option.
pub(crate) fn take_mappings(spec: &mut Spec) -> Result<(), crate::Error> {
    let linux = spec.linux.as_ref();
    let own = linux.map_or((&[][..], &[][..]), |l| (&l.uid_mappings[..], &l.gid_mappings[..]));
    for (i, mount) in spec.mounts.iter_mut().enumerate() {
        for (j, option) in mount.options.iter_mut().enumerate() {
            let Some((name, text)) = mapping_text(option) else { continue };
            let refuse = |problem: &str| crate::Error::value(format!("mounts[{i}].options[{j}]"), &*option, problem);
            if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
                return Err(refuse("mappings are given twice"));
            }
            for part in text.split(';').filter(|p| !p.is_empty()) {
                let (list, base, text) = match part.split_once('=') {
                    Some(("uids", text)) => (&mut mount.uid_mappings, own.0, text),
                    Some(("gids", text)) => (&mut mount.gid_mappings, own.1, text),
                    _ => return Err(refuse("expected uids= and gids=")),
                };
                for triplet in text.split('#').filter(|t| !t.is_empty()) {
                    list.push(mapping(triplet, base).map_err(refuse)?);
                }
            }
            *option = name.to_owned();
        }
    }
    Ok(())
}

fn mapping(triplet: &str, base: &[IdMapping]) -> Result<IdMapping, &'static str> {
    let (relative, numbers) = triplet.strip_prefix('@').map_or((false, triplet), |rest| (true, rest));
    let mut numbers = numbers.split('-').map(str::parse::<u32>);
    let (Some(Ok(container_id)), Some(Ok(id)), Some(Ok(size)), None) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        return Err("expected three numbers such as 0-1000-10");
    };
    if !relative {
        return Ok(IdMapping { container_id, host_id: id, size });
    }
    let range = base.iter().find(|m| id.checked_sub(m.container_id).is_some_and(|offset| offset < m.size));
    let host_id = range.and_then(|m| m.host_id.checked_add(id - m.container_id));
    let host_id = host_id.ok_or("an id after \"@\" must be mapped in the container's user namespace")?;
    Ok(IdMapping { container_id, host_id, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[&str], kind: &str) -> MountOptions {
        parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>(), kind).unwrap()
    }

    #[test]
    fn later_options_win() {
        let o = of(&["ro", "nosuid", "rw", "noatime"], "tmpfs");
        assert_eq!(o.attr_set, attr::NOSUID | attr::NOATIME);
        assert_eq!(o.attr_clr, attr::RDONLY | attr::ATIME);
        assert_eq!((o.ms_set, o.ms_clr), (ms::NOSUID | ms::NOATIME, ms::RDONLY));
        let o = of(&["rw", "ro"], "bind");
        assert_eq!((o.attr_set, o.attr_clr), (attr::RDONLY, 0));
        let o = of(&["sync", "lazytime", "async", "dirsync", "dirsync"], "ext4");
        assert_eq!(o.superblock, ["lazytime", "dirsync"]);
    }

    #[test]
    fn access_time_is_one_mode_of_three() {
        let o = of(&["noatime", "strictatime"], "");
        assert_eq!((o.attr_set, o.attr_clr), (attr::STRICTATIME, attr::ATIME));
        let o = of(&["noatime", "relatime"], "");
        assert_eq!((o.attr_set, o.attr_clr), (0, attr::ATIME));
        for taken_back in [&["noatime", "atime"][..], &["relatime", "norelatime"], &["nostrictatime"]] {
            let o = of(taken_back, "");
            assert_eq!((o.attr_set, o.attr_clr), (0, 0), "{taken_back:?}");
        }
        // Of the wrong mode, nothing is taken back.
        assert_eq!(of(&["noatime", "nostrictatime"], "").attr_set, attr::NOATIME);
        for (option, set) in [
            ("ratime", 0),
            ("rnoatime", attr::NOATIME),
            ("rstrictatime", attr::STRICTATIME),
            ("rnostrictatime", 0),
            ("rrelatime", 0),
            ("rnorelatime", 0),
        ] {
            let o = of(&["rbind", option], "");
            assert_eq!((o.rec_set, o.rec_clr), (set, attr::ATIME), "{option}");
        }
        assert_eq!(of(&["rnoatime", "ratime"], "").rec_set, 0);
    }

    #[test]
    fn recursive_attributes_and_propagation() {
        let o = of(&["rbind", "rro", "rnosymfollow", "rdev", "rslave", "private"], "");
        assert!(o.bind && o.rbind);
        assert_eq!((o.rec_set, o.rec_clr), (attr::RDONLY | attr::NOSYMFOLLOW, attr::NODEV));
        assert_eq!(o.propagation, [(ms::SLAVE, true), (ms::PRIVATE, false)]);
        assert_eq!((o.attr_set, o.attr_clr, o.ms_set), (0, 0, ms::BIND | ms::REC));
    }

    #[test]
    fn bind_mounts_take_exactly_the_flags_asked_for() {
        const FLAGS: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW;
        const TIMES: u64 = attr::ATIME | attr::NODIRATIME;
        let cases = [
            (&["bind"][..], None),
            (&["rbind", "rprivate", "rro"], None),
            (&["bind", "dev"], Some((0, FLAGS))),
            (&["bind", "ro"], Some((attr::RDONLY, FLAGS & !attr::RDONLY))),
            (&["bind", "atime"], Some((0, FLAGS))),
            (&["bind", "noatime"], Some((attr::NOATIME, FLAGS | TIMES))),
            (&["bind", "nodiratime"], Some((attr::NODIRATIME, FLAGS | attr::ATIME))),
            (&["bind", "relatime"], Some((0, FLAGS | TIMES))),
        ];
        for (options, exact) in cases {
            assert_eq!(of(options, "").exact(), exact, "{options:?}");
        }
    }

    #[test]
    fn the_rest_is_the_file_systems() {
        let pair = |k: &str, v: Option<&str>| (k.to_owned(), v.map(str::to_owned));
        let o = of(&["mode=755", "size=64k", "newinstance", "defaults", "acl"], "tmpfs");
        let expected =
            [pair("mode", Some("755")), pair("size", Some("64k")), pair("newinstance", None), pair("acl", None)];
        assert_eq!(o.data, expected);
        let o = of(&[r#"lowerdir=/a\,b:/c,upperdir=/d,index=off"#, r#"context="u:r:t:s0:c1,c2",x"#, ","], "overlay");
        let expected = [
            pair("lowerdir", Some(r"/a\,b:/c")),
            pair("upperdir", Some("/d")),
            pair("index", Some("off")),
            pair("context", Some("u:r:t:s0:c1,c2")),
            pair("x", None),
        ];
        assert_eq!(o.data, expected);
        assert!(parse(&["idmap=uids=0-1-1".to_owned()], "bind").is_err());
    }

    #[test]
    fn the_list_of_known_options_is_sorted_and_parses() {
        let known = known();
        assert!(known.windows(2).all(|w| w[0] < w[1]), "{known:?}");
        for name in ["rro", "rnorelatime", "tmpcopyup", "iversion", "ridmap", "runbindable"] {
            assert!(known.iter().any(|k| k == name), "{name}");
        }
        let parsed = parse(&known, "bind").unwrap();
        assert!(parsed.data.is_empty(), "{:?}", parsed.data);
    }

    #[test]
    fn mappings_in_options_become_fields() {
        let read = |option: &str, more: &str| {
            let text = format!(
                r#"{{"ociVersion":"1.0.0","mounts":[{{"destination":"/m","options":["bind","{option}"]{more}}}],
                "linux":{{"uidMappings":[{{"containerID":0,"hostID":0,"size":1}},
                                         {{"containerID":1,"hostID":2,"size":1000}}]}}}}"#
            );
            Spec::from_slice(text.as_bytes()).map(|s| s.mounts[0].clone()).map_err(|e| e.to_string())
        };
        let map = |container_id, host_id, size| IdMapping { container_id, host_id, size };
        let m = read("ridmap=uids=0-1-10#10-11-10;gids=0-100-10", "").unwrap();
        assert_eq!(m.options, ["bind", "ridmap"]);
        assert_eq!(m.uid_mappings, [map(0, 1, 10), map(10, 11, 10)]);
        assert_eq!(m.gid_mappings, [map(0, 100, 10)]);
        assert_eq!(read("idmap=uids=@1-3-10", "").unwrap().uid_mappings, [map(1, 4, 10)]);
        for (option, more, expected) in [
            ("idmap=uids=0-1", "", "three numbers"),
            ("idmap=uids=0-1-2-3", "", "three numbers"),
            ("idmap=users=0-1-2", "", "expected uids= and gids="),
            ("idmap=gids=@0-0-1", "", "must be mapped"),
            ("idmap=uids=@0-1001-1", "", "must be mapped"),
            ("idmap=uids=0-1-2", r#","uidMappings":[{"containerID":0,"hostID":0,"size":1}]"#, "given twice"),
        ] {
            let e = read(option, more).unwrap_err();
            assert!(e.contains(expected) && e.starts_with("config.json: mounts[0].options[1]: \"idmap="), "{e}");
        }
    }
}
