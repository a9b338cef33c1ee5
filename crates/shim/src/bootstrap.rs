//! How an engine calls the shim's program, and what it wants to read of it.
//!
//! Owns the command line, the variables and the standard input of a call, in all of the forms that containerd has had
//! since 1.6 and CRI-O has, and the answer to `start`. It does nothing of what it is called for, prints nothing, and
//! never looks at the process itself: a call is made of what it is given.
//!
//! | who calls | standard input of `start` | variables | answer |
//! | --- | --- | --- | --- |
//! | containerd 1.6 | options | `TTRPC_ADDRESS` | the address |
//! | containerd 1.7 to 2.2 | options | also `MAX_SHIM_VERSION` | JSON, version 2 |
//! | containerd 2.3 and later | BootstrapParams, options among them | the same | BootstrapResult, version 3 |
//! | CRI-O | nothing | `TTRPC_ADDRESS` is empty, and so is `-address` | the address |
//!
//! `MAX_SHIM_VERSION` is 2 in all releases, also where version 3 would be understood: nothing tells containerd 2.0 to
//! 2.2 from 1.7, which refuses it. Releases of CRI-O before 1.37 take all that is printed for the address, whatever the
//! variable says.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult, LogLevel};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Enum as _, Message as _};
use hull_runtime::{Context as _, Error, Result};

use crate::options;

/// What is read of standard input at most: far more than any options.
const MOST: u64 = 1 << 20;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Have a shim serve the container or its pod, and say where.
    Start,
    /// Remove what is left of a container whose shim is gone.
    Delete,
    /// Say what this shim is, as a message (`-info`).
    Info,
    /// Say it as text (`-v`).
    Version,
    /// Print what the runtime can do as JSON: CRI-O asks every runtime so.
    Features,
}

/// In which form the caller of `start` wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The address and nothing else.
    Plain,
    /// Version, address and protocol as JSON.
    Json,
    /// The same as BootstrapResult.
    Params,
}

/// A call of the shim's program.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// What is to be done.
    pub(crate) action: Action,
    /// The engine's namespace of the container; like `id`, empty where the action is about none.
    pub(crate) namespace: String,
    /// The container, or sandbox.
    pub(crate) id: String,
    /// The engine's own address, empty where it has none. Events go to the other one.
    pub(crate) address: String,
    /// Where events go; none where nobody wants them.
    pub(crate) ttrpc_address: Option<String>,
    /// The engine's program, which older shims published events with.
    pub(crate) publish_binary: Option<PathBuf>,
    /// The bundle, where it is not the working directory.
    pub(crate) bundle: Option<PathBuf>,
    /// Whether debug lines are wanted.
    pub(crate) debug: bool,
    /// The runtime's options, for `start` and `-info`.
    pub(crate) options: Option<Any>,
    /// The form of the answer to `start`.
    pub(crate) protocol: Protocol,
    /// The release of containerd, where it says so.
    pub(crate) containerd_version: Option<String>,
    /// The directory for the socket, where the engine wants another than the usual one.
    pub(crate) socket_dir: Option<PathBuf>,
}

impl Call {
    /// Reads a call: the program's arguments without its name, its variables, and its standard input, which is left
    /// alone where the action needs nothing of it.
    ///
    /// # Errors
    /// For a flag that is unknown or has no value, for no action or an unknown one, where what is needed is missing,
    /// and where standard input has what no engine sends.
    pub(crate) fn read(
        args: impl IntoIterator<Item = OsString>,
        env: impl Fn(&str) -> Option<String>,
        stdin: impl Read,
    ) -> Result<Call> {
        let flags = Flags::read(args)?;
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let action = flags.action()?;
        let mut call = Call {
            action,
            namespace: flags.namespace,
            id: flags.id,
            address: flags.address,
            ttrpc_address: set("TTRPC_ADDRESS"),
            publish_binary: some(flags.publish_binary).map(Into::into),
            bundle: some(flags.bundle).map(Into::into),
            debug: flags.debug,
            options: None,
            protocol: if set("MAX_SHIM_VERSION").is_some() { Protocol::Json } else { Protocol::Plain },
            containerd_version: None,
            socket_dir: None,
        };
        match action {
            Action::Start => match Input::of_start(&bounded(stdin)?, &call.id, &call.namespace)? {
                Input::Nothing => {}
                Input::Options(options) => call.options = Some(options),
                Input::Params(params) => call.take(*params),
            },
            Action::Info => call.options = options_alone(&bounded(stdin)?)?,
            Action::Delete | Action::Version | Action::Features => {}
        }
        if matches!(action, Action::Start | Action::Delete) {
            check("-namespace", &call.namespace)?;
            check("-id", &call.id)?;
        }
        if call.address.is_empty() && call.ttrpc_address.is_none() {
            call.protocol = Protocol::Plain;
        }
        Ok(call)
    }

