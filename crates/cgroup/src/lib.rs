//! Control groups: where a container's cgroup is, what limits it carries, who is in it, and what it has used.
//!
//! Owns every access to the cgroup file systems, v1, v2, and both at once (hybrid), by reading and writing their
//! files. Never talks to an init system, never starts or waits for a process, and keeps nothing outside the
//! [`Cgroup`] that its caller stores.

mod create;
mod delete;
mod devices;
mod ebpf;
mod error;
mod file;
mod freezer;
mod group;
mod host;
mod kill;
mod limits;
mod members;
mod oom;
mod stats;

pub use create::State;
pub use error::{Error, Result};
pub use group::{Cgroup, Hierarchy};
pub use host::{Host, Layout, Mount};
pub use limits::Notes;
pub use oom::{OomEvent, OomWatch};
pub use stats::{
    Blkio, BlkioEntry, Cpu, CpuSet, CpuUsage, Hugetlb, Memory, MemoryEntry, Pids, Pressure, PressureLine, Rdma, Stats,
    Throttling,
};
