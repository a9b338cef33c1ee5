//! Capability names and sets.

/// Every capability of Linux 6.18, by number.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
];

/// Number of CAP_SYS_ADMIN, which loading a filter without no_new_privs needs.
pub(crate) const SYS_ADMIN: u32 = 21;

/// Number of CAP_DAC_READ_SEARCH, which looks a path up wherever it leads.
pub(crate) const DAC_READ_SEARCH: u32 = 2;

/// Number of CAP_NET_BIND_SERVICE.
pub const NET_BIND_SERVICE: u32 = 10;

/// Number of CAP_SYS_NICE, which some scheduling policies need.
pub(crate) const SYS_NICE: u32 = 23;

/// What an ordinary container may do; the set that engines give by default.
pub const DEFAULT: [&str; 14] = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The five sets as bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// Upper bound of what exec can give.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Kept across exec of files with inheritable capabilities.
    pub inheritable: u64,
    /// Kept across exec by an ordinary user.
    pub ambient: u64,
}

/// The number of a capability, with or without "CAP_", in any case.
pub fn number(name: &str) -> Option<u32> {
    let name = name.to_ascii_uppercase();
    let short = name.strip_prefix("CAP_").unwrap_or(&name);
    NAMES.iter().position(|n| &n[4..] == short).map(|n| n as u32)
}

impl Sets {
    /// Without all capabilities but one.
    pub fn only(self, number: u32) -> Sets {
        let mask = 1 << number;
        Sets {
            bounding: self.bounding & mask,
            effective: self.effective & mask,
            permitted: self.permitted & mask,
            inheritable: self.inheritable & mask,
            ambient: self.ambient & mask,
        }
    }

    /// Reads the sets of config.json; names that this kernel or hull does not know go to `unknown`.
    pub fn new(caps: &hull_spec::Capabilities, unknown: &mut Vec<String>) -> Sets {
        let mut mask = |names: &[String]| {
            let mut mask = 0;
            for name in names {
                match number(name).filter(|n| hull_sys::creds::has_bounding(*n).is_some()) {
                    Some(n) => mask |= 1 << n,
                    None if unknown.contains(name) => {}
                    None => unknown.push(name.clone()),
                }
            }
            mask
        };
        Sets {
            bounding: mask(&caps.bounding),
            effective: mask(&caps.effective),
            permitted: mask(&caps.permitted),
            inheritable: mask(&caps.inheritable),
            ambient: mask(&caps.ambient),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(number("CAP_CHOWN"), Some(0));
        assert_eq!(number("sys_admin"), Some(SYS_ADMIN));
        assert_eq!(number("sys_nice"), Some(SYS_NICE));
        assert_eq!(number("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(number("CAP_FLY"), None);
    }
}