    /// Takes over what containerd 2.3 and later say: flags and variables are there too, for older shims.
    fn take(&mut self, params: BootstrapParams) {
        self.protocol = Protocol::Params;
        self.id = params.instance_id;
        self.namespace = params.namespace;
        self.debug |= params.log_level.value() <= LogLevel::LOG_LEVEL_DEBUG.value();
        self.containerd_version = some(params.containerd_version);
        if let Some(address) = some(params.containerd_grpc_address) {
            self.address = address;
        }
        if let Some(address) = some(params.containerd_ttrpc_address) {
            self.ttrpc_address = Some(address);
        }
        if let Some(binary) = some(params.containerd_binary) {
            self.publish_binary = Some(binary.into());
        }
        self.socket_dir = params.socket_dir.and_then(some).map(Into::into);
        // Others among the extensions may be for somebody else.
        let mut values = params.extensions.into_iter().filter_map(|e| e.value.into_option());
        self.options = values.find(|value| options::is_known(&value.type_url));
    }

    /// The version of the Task service that the caller uses from then on.
    pub(crate) fn version(&self) -> u32 {
        match self.protocol {
            Protocol::Params => 3,
            Protocol::Plain | Protocol::Json => 2,
        }
    }
}

/// What `start` prints: where the shim serves, in the form that the caller reads.
///
/// # Errors
/// Where the address makes no message.
pub(crate) fn reply(call: &Call, address: &str) -> Result<Vec<u8>> {
    const TTRPC: &str = "ttrpc";
    match call.protocol {
        Protocol::Plain => Ok(address.into()),
        Protocol::Json => {
            let answer = serde_json::json!({"version": call.version(), "address": address, "protocol": TTRPC});
            Ok(answer.to_string().into_bytes())
        }
        Protocol::Params => {
            let mut answer = BootstrapResult::new();
            answer.version = 3;
            answer.address = address.into();
            answer.protocol = TTRPC.into();
            answer.write_to_bytes().map_err(|e| Error::new(format!("cannot answer with address {address:?}: {e}")))
        }
    }
}

/// The command line, as it is.
#[derive(Default)]
struct Flags {
    namespace: String,
    id: String,
    address: String,
    publish_binary: String,
    bundle: String,
    debug: bool,
    version: bool,
    info: bool,
    word: String,
}

impl Flags {
    /// Reads arguments as Go's package flag does: one dash or two, a value beside the flag or after `=`, and none of
    /// it after the first word.
    fn read(args: impl IntoIterator<Item = OsString>) -> Result<Flags> {
        let mut args = args.into_iter().map(|arg| {
            arg.into_string().map_err(|arg| Error::new(format!("argument \"{}\" is not UTF-8", arg.display())))
        });
        let mut flags = Flags::default();
        while let Some(arg) = args.next().transpose()? {
            let Some(rest) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                flags.word = arg;
                break;
            };
            let rest = rest.strip_prefix('-').unwrap_or(rest);
            if rest.is_empty() {
                flags.word = args.next().transpose()?.unwrap_or_default();
                break;
            }
            let (name, value) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value)));
            if let Some(switch) = flags.switch(name) {
                *switch = value.map_or(Some(true), truth).ok_or_else(|| {
                    Error::new(format!("flag -{name}: {:?} is neither true nor false", value.unwrap_or_default()))
                })?;
            } else if let Some(field) = flags.text(name) {
                *field = match value {
                    Some(value) => value.to_owned(),
                    None => {
                        args.next().transpose()?.ok_or_else(|| Error::new(format!("flag -{name} needs a value")))?
                    }
                };
            } else {
                return Err(Error::new(format!("unknown flag -{name}")));
            }
        }
        Ok(flags)
    }

    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "debug" => Some(&mut self.debug),
            "v" | "version" => Some(&mut self.version),
            "info" => Some(&mut self.info),
            _ => None,
        }
    }

    fn text(&mut self, name: &str) -> Option<&mut String> {
        match name {
            "namespace" => Some(&mut self.namespace),
            "id" => Some(&mut self.id),
            "address" => Some(&mut self.address),
            "publish-binary" => Some(&mut self.publish_binary),
            "bundle" => Some(&mut self.bundle),
            _ => None,
        }
    }

    fn action(&self) -> Result<Action> {
        const ACTIONS: &str = "expected start, delete, features, -info or -v";
        match self.word.as_str() {
            _ if self.version => Ok(Action::Version),
            _ if self.info => Ok(Action::Info),
            "start" => Ok(Action::Start),
            "delete" => Ok(Action::Delete),
            "features" => Ok(Action::Features),
            "" => Err(Error::new(format!("no action is given: {ACTIONS}"))),
            other => Err(Error::new(format!("unknown action {other:?}: {ACTIONS}"))),
        }
    }
}

