//! `containerd-shim-hull-v1`: hull's containers as containerd's tasks.
//!
//! One process for each pod (or container that is in none), with one thread. It serves containerd's calls, takes the
//! containers' output where containerd wants it, and says what happens to them. What may take long, or has to be done by
//! a process with one thread and no more to lose, is done by a copy of it ([`worker`]).

mod address;
mod bootstrap;
mod children;
mod container;
mod events;
mod info;
mod log;
mod logger;
mod metrics;
mod oom;
mod options;
mod rootfs;
mod server;
mod stdio;
mod task;
mod worker;

fn main() {
    std::process::exit(server::main());
}
