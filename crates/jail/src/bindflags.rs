//! The flags of a bind mount: what the options ask for, against what the source has.
//!
//! As with runc, a bind without any option about flags keeps those of its source. With one, it gets those named and no
//! other; access time flags alone stay where none is named. In a user namespace the kernel locks what the source has:
//! then flags are added to it, and an option that asks one of them away is refused.

use std::io;
use std::os::fd::BorrowedFd;

use hull_spec::mountopts::MountOptions;
use hull_sys::mount::{self, Change, attr};

use crate::error::{Context as _, Error, Result};

/// Flags that mount(2) gives a mount as one set: its flag, the attribute, and the name of the option.
const PLAIN: [(u64, u64, &str); 5] = [
    (libc::MS_RDONLY, attr::RDONLY, "ro"),
    (libc::MS_NOSUID, attr::NOSUID, "nosuid"),
    (libc::MS_NODEV, attr::NODEV, "nodev"),
    (libc::MS_NOEXEC, attr::NOEXEC, "noexec"),
    (NOSYMFOLLOW, attr::NOSYMFOLLOW, "nosymfollow"),
];

const NOSYMFOLLOW: u64 = 1 << 8;

/// Flags that the kernel keeps a user namespace from clearing.
const LOCKED: u64 = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

const ATIME: u64 = libc::MS_NOATIME | libc::MS_NODIRATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;

/// Whether any option is about flags.
pub(crate) fn asked(options: &MountOptions) -> bool {
    const NONE: u64 = libc::MS_BIND | libc::MS_REC | libc::MS_REMOUNT;
    options.ms_set & !NONE != 0 || options.ms_clr != 0
}

/// Gives a detached bind its flags.
pub(crate) fn apply(tree: BorrowedFd<'_>, options: &MountOptions, in_userns: bool) -> Result<()> {
    let doing = "cannot change mount flags";
    let refused = match set(tree, options.ms_set) {
        Err(e) if in_userns && e.raw_os_error() == Some(libc::EPERM) => e,
        other => return other.what(|| doing),
    };
    let source = source_flags(tree).what(|| "cannot read mount flags")?;
    let locked = source & LOCKED;
    let denied = |which: u64| {
        let names = PLAIN.iter().filter(|(flag, ..)| which & flag != 0).map(|(.., name)| *name).collect::<Vec<_>>();
        let what = if names.is_empty() { "those of access times".to_owned() } else { names.join(", ") };
        Error::new(format!(
            "{doing}: {what} of the source must stay in a user namespace: {}",
            hull_sys::errno::describe(refused.raw_os_error().unwrap_or(libc::EPERM))
        ))
    };
    if locked & options.ms_clr != 0 {
        return Err(denied(locked & options.ms_clr));
    }
    // The kernel would accept some of these and do another thing.
    if options.ms_set & ATIME != 0 && options.ms_set & ATIME != source & ATIME {
        return Err(denied(0));
    }
    set(tree, options.ms_set & !ATIME | locked).what(|| doing)
}

/// Sets exactly these flags; access time flags stay where none is given.
fn set(tree: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    let mut change = Change::default();
    for (flag, attribute, _) in PLAIN {
        let to = if flags & flag != 0 { &mut change.set } else { &mut change.clear };
        *to |= attribute;
    }
    if flags & ATIME != 0 {
        // Of the three modes mount(2) prefers the last, and takes relatime where none is named.
        change.clear |= attr::ATIME;
        if flags & libc::MS_STRICTATIME != 0 {
            change.set |= attr::STRICTATIME;
        } else if flags & libc::MS_NOATIME != 0 {
            change.set |= attr::NOATIME;
        }
        let to = if flags & libc::MS_NODIRATIME != 0 { &mut change.set } else { &mut change.clear };
        *to |= attr::NODIRATIME;
    }
    mount::set_attributes(tree, change)
}

/// The flags that a mount has, as those of mount(2).
fn source_flags(tree: BorrowedFd<'_>) -> io::Result<u64> {
    const ST_RELATIME: u64 = 1 << 12;
    const ST_NOSYMFOLLOW: u64 = 1 << 13;
    let have = mount::flags_of(tree)?;
    // These have the same numbers in both.
    let mut flags = have & (LOCKED | libc::MS_NOATIME | libc::MS_NODIRATIME);
    if have & ST_NOSYMFOLLOW != 0 {
        flags |= NOSYMFOLLOW;
    }
    if have & ST_RELATIME != 0 {
        flags |= libc::MS_RELATIME;
    } else if have & libc::MS_NOATIME == 0 {
        flags |= libc::MS_STRICTATIME;
    }
    Ok(flags)
}
