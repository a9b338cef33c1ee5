//! The runtime's options, as an engine's configuration has them: of a container (Create) and of a shim (start).
//!
//! Owns which kinds of options message are known, and what each field of them means here. Does nothing that they ask
//! for. A field that can't be honoured is refused by its name; one that has no meaning here (the name of another
//! runtime's program) is read over.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use containerd_shim_protos::protobuf::rt::skip_field_for_tag;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{self, CodedInputStream, Message as _};
use containerd_shim_protos::shim::oci;
use hull_runtime::{Context as _, Error, Result};
use toml::Value;

/// The options of runc's own shim: what engines send where they take hull for runc.
const RUNC: &str = "containerd.runc.v1.Options";

/// Those of runc before it had a shim of this kind: what containerd's client up to 1.7 gives the owner of the streams in, for
/// every runtime that isn't runc's by its name.
const FORMER: &str = "containerd.linux.runc.CreateOptions";

/// The options of every other runtime: TOML, or the path of a file that has it. The second name is that of older
/// releases of containerd's CRI plugin.
const GENERIC: [&str; 2] = ["runtimeoptions.v1.Options", "cri.runtimeoptions.v1.Options"];

/// The keys of our TOML.
const KEYS: [&str; 6] = ["isolation", "root", "no_pivot", "no_new_keyring", "shim_cgroup", "systemd_cgroup"];

/// The message's own fields, which containerd leaves in the TOML where it makes that from its configuration.
const FIELDS: [&str; 3] = ["TypeUrl", "ConfigPath", "ConfigBody"];

/// Far more than any configuration.
const MOST: u64 = 1 << 20;

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The isolation, by name.
    pub(crate) isolation: Option<String>,
    /// The directory below which each namespace has its state directory.
    pub(crate) root: Option<PathBuf>,
    /// Move the root mount instead of pivot_root.
    pub(crate) no_pivot: bool,
    /// Keep the shim's session keyring.
    pub(crate) no_new_keyring: bool,
    /// The cgroup that the shim itself goes to, as a path in each hierarchy.
    pub(crate) shim_cgroup: Option<PathBuf>,
    /// The owner of the pipes that are the container's standard streams.
    pub(crate) io_uid: u32,
    /// The group of those.
    pub(crate) io_gid: u32,
}

/// Whether a type URL is that of options which [`read`] can read.
pub(crate) fn is_known(type_url: &str) -> bool {
    let name = name_of(type_url);
    name == RUNC || name == FORMER || GENERIC.contains(&name)
}

/// Reads the options message of a request. None at all, and one without a type, ask for nothing.
///
/// # Errors
/// Where the type is unknown, the message is broken, or asks for what hull has not.
pub(crate) fn read(options: Option<&Any>) -> Result<Options> {
    let Some(options) = options.filter(|o| !o.type_url.is_empty()) else { return Ok(Options::default()) };
    let read = match name_of(&options.type_url) {
        RUNC => of_runc(&options.value),
        FORMER => former(&options.value),
        name if GENERIC.contains(&name) => generic(&options.value),
        _ => Err(Error::new(format!("unknown type {:?}: expected {RUNC} or {}", options.type_url, GENERIC[0]))),
    };
    read.map_err(|e| e.during("runtime options"))
}

/// The message's name: what is after the last slash of its URL.
fn name_of(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

fn of_runc(bytes: &[u8]) -> Result<Options> {
    let given = oci::Options::parse_from_bytes(bytes).map_err(|e| broken(RUNC, &e))?;
    if given.systemd_cgroup {
        return Err(no_systemd("SystemdCgroup"));
    }
    Ok(Options {
        isolation: None,
        root: absolute("Root", given.root)?,
        no_pivot: given.no_pivot_root,
        no_new_keyring: given.no_new_keyring,
        shim_cgroup: absolute("ShimCgroup", given.shim_cgroup)?,
        io_uid: given.io_uid,
        io_gid: given.io_gid,
    })
}

fn former(bytes: &[u8]) -> Result<Options> {
    let (options, cgroup) = decode_former(bytes).map_err(|e| broken(FORMER, &e))?;
    Ok(Options { shim_cgroup: absolute("ShimCgroup", cgroup)?, ..options })
}

/// The fields of the former message that mean something here, the cgroup apart; the crate of containerd's messages hasn't it.
fn decode_former(bytes: &[u8]) -> protobuf::Result<(Options, String)> {
    let (mut options, mut cgroup) = (Options::default(), String::new());
    let mut stream = CodedInputStream::from_bytes(bytes);
    while let Some(tag) = stream.read_raw_tag_or_eof()? {
        match tag {
            // Fields 1 and 8 to 11.
            0x08 => options.no_pivot = stream.read_bool()?,
            0x40 => options.no_new_keyring = stream.read_bool()?,
            0x4a => cgroup = stream.read_string()?,
            0x50 => options.io_uid = stream.read_uint32()?,
            0x58 => options.io_gid = stream.read_uint32()?,
            _ => skip_field_for_tag(tag, &mut stream)?,
        }
    }
    Ok((options, cgroup))
}

fn generic(bytes: &[u8]) -> Result<Options> {
    let (path, body) = decode(bytes).map_err(|e| broken(GENERIC[0], &e))?;
    if path.is_empty() {
        let body = String::from_utf8(body).map_err(|_| Error::new("config_body is not UTF-8"))?;
        return of_toml(&body);
    }
    let path = Path::new(&path);
    if !path.is_absolute() {
        return Err(Error::new(format!("config_path \"{}\" must be absolute", path.display())));
    }
    let shown = || format!("cannot read config_path \"{}\"", path.display());
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text)).what(shown)?;
    if text.len() as u64 > MOST {
        return Err(Error::new(format!("config_path \"{}\" has more than {MOST} bytes", path.display())));
    }
    of_toml(&text).map_err(|e| e.during(&format!("config_path \"{}\"", path.display())))
}

