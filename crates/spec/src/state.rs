//! The state of a container as documents: for hooks and seccomp agents (runtime.md, "State"), and as `state` prints it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// The state as the specification has it: what hooks read on standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    /// Version of the specification that this document complies with.
    pub oci_version: &'a str,
    /// The container's id.
    pub id: &'a str,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: &'a str,
    /// Its first process, as seen by the reader; 0 is left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// Absolute path of the bundle.
    pub bundle: &'a Path,
    /// Annotations of config.json.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
}

/// What a seccomp agent is sent beside the listener (config-linux.md, "The Container Process State").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState<'a> {
    /// Version of the specification that this document complies with.
    pub oci_version: &'a str,
    /// Names of the descriptors, in the order in which they are sent.
    pub fds: &'a [&'a str],
    /// The process that has the filter: the container's first one, or one of exec.
    pub pid: i32,
    /// `linux.seccomp.listenerMetadata`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub metadata: &'a str,
    /// The container.
    pub state: State<'a>,
}

/// Name of the seccomp listener among [`ContainerProcessState::fds`].
pub const SECCOMP_FD: &str = "seccompFd";

/// The state as `state` prints it: with what engines read of runc's, in runc's order, as scripts cut it with tools that
/// know no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Output<'a> {
    /// Version of the specification that this document complies with.
    pub oci_version: &'a str,
    /// The container's id.
    pub id: &'a str,
    /// Its first process; 0 once stopped.
    pub pid: i32,
    /// As [`State::status`], or `paused`.
    pub status: &'a str,
    /// Absolute path of the bundle.
    pub bundle: &'a Path,
    /// Absolute path of the root file system.
    pub rootfs: &'a Path,
    /// When it was made, in RFC 3339.
    pub created: &'a str,
    /// Annotations of config.json.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
    /// Name of the user whose container it is.
    pub owner: &'a str,
}

fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

/// The present time in RFC 3339 with nanoseconds, UTC.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_nanos())
}

/// Seconds and nanoseconds since 1970 in RFC 3339, UTC.
pub fn rfc3339(secs: u64, nanos: u32) -> String {
    let (days, rest) = (secs / 86400, secs % 86400);
    // Days to a date: eras of 400 years that begin on 1 March, so that the leap day is a year's last.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (rest / 3600, rest % 3600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_400, 5), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(rfc3339(951_868_799, 0), "2000-02-29T23:59:59.000000000Z");
        assert_eq!(rfc3339(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_798_761_599, 999_999_999), "2026-12-31T23:59:59.999999999Z");
    }

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn documents_have_the_fields_in_their_order() {
        let none = BTreeMap::new();
        let some = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let state = State {
            oci_version: "1.3.0",
            id: "c",
            status: "creating",
            pid: 0,
            bundle: Path::new("/b"),
            annotations: &none,
        };
        assert_eq!(json(&state), r#"{"ociVersion":"1.3.0","id":"c","status":"creating","bundle":"/b"}"#);
        let state = State { pid: 5, status: "created", annotations: &some, ..state };
        let listener = ContainerProcessState { oci_version: "1.3.0", fds: &[SECCOMP_FD], pid: 6, metadata: "m", state };
        assert_eq!(
            json(&listener),
            concat!(
                r#"{"ociVersion":"1.3.0","fds":["seccompFd"],"pid":6,"metadata":"m","state":"#,
                r#"{"ociVersion":"1.3.0","id":"c","status":"created","pid":5,"bundle":"/b","annotations":{"k":"v"}}}"#
            )
        );
        let output = Output {
            oci_version: "1.3.0",
            id: "c",
            pid: 0,
            status: "stopped",
            bundle: Path::new("/b"),
            rootfs: Path::new("/b/r"),
            created: "t",
            annotations: &none,
            owner: "root",
        };
        assert_eq!(
            json(&output),
            concat!(
                r#"{"ociVersion":"1.3.0","id":"c","pid":0,"status":"stopped","bundle":"/b","rootfs":"/b/r","#,
                r#""created":"t","owner":"root"}"#
            )
        );
    }
}
