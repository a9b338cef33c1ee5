//! The jail: what config.json asks of Linux, done by the process that becomes the workload.
//!
//! Owns the [`Plan`](plan::Plan) (plain data, made before anything exists) and the child's way through it:
//! namespaces, mounts, devices, identity, limits, exec. Decides nothing after the clone and knows nothing of state
//! directories, locks or engines. Runs in a process that has one thread and a copy of the parent's memory.

mod bindflags;
pub mod caps;
mod cgroupfs;
mod devices;
pub mod error;
pub mod hooks;
pub mod init;
pub mod join;
pub mod label;
pub mod live;
mod mounts;
pub mod overlay;
pub mod plan;
pub mod process;
pub mod program;
mod protect;
mod root;
pub mod stage;
pub mod sync;
mod terminal;

pub use error::{Error, Result};

/// Opens and maps the source of a bind mount, for a parent that helps a child in a user namespace.
///
/// # Errors
/// Where the source can't be opened, or the file system can't map ids.
pub fn source_for(mount: &plan::MountPlan, idmaps: &[std::os::fd::OwnedFd]) -> Result<std::os::fd::OwnedFd> {
    mounts::source_for(mount, idmaps)
}

/// Makes a device that the host has no file for, for a parent that helps a child in a user namespace.
///
/// # Errors
/// Where the caller may not make devices.
pub fn device_for(device: &plan::DevicePlan, plan: &plan::Plan) -> Result<std::os::fd::OwnedFd> {
    devices::detached(device, plan.maps.as_ref(), plan.mount_label.as_ref())
}
