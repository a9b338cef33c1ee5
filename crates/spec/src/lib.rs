//! The OCI runtime specification 1.3 as data: config.json, state.json, features, annotations.
//!
//! Owns reading, checking and writing these documents. Makes nothing on the host: whatever can be refused from
//! the text alone is refused here, before anything exists that would have to be undone.

pub mod annotations;
pub mod check;
pub mod config;
pub mod default;
pub mod features;
pub mod load;
mod locate;
pub mod mountopts;
mod shape;
pub mod state;

pub use check::{CheckHost, Warning};
pub use config::*;
pub use load::Error;

/// The version of the specification that hull implements.
pub const VERSION: &str = "1.3.0";
