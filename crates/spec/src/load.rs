//! Reading documents: fast when they are right, exact about the field when they are not.
//!
//! Owns the error that names a field, its value and what is allowed. Judges no meaning: that is [`crate::check`]'s.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{Mount, Process, Resources, Spec};
use crate::locate::{self, push_index, push_key};

/// What is wrong with a document: the field, its value, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The document, such as `config.json`; empty where the reader knows.
    pub document: &'static str,
    /// Path of the field, such as `linux.namespaces[2].type`; empty for the whole document.
    pub field: String,
    /// The value at fault as JSON has it; empty where there is none to show.
    pub value: String,
    /// What is wrong with it, or what is allowed.
    pub allowed: String,
}

impl Error {
    /// An error of a field, whatever its value.
    pub fn new(field: impl Into<String>, allowed: impl Into<String>) -> Error {
        Error { document: "", field: field.into(), value: String::new(), allowed: allowed.into() }
    }

    /// An error of a field's value; text is shown in quotes, numbers as they are.
    pub fn value(field: impl Into<String>, value: impl fmt::Debug, allowed: impl Into<String>) -> Error {
        Error { value: format!("{value:?}"), ..Error::new(field, allowed) }
    }

    /// The same error, of this document.
    #[must_use]
    pub fn within(self, document: &'static str) -> Error {
        Error { document, ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [self.document, &self.field, &self.value] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.allowed)
    }
}

impl std::error::Error for Error {}

fn read<T: DeserializeOwned>(bytes: &[u8], document: &'static str) -> Result<T, Error> {
    let read = serde_json::from_slice(bytes).map_err(|e| explain(bytes, &e));
    read.and_then(|t| refuse_nul(bytes).map(|()| t)).map_err(|e| e.within(document))
}

/// Puts the decoder's words into the form of [`Error`].
#[cold]
fn explain(bytes: &[u8], error: &serde_json::Error) -> Error {
    if !error.is_data() {
        return Error::new("", format!("is not JSON: {error}"));
    }
    let field = locate::path(bytes, error.line(), error.column());
    let text = error.to_string();
    // Where a path leads, a line number adds nothing.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(before, _)| before);
    for (start, problem) in [("missing field `", "must be given"), ("duplicate field `", "is given twice")] {
        if let Some(name) = text.strip_prefix(start) {
            let dot = if field.is_empty() { "" } else { "." };
            return Error::new(format!("{field}{dot}{}", name.trim_end_matches('`')), problem);
        }
    }
    let Some((found, expected)) = text.rsplit_once(", expected ") else { return Error::new(field, text) };
    let value = match found.split_once(": ").map(|(_, what)| what) {
        Some("map") => "an object".to_owned(),
        Some("sequence") => "an array".to_owned(),
        // Such as: integer `5`, string "x", null.
        Some(what) => match what.split_once('`') {
            Some((_, shown)) => shown.trim_end_matches('`').to_owned(),
            None => what.strip_prefix("string ").unwrap_or(what).to_owned(),
        },
        None => {
            let name = found.strip_prefix("unknown variant `").unwrap_or(found);
            format!("unknown value {:?}", name.strip_suffix('`').unwrap_or(name))
        }
    };
    Error { value, ..Error::new(field, format!("expected {}", kind(&expected.replace('`', "")))) }
}

/// Says in the words of JSON what the decoder says in those of Rust.
fn kind(rust: &str) -> String {
    match rust {
        "u16" => "a whole number, 0 to 65535".into(),
        "u32" => "a whole number, 0 to 4294967295".into(),
        "u64" => "a whole number, 0 to 18446744073709551615".into(),
        "i32" | "i64" => "a whole number of its size".into(),
        "a sequence" => "an array".into(),
        "a map" => "an object".into(),
        "path string" => "a string".into(),
        other => other.into(),
    }
}

/// Refuses NUL bytes, which would end a string early in the kernel; annotations may have them, as the kernel sees none.
fn refuse_nul(bytes: &[u8]) -> Result<(), Error> {
    // In JSON they are written so and not otherwise, hence a document without this text has none.
    const ESCAPE: &[u8] = br"\u0000";
    if !bytes.windows(ESCAPE.len()).any(|w| w == ESCAPE) {
        return Ok(());
    }
    let Ok(Value::Object(mut all)) = serde_json::from_slice::<Value>(bytes) else { return Ok(()) };
    all.remove("annotations");
    match find_nul(&Value::Object(all), &mut String::new()) {
        Some((field, value)) => Err(Error::value(field, value, "must not contain a NUL byte")),
        None => Ok(()),
    }
}

fn find_nul(value: &Value, path: &mut String) -> Option<(String, String)> {
    let length = path.len();
    let found = match value {
        Value::String(s) => s.contains('\0').then(|| (path.clone(), s.clone())),
        Value::Array(list) => list.iter().enumerate().find_map(|(i, v)| {
            path.truncate(length);
            push_index(path, i);
            find_nul(v, path)
        }),
        Value::Object(map) => map.iter().find_map(|(k, v)| {
            path.truncate(length);
            if k.contains('\0') {
                return Some((path.clone(), k.clone()));
            }
            push_key(path, k);
            find_nul(v, path)
        }),
        _ => None,
    };
    path.truncate(length);
    found
}

