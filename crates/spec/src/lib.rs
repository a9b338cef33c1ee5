//! The OCI runtime specification 1.3 as data: config.json, state.json, features, annotations.
//!
//! Owns reading, checking and writing these documents. Makes nothing on the host: whatever can be refused from
//! the text alone is refused here, before anything exists that would have to be undone.

pub mod config;

pub use config::*;
