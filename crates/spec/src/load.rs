//! Reading documents: fast when they are right, exact about the field when they are not.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::config::{Process, Resources, Spec};

/// What is wrong with a document: the field, its value, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Path of the field, such as `linux.namespaces[2].type`; empty for the whole document.
    pub field: String,
    /// What is wrong, with the value and what is allowed.
    pub problem: String,
}

impl Error {
    /// An error of one field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Error {
        Error { field: field.into(), problem: problem.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() || self.field == "." {
            f.write_str(&self.problem)
        } else {
            write!(f, "{}: {}", self.field, self.problem)
        }
    }
}

impl std::error::Error for Error {}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|_| explain::<T>(bytes))
}

/// Reads again, slowly, keeping track of where.
#[cold]
fn explain<T: DeserializeOwned>(bytes: &[u8]) -> Error {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Err(e) => Error::new(e.path().to_string(), e.inner().to_string()),
        Ok(_) => Error::new("", reader.end().map_or_else(|e| e.to_string(), |()| "not readable".into())),
    }
}

impl Spec {
    /// Reads config.json.
    ///
    /// # Errors
    /// By the field that is of the wrong type or missing.
    pub fn from_slice(bytes: &[u8]) -> Result<Spec, Error> {
        read(bytes)
    }
}

impl Process {
    /// Reads a process object, as `exec --process` takes it.
    ///
    /// # Errors
    /// By the field that is of the wrong type or missing.
    pub fn from_slice(bytes: &[u8]) -> Result<Process, Error> {
        read(bytes)
    }
}

impl Resources {
    /// Reads a resources object, as `update --resources` takes it.
    ///
    /// # Errors
    /// By the field that is of the wrong type or missing.
    pub fn from_slice(bytes: &[u8]) -> Result<Resources, Error> {
        read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        let text = r#"{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"pid"},{"type":"netwrk"}]}}"#;
        let e = Spec::from_slice(text.as_bytes()).unwrap_err();
        assert_eq!(e.field, "linux.namespaces[1].type");
        assert!(e.problem.contains("netwrk") && e.problem.contains("network"), "{e}");
        let e = Spec::from_slice(br#"{"ociVersion":"1.0.2","process":{"cwd":"/","user":{"uid":-1}}}"#).unwrap_err();
        assert_eq!(e.field, "process.user.uid");
    }

    #[test]
    fn null_is_empty() {
        let spec = Spec::from_slice(br#"{"ociVersion":"1.0.2","mounts":null,"process":{"cwd":"/","args":null}}"#).unwrap();
        assert!(spec.mounts.is_empty());
    }

    #[test]
    fn trailing_text_is_an_error() {
        assert!(Spec::from_slice(br#"{"ociVersion":"1.0.2"} x"#).is_err());
        assert!(Spec::from_slice(b"").is_err());
    }
}
