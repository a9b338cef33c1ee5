//! `containerd-shim-hull-v1`: hull's containers as containerd's tasks.
//!
//! One process for each pod (or container that is in none), with one thread. It serves containerd's calls, takes the
//! containers' output where containerd wants it, and says what happens to them. What may take long, or has to be done by
//! a process with one thread and no more to lose, is done by a copy of it ([`worker`]).

// Until main calls them.
#![allow(dead_code)]

mod address;
mod bootstrap;
mod info;
mod metrics;
mod options;

fn main() {}