/// The fields config_path and config_body of the generic message, which the crate of containerd's messages has not.
/// The field type_url says of what type the configuration is; here there is one.
fn decode(bytes: &[u8]) -> protobuf::Result<(String, Vec<u8>)> {
    let (mut path, mut body) = (String::new(), Vec::new());
    let mut stream = CodedInputStream::from_bytes(bytes);
    while let Some(tag) = stream.read_raw_tag_or_eof()? {
        match tag {
            // Fields 2 and 3, each with its length.
            0x12 => path = stream.read_string()?,
            0x1a => body = stream.read_bytes()?,
            _ => skip_field_for_tag(tag, &mut stream)?,
        }
    }
    Ok((path, body))
}

fn of_toml(text: &str) -> Result<Options> {
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let before = e.span().and_then(|s| text.get(..s.start)).unwrap_or_default();
        Error::new(format!("line {}: {}", before.matches('\n').count() + 1, e.message()))
    })?;
    let mut options = Options::default();
    for (key, value) in table {
        match key.as_str() {
            "isolation" => options.isolation = Some(string(&key, value)?).filter(|name| !name.is_empty()),
            "root" => options.root = absolute("root", string(&key, value)?)?,
            "no_pivot" => options.no_pivot = boolean(&key, &value)?,
            "no_new_keyring" => options.no_new_keyring = boolean(&key, &value)?,
            "shim_cgroup" => options.shim_cgroup = absolute("shim_cgroup", string(&key, value)?)?,
            "systemd_cgroup" if boolean(&key, &value)? => return Err(no_systemd(&key)),
            "systemd_cgroup" => {}
            name if FIELDS.contains(&name) => {}
            _ => return Err(Error::new(format!("unknown key {key:?}: expected one of {}", KEYS.join(", ")))),
        }
    }
    Ok(options)
}

fn string(key: &str, value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(Error::new(format!("{key}: must be a string, and is of type {}", other.type_str()))),
    }
}

fn boolean(key: &str, value: &Value) -> Result<bool> {
    value
        .as_bool()
        .ok_or_else(|| Error::new(format!("{key}: must be true or false, and is of type {}", value.type_str())))
}

/// A path, none where it is empty.
fn absolute(key: &str, path: String) -> Result<Option<PathBuf>> {
    match path.as_bytes().first() {
        None => Ok(None),
        Some(b'/') if !path.contains('\0') => Ok(Some(path.into())),
        Some(_) => Err(Error::new(format!("{key} {path:?} must be an absolute path"))),
    }
}

fn broken(name: &str, e: &protobuf::Error) -> Error {
    Error::new(format!("broken message {name}: {e}"))
}

