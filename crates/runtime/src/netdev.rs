//! Moving network devices into the container (linux.netDevices), with their addresses.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use hull_sys::clone::{self, Side, flags};
use hull_sys::net::Netlink;

use crate::{Context as _, Error, Result};

/// Moves each device (host name, name inside) into the network namespace of `pid` and brings it up there.
pub(crate) fn move_all(devices: &[(String, String)], pid: i32) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let path = format!("/proc/{pid}/ns/net");
    let ns = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .what(|| "cannot open the container's network namespace")?;
    for (host, inside) in devices {
        let doing = || format!("linux.netDevices[\"{host}\"]");
        let mut netlink = Netlink::open().what(doing)?;
        let index = netlink.index_of(host).what(doing)?;
        let addresses = netlink.addresses(index).what(doing)?;
        netlink.move_device(index, ns.as_fd(), inside).what(|| format!("{}: cannot move it as \"{inside}\"", doing()))?;
        inside_of(&ns, || {
            let mut netlink = Netlink::open()?;
            let index = netlink.index_of(inside)?;
            for address in &addresses {
                netlink.add_address(index, address)?;
            }
            netlink.set_up(index)
        })
        .map_err(|e| e.during(&doing()))?;
    }
    Ok(())
}

/// Runs `work` in a short-lived process inside a network namespace.
fn inside_of(ns: &OwnedFd, work: impl FnOnce() -> std::io::Result<()>) -> Result<()> {
    // SAFETY: Runtime::launch checked that this process has one thread.
    match unsafe { clone::clone3(0, None) }.what(|| "cannot make a process")? {
        Side::Child => {
            let done = clone::setns(ns.as_fd(), flags::NEWNET).and_then(|()| work());
            clone::exit_now(done.map_or_else(|e| e.raw_os_error().unwrap_or(libc::EIO), |()| 0))
        }
        Side::Parent(child) => {
            match hull_sys::pidfd::reap(child.pidfd.as_fd()).what(|| "cannot wait for a process")?.code() {
                0 => Ok(()),
                errno => Err(Error::new(format!("cannot set the device up inside: {}", hull_sys::errno::name(errno)))),
            }
        }
    }
}