impl Spec {
    /// Reads config.json.
    ///
    /// # Errors
    /// By the field that is of the wrong type or missing.
    pub fn from_slice(bytes: &[u8]) -> Result<Spec, Error> {
        let mut spec: Spec = read(bytes, "config.json")?;
        crate::mountopts::take_mappings(&mut spec).map_err(|e| e.within("config.json"))?;
        Ok(spec)
    }
}

impl Mount {
    /// Reads a list of mounts, as the field `mounts` of config.json has it.
    ///
    /// # Errors
    /// By the field that is of the wrong type or missing.
    pub fn list_from_slice(bytes: &[u8]) -> Result<Vec<Mount>, Error> {
        read(bytes, "mounts")
    }
}

impl Process {
    /// Reads a process object, as `exec --process` takes it.
    ///
    /// # Errors
    /// By the field that is of the wrong type or missing.
    pub fn from_slice(bytes: &[u8]) -> Result<Process, Error> {
        read(bytes, "process")
    }
}

impl Resources {
    /// Reads a resources object, as `update --resources` takes it.
    ///
    /// # Errors
    /// By the field that is of the wrong type or missing.
    pub fn from_slice(bytes: &[u8]) -> Result<Resources, Error> {
        read(bytes, "resources")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(config: &str) -> String {
        Spec::from_slice(config.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_the_field_its_value_and_what_is_allowed() {
        let cases = [
            (
                r#"{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"pid"},{"type":"netwrk"}]}}"#,
                "config.json: linux.namespaces[1].type: unknown value \"netwrk\": expected one of mount, pid, network, \
                 uts, ipc, user, cgroup, time",
            ),
            (
                r#"{"ociVersion":"1.0.2","process":{"cwd":"/","user":{"uid":-1}}}"#,
                "config.json: process.user.uid: -1: expected a whole number, 0 to 4294967295",
            ),
            (
                r#"{"ociVersion":"1.0.2","process":{"cwd":"/","user":{"uid":1.5}}}"#,
                "config.json: process.user.uid: 1.5: expected a whole number, 0 to 4294967295",
            ),
            (
                r#"{"ociVersion":"1.0.2","process":{"cwd":"/","args":["a",["b, expected c"]]}}"#,
                "config.json: process.args[1]: an array: expected a string",
            ),
            (r#"{"ociVersion":"1.0.2","process":{}}"#, "config.json: process.cwd: must be given"),
            (r#"{"process":{}}"#, "config.json: process.cwd: must be given"),
            (r#"{}"#, "config.json: ociVersion: must be given"),
            (r#"{"ociVersion":"1","ociVersion":"2"}"#, "config.json: ociVersion: is given twice"),
            (
                r#"{"ociVersion":"1.0.2","linux":{"sysctl":{"net.core.somaxconn":5}}}"#,
                "config.json: linux.sysctl[\"net.core.somaxconn\"]: 5: expected a string",
            ),
            (r#"{"ociVersion":"1.0.2","process":[]}"#, "config.json: process: an array: expected an object"),
            (
                r#"{"ociVersion":"1.0.2","process":{"cwd":"/","user":[1,2]}}"#,
                "config.json: process.user: an array: expected an object",
            ),
            (r#"{"ociVersion":"1.0.2","process":true}"#, "config.json: process: true: expected an object"),
            (r#"{"ociVersion":null}"#, "config.json: ociVersion: null: expected a string"),
            (r#"{"ociVersion":"1.0.2","root":"x"}"#, "config.json: root: \"x\": expected an object"),
            (r#"{"ociVersion":"1.0.2","mounts":{}}"#, "config.json: mounts: an object: expected an array"),
        ];
        for (text, expected) in cases {
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn null_is_empty() {
        let spec =
            Spec::from_slice(br#"{"ociVersion":"1.0.2","mounts":null,"process":{"cwd":"/","args":null}}"#).unwrap();
        assert!(spec.mounts.is_empty());
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        for text in [&br#"{"ociVersion":"1.0.2"} x"#[..], b"", b"{]", b"{\"ociVersion\":\"\xff\"}"] {
            let e = Spec::from_slice(text).unwrap_err().to_string();
            assert!(e.starts_with("config.json: is not JSON: ") && e.contains(" at line 1 column "), "{e}");
        }
    }

    #[test]
    fn nul_bytes_are_refused_where_the_kernel_would_see_them() {
        assert_eq!(
            error(r#"{"ociVersion":"1.0.2","process":{"cwd":"/","args":["a","b\u0000"]}}"#),
            r#"config.json: process.args[1]: "b\0": must not contain a NUL byte"#
        );
        assert_eq!(
            error(r#"{"ociVersion":"1.0.2","linux":{"sysctl":{"net.\u0000":"1"}}}"#),
            r#"config.json: linux.sysctl: "net.\0": must not contain a NUL byte"#
        );
        for good in [r#"{"ociVersion":"1.0.2","annotations":{"a":"\u0000"}}"#, r#"{"ociVersion":"\\u0000"}"#] {
            assert!(Spec::from_slice(good.as_bytes()).is_ok());
        }
    }

    #[test]
    fn other_documents_have_their_names() {
        let e = Process::from_slice(b"{}").unwrap_err();
        assert_eq!(e.to_string(), "process: cwd: must be given");
        let e = Resources::from_slice(br#"{"devices":[{"access":"r"}]}"#).unwrap_err();
        assert_eq!(e.to_string(), "resources: devices[0].allow: must be given");
    }
}
