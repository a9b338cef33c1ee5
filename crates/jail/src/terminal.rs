//! The container's terminal: a pty of its own devpts, reached by descriptor only (CVE-2025-52565).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use hull_sys::{mount, tty};

use crate::error::{Context as _, Error, Result};
use crate::process::ProcessPlan;
use crate::root::{Root, open_child};
use crate::sync::{Ask, Sync};

/// Makes the pty and sends its master to the parent; the result is the other end. `console` also shows it at
/// /dev/console.
pub(crate) fn make(root: &Root, process: &ProcessPlan, sync: &Sync, console: bool) -> Result<OwnedFd> {
    let master = open_master(root)?;
    tty::unlock(master.as_fd()).what(|| "process.terminal: cannot unlock the pty")?;
    let slave = tty::peer_of(master.as_fd()).what(|| "process.terminal: cannot open the pty's other end")?;
    let _ = tty::clear_onlcr(&slave);
    if let Some((rows, columns)) = process.console_size {
        tty::set_size(&slave, rows, columns).what(|| "process.consoleSize: cannot set it")?;
    }
    // So that the user can open /dev/tty's name again; an unmapped user keeps root's ownership.
    let _ = rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(process.uid)), None);
    if console {
        show_console(root, &slave).map_err(|e| e.during("cannot mount \"/dev/console\""))?;
    }
    sync.ask(&Ask::Console(master))?;
    if sync.answer()?.is_none() {
        return Err(Error::new("the runtime is gone"));
    }
    Ok(slave)
}

/// Makes the pty the standard descriptors and the controlling terminal of this session.
pub(crate) fn adopt(slave: &OwnedFd) -> Result<()> {
    tty::take_control(slave.as_fd()).what(|| "process.terminal: cannot become the controlling process")?;
    for fd in 0..3 {
        hull_sys::fs::dup_to(slave.as_fd(), fd).what(|| "process.terminal: cannot set standard descriptors")?;
    }
    Ok(())
}

fn open_master(root: &Root) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let found = root.open(Path::new("/dev/pts/ptmx"), flags).or_else(|_| root.open(Path::new("/dev/ptmx"), flags));
    let master = found.what(|| "process.terminal: cannot open \"/dev/pts/ptmx\" (is a devpts mounted at /dev/pts?)")?;
    if hull_sys::fs::is_char_device(&master, 5, 2).what(|| "process.terminal: cannot examine the pty")? {
        Ok(master)
    } else {
        Err(Error::new("process.terminal: \"/dev/pts/ptmx\" of the container is not the pty multiplexer (5:2)"))
    }
}

fn show_console(root: &Root, slave: &OwnedFd) -> Result<()> {
    let dev = root.make_directory(Path::new("/dev")).what(|| "cannot open \"/dev\"")?;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    match rustix::fs::openat(&dev, "console", create, Mode::from_raw_mode(0o600)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e).what(|| "cannot create it"),
    }
    let target = open_child(dev.as_fd(), "console".as_ref()).what(|| "cannot open it")?;
    if crate::root::kind_of(&target).what(|| "cannot examine it")? == rustix::fs::FileType::Symlink {
        return Err(Error::new("it is a symbolic link"));
    }
    let tree = mount::open_tree_clone(slave.as_fd(), c"", false, true).what(|| "cannot clone the pty's mount")?;
    crate::mounts::attach(&tree, &target, Path::new("/dev/console"))
}