/// What Go takes for a truth value.
fn truth(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What an engine gives to `start`.
enum Input {
    Nothing,
    Options(Any),
    Params(Box<BootstrapParams>),
}

impl Input {
    /// Tells options from parameters. Both begin with two fields of bytes, so that the one can often be read as the
    /// other: what tells them apart is that parameters name the container and namespace of the flags beside them, and,
    /// for an engine that gives no such flags, that options have no third field.
    fn of_start(bytes: &[u8], id: &str, namespace: &str) -> Result<Input> {
        if bytes.is_empty() {
            return Ok(Input::Nothing);
        }
        let params = BootstrapParams::parse_from_bytes(bytes).ok();
        let more = |p: &BootstrapParams| {
            let texts = [&p.containerd_version, &p.containerd_grpc_address, &p.containerd_ttrpc_address];
            texts.iter().any(|text| !text.is_empty())
        };
        if let Some(params) = &params {
            let ours = params.instance_id == id && params.namespace == namespace;
            let alone = id.is_empty() && namespace.is_empty() && more(params);
            if ours || alone {
                return Ok(Input::Params(Box::new(params.clone())));
            }
        }
        if let Some(options) = lone_any(bytes) {
            return Ok(Input::Options(options));
        }
        Err(match params.filter(more) {
            Some(other) => Error::new(format!(
                "standard input has parameters for container {:?} in namespace {:?}, and the flags -id {id:?} and \
                 -namespace {namespace:?}",
                other.instance_id, other.namespace
            )),
            None => Error::new("standard input has neither runtime options nor bootstrap parameters"),
        })
    }
}

/// The options that `-info` gets.
fn options_alone(bytes: &[u8]) -> Result<Option<Any>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    lone_any(bytes).map(Some).ok_or_else(|| Error::new("standard input has no runtime options"))
}

/// A message that names its type and has no field of another.
fn lone_any(bytes: &[u8]) -> Option<Any> {
    let any = Any::parse_from_bytes(bytes).ok()?;
    let strange = any.special_fields.unknown_fields().iter().next().is_some();
    (!any.type_url.is_empty() && !strange).then_some(any)
}

fn bounded(stdin: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stdin.take(MOST + 1).read_to_end(&mut bytes).what(|| "cannot read standard input")?;
    if bytes.len() as u64 > MOST {
        return Err(Error::new(format!("standard input has more than {MOST} bytes")));
    }
    Ok(bytes)
}

