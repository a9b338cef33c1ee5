//! Mount options: the whole table, and what a list of them asks for.

/// `MOUNT_ATTR_*` of mount_setattr(2).
mod attr {
    pub(super) const RDONLY: u64 = 0x1;
    pub(super) const NOSUID: u64 = 0x2;
    pub(super) const NODEV: u64 = 0x4;
    pub(super) const NOEXEC: u64 = 0x8;
    pub(super) const ATIME: u64 = 0x70;
    pub(super) const NOATIME: u64 = 0x10;
    pub(super) const STRICTATIME: u64 = 0x20;
    pub(super) const NODIRATIME: u64 = 0x80;
    pub(super) const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// `MS_*` of mount(2) for propagation.
mod ms {
    pub(super) const UNBINDABLE: u64 = 1 << 17;
    pub(super) const PRIVATE: u64 = 1 << 18;
    pub(super) const SLAVE: u64 = 1 << 19;
    pub(super) const SHARED: u64 = 1 << 20;
}

/// What the options of one mount ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// A bind mount.
    pub bind: bool,
    /// A bind mount with what is mounted below the source.
    pub rbind: bool,
    /// Attributes to set on the mount.
    pub attr_set: u64,
    /// Attributes to clear.
    pub attr_clr: u64,
    /// Attributes to set on the mount and those below it.
    pub rec_set: u64,
    /// Attributes to clear there.
    pub rec_clr: u64,
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

/// Attributes by option: name, bits to set, bits to clear.
const ATTRIBUTES: [(&str, u64, u64); 17] = [
    ("ro", attr::RDONLY, 0),
    ("rw", 0, attr::RDONLY),
    ("nosuid", attr::NOSUID, 0),
    ("suid", 0, attr::NOSUID),
    ("nodev", attr::NODEV, 0),
    ("dev", 0, attr::NODEV),
    ("noexec", attr::NOEXEC, 0),
    ("exec", 0, attr::NOEXEC),
    ("nosymfollow", attr::NOSYMFOLLOW, 0),
    ("symfollow", 0, attr::NOSYMFOLLOW),
    ("nodiratime", attr::NODIRATIME, 0),
    ("diratime", 0, attr::NODIRATIME),
    ("noatime", attr::NOATIME, attr::ATIME),
    ("relatime", 0, attr::ATIME),
    ("strictatime", attr::STRICTATIME, attr::ATIME),
    ("atime", 0, attr::ATIME),
    ("norelatime", 0, attr::ATIME),
];

const PROPAGATION: [(&str, u64, bool); 8] = [
    ("private", ms::PRIVATE, false),
    ("rprivate", ms::PRIVATE, true),
    ("shared", ms::SHARED, false),
    ("rshared", ms::SHARED, true),
    ("slave", ms::SLAVE, false),
    ("rslave", ms::SLAVE, true),
    ("unbindable", ms::UNBINDABLE, false),
    ("runbindable", ms::UNBINDABLE, true),
];

/// Superblock options that a new mount may be given.
const SUPERBLOCK: [&str; 4] = ["sync", "dirsync", "mand", "lazytime"];

/// Options that are the default, or that the kernel has no more: taken, and nothing is to be done.
const NOTHING: [&str; 11] = [
    "defaults", "async", "nomand", "nolazytime", "nostrictatime", "iversion", "noiversion", "loud", "silent", "acl",
    "remount",
];

const OTHER: [&str; 8] = ["bind", "rbind", "tmpcopyup", "idmap", "ridmap", "copy-symlink", "src-nofollow", "dest-nofollow"];

/// Every option that has a meaning beyond the file system's own, sorted, for `features`.
pub fn known() -> Vec<String> {
    let plain = ATTRIBUTES.iter().map(|a| a.0.to_owned());
    let recursive = ATTRIBUTES.iter().filter(|a| a.0 != "norelatime").map(|a| format!("r{}", a.0));
    let rest = PROPAGATION.iter().map(|p| p.0).chain(SUPERBLOCK).chain(NOTHING).chain(OTHER).map(str::to_owned);
    let mut all: Vec<String> = plain.chain(recursive).chain(rest).collect();
    all.sort();
    all.dedup();
    all
}

/// Reads the options of a mount of type `kind`.
///
/// # Errors
/// For options that contradict each other or carry a value that hull can't honour.
pub fn parse(options: &[String], kind: &str) -> Result<MountOptions, Error> {
    let mut parsed = MountOptions { bind: kind == "bind", ..MountOptions::default() };
    for option in options {
        let name = option.as_str();
        if let Some((_, set, clear)) = ATTRIBUTES.iter().find(|a| a.0 == name) {
            change(&mut parsed.attr_set, &mut parsed.attr_clr, *set, *clear);
        } else if let Some((_, set, clear)) = name.strip_prefix('r').and_then(|n| ATTRIBUTES.iter().find(|a| a.0 == n)) {
            change(&mut parsed.rec_set, &mut parsed.rec_clr, *set, *clear);
        } else if let Some((_, flag, recursive)) = PROPAGATION.iter().find(|p| p.0 == name) {
            parsed.propagation.push((*flag, *recursive));
        } else if SUPERBLOCK.contains(&name) {
            parsed.superblock.push(option.clone());
        } else if NOTHING.contains(&name) {
            // Nothing to do.
        } else {
            other(&mut parsed, option)?;
        }
    }
    Ok(parsed)
}

/// A later option takes an earlier one of the same attribute back.
fn change(set: &mut u64, clr: &mut u64, more: u64, less: u64) {
    *set = (*set & !less) | more;
    *clr = (*clr & !(more & !attr::ATIME)) | less;
}

fn other(parsed: &mut MountOptions, option: &str) -> Result<(), Error> {
    match option {
        "bind" => parsed.bind = true,
        "rbind" => (parsed.bind, parsed.rbind) = (true, true),
        "tmpcopyup" => parsed.tmpcopyup = true,
        "idmap" => parsed.idmap = true,
        "ridmap" => (parsed.idmap, parsed.ridmap) = (true, true),
        "copy-symlink" => parsed.copy_symlink = true,
        "src-nofollow" => parsed.src_nofollow = true,
        "dest-nofollow" => parsed.dest_nofollow = true,
        _ => match option.split_once('=') {
            Some(("idmap" | "ridmap", _)) => {
                return Err(Error(format!("\"{option}\": give the mappings as uidMappings and gidMappings of the mount")));
            }
            Some((key, value)) => parsed.data.push((key.into(), Some(value.into()))),
            None if option.is_empty() => {}
            None => parsed.data.push((option.into(), None)),
        },
    }
    Ok(())
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
        let o = of(&["rw", "ro"], "bind");
        assert_eq!((o.attr_set, o.attr_clr), (attr::RDONLY, 0));
    }

    #[test]
    fn recursive_attributes_and_propagation() {
        let o = of(&["rbind", "rro", "rnosymfollow", "rslave", "private"], "");
        assert!(o.bind && o.rbind);
        assert_eq!(o.rec_set, attr::RDONLY | attr::NOSYMFOLLOW);
        assert_eq!(o.propagation, [(ms::SLAVE, true), (ms::PRIVATE, false)]);
    }

    #[test]
    fn the_rest_is_the_file_systems() {
        let o = of(&["mode=755", "size=64k", "newinstance", "defaults"], "tmpfs");
        let pair = |k: &str, v: Option<&str>| (k.to_owned(), v.map(str::to_owned));
        assert_eq!(o.data, [pair("mode", Some("755")), pair("size", Some("64k")), pair("newinstance", None)]);
        assert!(parse(&["idmap=uids=0-1-1".to_owned()], "bind").is_err());
    }

    #[test]
    fn the_list_of_known_options_parses() {
        let known = known();
        assert!(known.contains(&"rro".to_owned()) && known.contains(&"tmpcopyup".to_owned()));
        let parsed = parse(&known, "bind").unwrap();
        assert!(parsed.data.is_empty(), "{:?}", parsed.data);
    }
}