fn no_systemd(field: &str) -> Error {
    Error::new(format!("{field}: the systemd cgroup driver is not supported yet; use cgroupfs"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any { type_url: type_url.into(), value, ..Any::default() }
    }

    /// A generic message by hand: its three fields in order, none of which is longer than 127 bytes.
    pub(crate) fn message(path: &str, body: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, text) in [(0x0a, "hull"), (0x12, path), (0x1a, body)] {
            bytes.extend([tag, u8::try_from(text.len()).unwrap()]);
            bytes.extend(text.bytes());
        }
        bytes
    }

    fn toml(body: &str) -> Result<Options> {
        read(Some(&any(GENERIC[0], message("", body))))
    }

    fn refusal(body: &str) -> String {
        toml(body).unwrap_err().to_string()
    }

    #[test]
    fn nothing_asks_for_nothing() {
        assert_eq!(read(None).unwrap(), Options::default());
        assert_eq!(read(Some(&Any::default())).unwrap(), Options::default());
        assert_eq!(toml("").unwrap(), Options::default());
    }

    #[test]
    fn options_of_runc_are_read() {
        let given = oci::Options {
            no_pivot_root: true,
            no_new_keyring: true,
            root: "/run/x".into(),
            shim_cgroup: "/shims".into(),
            io_uid: 5,
            io_gid: 6,
            binary_name: "crun".into(),
            ..oci::Options::default()
        };
        let mut bytes = given.write_to_bytes().unwrap();
        // criu_path, which containerd 1.6 still had.
        bytes.extend(b"\x42\x04criu");
        let read = read(Some(&any(&format!("type.googleapis.com/{RUNC}"), bytes))).unwrap();
        let expected = Options {
            isolation: None,
            root: Some("/run/x".into()),
            no_pivot: true,
            no_new_keyring: true,
            shim_cgroup: Some("/shims".into()),
            io_uid: 5,
            io_gid: 6,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn former_options_of_runc_are_read() {
        // Also open_tcp and an empty namespace, which are about checkpoints.
        let bytes = b"\x08\x01\x10\x01\x32\x03net\x40\x01\x4a\x02/s\x50\xa0\x8d\x06\x58\x07";
        let expected = Options {
            no_pivot: true,
            no_new_keyring: true,
            shim_cgroup: Some("/s".into()),
            io_uid: 100_000,
            io_gid: 7,
            ..Options::default()
        };
        assert_eq!(read(Some(&any(FORMER, bytes.to_vec()))).unwrap(), expected);
        let text = read(Some(&any(FORMER, b"\x4a\x01s".to_vec()))).unwrap_err().to_string();
        assert!(text.contains("ShimCgroup \"s\" must be an absolute path"), "{text}");
    }

    #[test]
    fn toml_is_read() {
        let all =
            "isolation = \"wasm\"\nroot = \"/r\"\nno_pivot = true\nno_new_keyring = true\nsystemd_cgroup = false\n";
        let expected = Options {
            isolation: Some("wasm".into()),
            root: Some("/r".into()),
            no_pivot: true,
            no_new_keyring: true,
            ..Options::default()
        };
        assert_eq!(toml(all).unwrap(), expected);
        // What containerd makes of a section that has the message's fields too.
        assert_eq!(toml("TypeUrl = \"x\"\nshim_cgroup = \"/s\"").unwrap().shim_cgroup, Some("/s".into()));
        let old = any(GENERIC[1], message("", "isolation = 'process'"));
        assert_eq!(read(Some(&old)).unwrap().isolation.unwrap(), "process");
    }

    #[test]
    fn a_file_is_read_in_place_of_the_body() {
        let path = std::env::temp_dir().join(format!("hull-shim-options-{}.toml", std::process::id()));
        std::fs::write(&path, "isolation = \"wasm\"\n").unwrap();
        let text = path.to_str().unwrap().to_owned();
        let of_file = |text: &str| read(Some(&any(GENERIC[0], message(text, "isolation = \"process\""))));
        assert_eq!(of_file(&text).unwrap().isolation.unwrap(), "wasm");
        std::fs::write(&path, "what = 1\n").unwrap();
        let refusal = of_file(&text).unwrap_err().to_string();
        assert!(
            refusal.starts_with(&format!("runtime options: config_path \"{text}\": unknown key \"what\"")),
            "{refusal}"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(of_file(&text).unwrap_err().to_string().contains(&format!("cannot read config_path \"{text}\"")));
        assert!(of_file("x.toml").unwrap_err().to_string().contains("must be absolute"));
    }

    #[test]
    fn refusals_name_the_field() {
        let text = refusal("\nisolaton = \"wasm\"");
        assert_eq!(
            text,
            "runtime options: unknown key \"isolaton\": expected one of isolation, root, no_pivot, no_new_keyring, \
             shim_cgroup, systemd_cgroup"
        );
        assert!(
            refusal("systemd_cgroup = true").starts_with("runtime options: systemd_cgroup: the systemd cgroup driver")
        );
        assert!(refusal("no_pivot = 1").contains("no_pivot: must be true or false, and is of type integer"));
        assert!(refusal("isolation = true").contains("isolation: must be a string, and is of type boolean"));
        assert!(refusal("root = \"run\"").starts_with("runtime options: root \"run\" must be an absolute path"));
        assert!(refusal("no_pivot = true\nroot =").starts_with("runtime options: line 2: "));

        let systemd = oci::Options { systemd_cgroup: true, ..oci::Options::default() };
        let text = read(Some(&any(RUNC, systemd.write_to_bytes().unwrap()))).unwrap_err().to_string();
        assert!(text.contains("SystemdCgroup: the systemd"), "{text}");

        let text = read(Some(&any("example.Options", Vec::new()))).unwrap_err().to_string();
        assert!(text.contains("unknown type \"example.Options\""), "{text}");
        for name in [RUNC, FORMER, GENERIC[0]] {
            assert!(read(Some(&any(name, vec![0x0a, 9]))).unwrap_err().to_string().contains("broken message"));
        }
    }
}