/// Refuses what can't be a part of a path, as ids and namespaces become.
fn check(flag: &str, name: &str) -> Result<()> {
    match name {
        "" => Err(Error::new(format!("flag {flag} is missing, or empty"))),
        "." | ".." => Err(Error::new(format!("flag {flag}: {name:?} is no name"))),
        _ if name.contains(['/', '\0']) => Err(Error::new(format!("flag {flag}: {name:?} has a slash"))),
        _ => Ok(()),
    }
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::{any, message};
    use containerd_shim_protos::bootstrap_api::Extension;

    const ADDRESS: &str = "/run/containerd/containerd.sock";
    const EVENTS: &str = "/run/containerd/containerd.sock.ttrpc";

    /// Reads a call with variables of its own.
    fn call(env: &[(&str, &str)], args: &[&str], stdin: &[u8]) -> Result<Call> {
        let of = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Call::read(args.iter().map(OsString::from), of, stdin)
    }

    const FLAGS: [&str; 8] =
        ["-namespace", "k8s.io", "-address", ADDRESS, "-publish-binary", "/bin/containerd", "-id", "c1"];

    fn with<'a>(rest: &[&'a str]) -> Vec<&'a str> {
        [&FLAGS, rest].concat()
    }

    fn options() -> Any {
        any("runtimeoptions.v1.Options", message("", "isolation = \"wasm\""))
    }

    fn params() -> BootstrapParams {
        let mut params = BootstrapParams::new();
        params.instance_id = "c1".into();
        params.namespace = "k8s.io".into();
        params.log_level = LogLevel::LOG_LEVEL_DEBUG.into();
        params.containerd_version = "v2.3.4".into();
        params.containerd_grpc_address = ADDRESS.into();
        params.containerd_ttrpc_address = EVENTS.into();
        params.containerd_binary = "/usr/bin/containerd".into();
        let extension = |value: Any| Extension { value: Some(value).into(), ..Extension::default() };
        params.extensions = vec![extension(any("example.Other", vec![1])), extension(options())];
        params
    }

    fn text(call: &Call) -> String {
        String::from_utf8(reply(call, "unix:///s").unwrap()).unwrap()
    }

    #[test]
    fn containerd_1_6() {
        let stdin = options().write_to_bytes().unwrap();
        let call = call(&[("TTRPC_ADDRESS", EVENTS)], &with(&["-debug", "start"]), &stdin).unwrap();
        let expected = Call {
            action: Action::Start,
            namespace: "k8s.io".into(),
            id: "c1".into(),
            address: ADDRESS.into(),
            ttrpc_address: Some(EVENTS.into()),
            publish_binary: Some("/bin/containerd".into()),
            bundle: None,
            debug: true,
            options: Some(options()),
            protocol: Protocol::Plain,
            containerd_version: None,
            socket_dir: None,
        };
        assert_eq!(call, expected);
        assert_eq!(text(&call), "unix:///s");
    }

    #[test]
    fn containerd_1_7_to_2_2() {
        let env = [("TTRPC_ADDRESS", EVENTS), ("MAX_SHIM_VERSION", "2")];
        let call = call(&env, &with(&["start"]), b"").unwrap();
        assert_eq!((call.protocol, call.options.clone(), call.debug), (Protocol::Json, None, false));
        let answer: serde_json::Value = serde_json::from_str(&text(&call)).unwrap();
        assert_eq!(answer, serde_json::json!({"version": 2, "address": "unix:///s", "protocol": "ttrpc"}));
    }

    #[test]
    fn containerd_2_3() {
        let env = [("TTRPC_ADDRESS", "/old"), ("MAX_SHIM_VERSION", "2")];
        let mut given = params();
        given.socket_dir = Some("/run/s".into());
        let args = with(&["start"]);
        let read = call(&env, &args, &given.write_to_bytes().unwrap()).unwrap();
        assert_eq!((read.protocol, read.version(), read.debug), (Protocol::Params, 3, true));
        assert_eq!(read.ttrpc_address.as_deref(), Some(EVENTS));
        assert_eq!(read.publish_binary, Some("/usr/bin/containerd".into()));
        assert_eq!(read.containerd_version.as_deref(), Some("v2.3.4"));
        assert_eq!(read.socket_dir, Some("/run/s".into()));
        assert_eq!(read.options, Some(options()));
        let answer = BootstrapResult::parse_from_bytes(&reply(&read, "unix:///s").unwrap()).unwrap();
        assert_eq!((answer.version, answer.address.as_str(), answer.protocol.as_str()), (3, "unix:///s", "ttrpc"));

        given.log_level = LogLevel::LOG_LEVEL_INFO.into();
        given.extensions.clear();
        given.socket_dir = Some(String::new());
        let read = call(&env, &args, &given.write_to_bytes().unwrap()).unwrap();
        assert_eq!((read.debug, read.options, read.socket_dir), (false, None, None));

        // One that has stopped giving flags.
        let read = call(&[], &["start"], &params().write_to_bytes().unwrap()).unwrap();
        assert_eq!((read.id.as_str(), read.address.as_str(), read.protocol), ("c1", ADDRESS, Protocol::Params));
    }

    #[test]
    fn cri_o() {
        let env = [("TTRPC_ADDRESS", ""), ("MAX_SHIM_VERSION", "2")];
        let flags = ["-namespace", "default", "-address", "", "-publish-binary", "/usr/bin/crio", "-id", "c1"];
        let read = call(&env, &[&flags[..], &["start"]].concat(), b"").unwrap();
        assert_eq!((read.address.as_str(), read.ttrpc_address.clone(), read.protocol), ("", None, Protocol::Plain));
        assert_eq!(text(&read), "unix:///s");
        // Should it call as containerd 2.3 does one day: it takes no third version.
        let mut given = params();
        (given.containerd_grpc_address, given.containerd_ttrpc_address) = (String::new(), String::new());
        let args = ["-namespace", "k8s.io", "-address", "", "-id", "c1", "start"];
        let read = call(&env, &args, &given.write_to_bytes().unwrap()).unwrap();
        assert_eq!((read.protocol, read.version(), text(&read).as_str()), (Protocol::Plain, 2, "unix:///s"));
        assert_eq!(call(&[], &["--version"], b"").unwrap().action, Action::Version);
        assert_eq!(call(&[], &["features"], b"").unwrap().action, Action::Features);
    }

    #[test]
    fn flags_have_several_forms() {
        let args = ["--namespace=n", "-id=c1", "--debug=false", "--address", "/a", "-bundle=/b", "--", "delete", "-x"];
        let read = call(&[], &args, b"not read").unwrap();
        assert_eq!((read.action, read.namespace.as_str(), read.debug), (Action::Delete, "n", false));
        assert_eq!((read.address.as_str(), read.bundle), ("/a", Some("/b".into())));
    }

    #[test]
    fn info_gets_options() {
        let read = call(&[], &["-info"], &options().write_to_bytes().unwrap()).unwrap();
        assert_eq!((read.action, read.options), (Action::Info, Some(options())));
        assert_eq!(call(&[], &["-info"], b"").unwrap().options, None);
        // A message, and no options.
        let bytes = params().write_to_bytes().unwrap();
        assert!(call(&[], &["-info"], &bytes).unwrap_err().to_string().contains("has no runtime options"));
    }

    #[test]
    fn options_are_no_parameters() {
        // These can be read as parameters too: the value is text.
        let options = any("runtimeoptions.v1.Options", b"abc".to_vec());
        let bytes = options.write_to_bytes().unwrap();
        assert!(BootstrapParams::parse_from_bytes(&bytes).is_ok());
        assert_eq!(call(&[], &with(&["start"]), &bytes).unwrap().options, Some(options));
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let refusal = |args: &[&str], stdin: &[u8]| call(&[], args, stdin).unwrap_err().to_string();
        assert!(refusal(&[], b"").starts_with("no action is given: "));
        assert!(refusal(&["stop"], b"").starts_with("unknown action \"stop\": "));
        assert_eq!(refusal(&["-what", "start"], b""), "unknown flag -what");
        assert_eq!(refusal(&["-id"], b""), "flag -id needs a value");
        assert_eq!(refusal(&["-debug=2", "start"], b""), "flag -debug: \"2\" is neither true nor false");
        assert_eq!(refusal(&["-id", "c", "start"], b""), "flag -namespace is missing, or empty");
        assert_eq!(refusal(&["-id", "../c", "-namespace", "n", "delete"], b""), "flag -id: \"../c\" has a slash");
        assert_eq!(refusal(&["-id", "c", "-namespace", "..", "delete"], b""), "flag -namespace: \"..\" is no name");
        assert!(refusal(&with(&["start"]), b"\xff").contains("neither runtime options nor bootstrap parameters"));
        let mut other = params();
        other.instance_id = "c2".into();
        let text = refusal(&with(&["start"]), &other.write_to_bytes().unwrap());
        assert!(
            text.starts_with("standard input has parameters for container \"c2\" in namespace \"k8s.io\""),
            "{text}"
        );
        // Parameters do not make a bad name good.
        other.instance_id = "a/b".into();
        assert_eq!(refusal(&["start"], &other.write_to_bytes().unwrap()), "flag -id: \"a/b\" has a slash");
        let long = vec![b'x'; MOST as usize + 2];
        assert!(refusal(&with(&["start"]), &long).contains("more than 1048576 bytes"));
    }
}
