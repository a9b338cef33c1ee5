//! The reader and the checks against the specification's JSON schema: its test documents, a document with every
//! property, and changes of that one.

mod validator;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hull_spec::features::{Features, Parts, Seccomp};
use hull_spec::{CheckHost, Error, Process, Resources, Spec, Warning, state};
use proptest::prelude::*;
use serde_json::{Value, json};
use validator::Schemas;

const CONFIG: &str = "config-schema.json";

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn schemas() -> &'static Schemas {
    static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| Schemas::load(&here("schema")));
    &SCHEMAS
}

fn cases(directory: &str) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(here("cases").join(directory)).unwrap().map(|f| f.unwrap().path());
    files.map(|f| (f.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(f).unwrap())).collect()
}

fn full() -> Value {
    static FULL: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_slice(&std::fs::read(here("full.json")).unwrap()).unwrap());
    FULL.clone()
}

fn read(bytes: &[u8]) -> Result<(Spec, Vec<Warning>), Error> {
    let spec = Spec::from_slice(bytes)?;
    let warnings = spec.check(&CheckHost::default())?;
    Ok((spec, warnings))
}

#[test]
fn the_validator_itself_knows_good_from_bad() {
    let schemas = schemas();
    for kind in ["config", "state", "features"] {
        let schema = format!("{kind}-schema.json");
        for (name, text) in cases(&format!("{kind}/good")) {
            assert_eq!(schemas.check(&schema, &serde_json::from_slice(&text).unwrap()), Ok(()), "{name}");
        }
        for (name, text) in cases(&format!("{kind}/bad")) {
            let refused = serde_json::from_slice(&text).map_or(true, |v| schemas.check(&schema, &v).is_err());
            assert!(refused, "{name}");
        }
    }
}

#[test]
fn good_documents_are_accepted_or_refused_for_a_must_that_no_schema_can_say() {
    // Where the specification's own example breaks its text: what hull says, and what mends it.
    type Mend = fn(&mut Value);
    let refused: [(&str, &str, Mend); 7] = [
        ("freebsd-example.json", "config.json: freebsd: config is for platform \"freebsd\", this is linux", |v| {
            remove(v, "freebsd")
        }),
        ("freebsd-minimal.json", "config.json: freebsd: config is for platform \"freebsd\", this is linux", |v| {
            remove(v, "freebsd")
        }),
        ("zos-minimal.json", "config.json: zos: config is for platform \"zos\", this is linux", |v| remove(v, "zos")),
        ("zos-example.json", "config.json: ociVersion: \"0.5.0-dev\": unsupported version: must be 1.x", |v| {
            v["ociVersion"] = "1.0.0".into();
            let error = read(v.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "config.json: zos: config is for platform \"zos\", this is linux");
            remove(v, "zos");
        }),
        (
            "linux-netdevice.json",
            "config.json: linux.netDevices: unable to move network devices without a NET namespace",
            |v| {
                v["linux"]["namespaces"] = json!([{ "type": "network" }]);
            },
        ),
        ("spec-example.json", "config.json: ociVersion: \"0.5.0-dev\": unsupported version: must be 1.x", |v| {
            v["ociVersion"] = "1.0.0".into();
        }),
        ("", "", |_| {}),
    ];
    let mut seen = 0;
    for (name, text) in cases("config/good") {
        let Some((_, why, mend)) = refused.iter().find(|r| r.0 == name) else {
            assert_eq!(read(&text).map(|r| r.1), Ok(vec![]), "{name}");
            continue;
        };
        seen += 1;
        assert_eq!(read(&text).unwrap_err().to_string(), *why, "{name}");
        let mut value = serde_json::from_slice(&text).unwrap();
        mend(&mut value);
        if name.ends_with("-example.json") && !name.starts_with("spec") {
            // The host name needs a namespace that other platforms have no list for.
            value["linux"] = json!({ "namespaces": [{ "type": "uts" }] });
        }
        let warnings = read(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}")).1;
        assert_eq!(warnings, [], "{name}");
    }
    assert_eq!(seen + 1, refused.len());
}

fn remove(value: &mut Value, key: &str) {
    value.as_object_mut().unwrap().remove(key);
}

#[test]
fn bad_documents_are_refused_by_field() {
    let mut expected = BTreeMap::from([
        ("freebsd-vnet-disable.json", "config.json: freebsd.jail.vnet: \"disable\": expected one of new, inherit"),
        ("invalid-json.json", "config.json: is not JSON: key must be a string at line 1 column 2"),
        (
            "linux-hugepage.json",
            "config.json: linux.resources.hugepageLimits[0].pageSize: \"64kB\": must be a size \
             such as 64KB, 2MB or 1GB",
        ),
        ("linux-netdevice.json", "config.json: linux.netDevices.eth0.name: 23: expected a string"),
        (
            "linux-rdma.json",
            "config.json: linux.resources.rdma.mlx5_1.hcaHandles: \"not a uint32\": \
             expected a whole number, 0 to 4294967295",
        ),
    ]);
    for (name, text) in cases("config/bad") {
        let why = expected.remove(name.as_str()).unwrap_or_else(|| panic!("{name} is new"));
        assert_eq!(read(&text).unwrap_err().to_string(), why, "{name}");
    }
    assert!(expected.is_empty(), "{expected:?}");
}

#[test]
fn the_full_document_has_every_property_and_survives_writing() {
    let (schemas, full) = (schemas(), full());
    assert_eq!(schemas.check(CONFIG, &full), Ok(()));
    let mut lacks = Vec::new();
    let (_, root) = schemas.resolve(CONFIG, "#");
    properties(schemas, CONFIG, root, &[&full], "", &mut lacks);
    assert_eq!(lacks, ["/freebsd", "/process/commandLine", "/solaris", "/vm", "/windows", "/zos"]);
    let (spec, warnings) = read(full.to_string().as_bytes()).unwrap();
    assert_eq!(warnings, []);
    let written = serde_json::to_value(&spec).unwrap();
    // An empty list is as good as none, and 0 as no priority: left out.
    let mut whole = full;
    remove(&mut whole["linux"]["personality"], "flags");
    remove(&mut whole["process"]["scheduler"], "priority");
    assert_eq!(written, whole);
}

/// Finds properties of the schema that no value at its place has.
fn properties(schemas: &Schemas, file: &str, schema: &Value, values: &[&Value], at: &str, lacks: &mut Vec<String>) {
    if let Some(reference) = schema.get("$ref") {
        let (file, schema) = schemas.resolve(file, reference.as_str().unwrap());
        properties(schemas, file, schema, values, at, lacks);
    }
    for alternative in ["allOf", "anyOf"].iter().filter_map(|k| schema.get(k)).flat_map(|v| v.as_array().unwrap()) {
        properties(schemas, file, alternative, values, at, lacks);
    }
    if let Some(items) = schema.get("items") {
        let items_values: Vec<&Value> = values.iter().flat_map(|v| v.as_array().unwrap()).collect();
        properties(schemas, file, items, &items_values, &format!("{at}[]"), lacks);
    }
    if let Some(schema) = schema.get("additionalProperties") {
        let all: Vec<&Value> = values.iter().flat_map(|v| v.as_object().unwrap().values()).collect();
        properties(schemas, file, schema, &all, &format!("{at}/*"), lacks);
    }
    for (key, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let at = format!("{at}/{key}");
        let here: Vec<&Value> = values.iter().filter_map(|v| v.get(key)).collect();
        if here.is_empty() {
            lacks.push(at);
        } else {
            properties(schemas, file, schema, &here, &at, lacks);
        }
    }
}

/// Every node below the root: its JSON pointer, and its path as errors name it.
fn nodes(value: &Value) -> Vec<(String, String)> {
    fn walk(value: &Value, pointer: &str, path: &str, all: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                    let dot = if path.is_empty() { "" } else { "." };
                    let path = if plain { format!("{path}{dot}{key}") } else { format!("{path}[\"{key}\"]") };
                    all.push((pointer.clone(), path.clone()));
                    walk(value, &pointer, &path, all);
                }
            }
            Value::Array(list) => {
                for (i, value) in list.iter().enumerate() {
                    let (pointer, path) = (format!("{pointer}/{i}"), format!("{path}[{i}]"));
                    all.push((pointer.clone(), path.clone()));
                    walk(value, &pointer, &path, all);
                }
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    walk(value, "", "", &mut all);
    all
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_its_path() {
    let full = full();
    let nodes = nodes(&full);
    assert!(nodes.len() > 250, "{}", nodes.len());
    for (pointer, path) in nodes {
        let is = std::mem::discriminant(full.pointer(&pointer).unwrap());
        for wrong in [json!(true), json!(7), json!("text"), json!([]), json!(["text"]), json!({}), json!({ "a": 1 })] {
            if std::mem::discriminant(&wrong) == is {
                continue;
            }
            let mut changed = full.clone();
            *changed.pointer_mut(&pointer).unwrap() = wrong.clone();
            for text in [changed.to_string(), serde_json::to_string_pretty(&changed).unwrap()] {
                let error = read(text.as_bytes()).expect_err(&format!("{path} = {wrong}"));
                assert_eq!(error.field, path, "{error}");
            }
        }
    }
}

#[test]
fn what_must_be_given_is_missed_by_its_path() {
    let full = full();
    let mut missed = 0;
    for (pointer, path) in nodes(&full) {
        let mut changed = full.clone();
        change(&mut changed, &pointer, None);
        let read = read(changed.to_string().as_bytes());
        forgive(&mut changed);
        if schemas().check(CONFIG, &changed).is_err() {
            missed += 1;
            let error = read.expect_err(&path);
            // The last of a list's items is missed as the list.
            assert!(error.field == path || path.strip_suffix("[0]") == Some(&error.field), "{path}: {error}");
        }
    }
    assert!(missed > 50, "{missed}");
}

/// Values that are at an edge somewhere.
fn edge() -> impl Strategy<Value = Option<Value>> {
    let numbers = [
        -9_223_372_036_854_775_808_i64,
        -2_147_483_649,
        -2_147_483_648,
        -1001,
        -1000,
        -2,
        -1,
        0,
        1,
        2,
        7,
        8,
        100,
        101,
        511,
        512,
        1000,
        1001,
        1023,
        65535,
        65536,
        999_999_999,
        1_000_000_000,
        2_147_483_648,
        4_294_967_295,
        4_294_967_296,
        9_223_372_036_854_775_807,
    ];
    let texts = [
        "",
        "x",
        "a/b",
        "..",
        "/",
        "/abs",
        "rel",
        "a\0",
        "a\nb",
        "64kB",
        "64KB",
        "MB:1\nL3:0",
        "MB:1",
        "RLIMIT_AS",
        "RLIMIT_X",
        "RLIMIT_1",
        "0-3,7",
        "1-",
        "mount",
        "time",
        "network",
        "p",
        "a",
        "rwm",
        "LINUX",
        "MPOL_BIND",
        "MPOL_LOCAL",
        "SCHED_FIFO",
        "SCHED_OTHER",
        "rslave",
        "private",
        "SCMP_ACT_ALLOW",
        "SCMP_CMP_EQ",
        "idmap",
        "idmap=uids=0-0-1;gids=0-0-1",
        "ridmap=uids=@0-1-2",
        "mode=1",
        "1.0.0",
        "1.0.0-rc.1",
        "A=1",
        "=",
        "kernel.panic",
    ];
    let numbers: Vec<Value> =
        numbers.iter().map(|n| json!(n)).chain([json!(u64::MAX), json!(1.5), json!(1e40)]).collect();
    let texts: Vec<Value> = texts.iter().map(|t| json!(t)).collect();
    let rest = vec![json!(true), json!(false), json!([]), json!({}), json!([""]), json!([{}]), json!({ "": "" })];
    prop_oneof![
        4 => prop::sample::select(numbers).prop_map(Some),
        4 => prop::sample::select(texts).prop_map(Some),
        1 => prop::sample::select(rest).prop_map(Some),
        // Removed altogether.
        1 => Just(None),
    ]
}

fn change(value: &mut Value, pointer: &str, new: Option<Value>) {
    if let Some(new) = new {
        // An earlier change may have taken the place away.
        if let Some(place) = value.pointer_mut(pointer) {
            *place = new;
        }
        return;
    }
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.remove(&key.replace("~1", "/").replace("~0", "~"))),
        Some(Value::Array(list)) => {
            let i: usize = key.parse().unwrap();
            if i < list.len() {
                list.remove(i);
            }
        }
        _ => {}
    }
}

/// Undoes, before the schema sees them, what hull takes and the schema does not.
fn forgive(value: &mut Value) {
    let Some(linux) = value.get_mut("linux") else { return };
    // Engines write propagations with "r", and an empty text where none is given.
    if let Some(p) = linux.get_mut("rootfsPropagation")
        && matches!(p.as_str(), Some("" | "rslave"))
    {
        *p = "slave".into();
    }
    if let Some(s) = linux.pointer_mut("/intelRdt/memBwSchema")
        && *s == ""
    {
        *s = "MB:".into();
    }
    // The schema wants a limit, the text of the specification does not.
    if let Some(Value::Object(pids)) = linux.pointer_mut("/resources/pids") {
        pids.entry("limit").or_insert(0.into());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_schema_refuses_hull_refuses_and_what_is_accepted_survives_writing(
        changes in prop::collection::vec((any::<prop::sample::Index>(), edge()), 1..3),
    ) {
        let (schemas, mut value) = (schemas(), full());
        let nodes = nodes(&value);
        for (index, new) in changes {
            change(&mut value, &index.get(&nodes).0, new);
        }
        let Ok((spec, _)) = read(value.to_string().as_bytes()) else { return Ok(()) };
        forgive(&mut value);
        let valid = schemas.check(CONFIG, &value);
        prop_assert!(valid.is_ok(), "accepted, though the schema says {valid:?}");
        let written = serde_json::to_vec(&spec).unwrap();
        let again = Spec::from_slice(&written).map_err(|e| TestCaseError::fail(format!("{e}: {value}")))?;
        prop_assert_eq!(&again, &spec);
        let mut written = serde_json::from_slice(&written).unwrap();
        forgive(&mut written);
        let valid = schemas.check(CONFIG, &written);
        prop_assert!(valid.is_ok(), "written, though the schema says {valid:?}");
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
    ) {
        let whole = full().to_string();
        let cut = at.index(whole.len());
        for text in [bytes.clone(), [&whole.as_bytes()[..cut], &bytes].concat()] {
            let read = [
                Spec::from_slice(&text).map(drop), Process::from_slice(&text).map(drop),
                Resources::from_slice(&text).map(drop),
            ];
            for error in read.into_iter().filter_map(Result::err) {
                prop_assert!(error.to_string().starts_with(error.document));
            }
        }
    }
}

#[test]
fn documents_that_hull_writes_follow_the_schema() {
    let schemas = schemas();
    let seccomp = Seccomp {
        enabled: true,
        actions: vec!["SCMP_ACT_ALLOW"],
        operators: vec!["SCMP_CMP_EQ"],
        archs: vec!["SCMP_ARCH_X86_64"],
        known_flags: vec!["SECCOMP_FILTER_FLAG_LOG"],
        supported_flags: vec![],
    };
    let annotations = BTreeMap::from([("a.b".to_owned(), "c".to_owned())]);
    let parts = Parts { capabilities: vec!["CAP_CHOWN"], seccomp, annotations: annotations.clone() };
    let features = serde_json::to_value(Features::new(parts)).unwrap();
    assert_eq!(schemas.check("features-schema.json", &features), Ok(()));
    let theirs: Value = serde_json::from_slice(&cases("features/good")["runc.json"]).unwrap();
    // hull has every feature by which runc 1.1 describes itself.
    for list in ["/hooks", "/mountOptions", "/linux/namespaces"] {
        let ours = features.pointer(list).unwrap().as_array().unwrap();
        for name in theirs.pointer(list).unwrap().as_array().unwrap() {
            // These two are options of some file systems, and go to them.
            assert!(ours.contains(name) || name == "acl" || name == "noacl", "{list}: {name}");
        }
    }
    assert_eq!(features["ociVersionMax"], "1.3.0");
    assert_eq!(features["annotations"], json!({ "a.b": "c" }));
    assert_eq!(features["linux"]["memoryPolicy"]["modes"].as_array().unwrap().len(), 7);

    let state = state::State {
        oci_version: "0.2.0",
        id: "oci-container1",
        status: "running",
        pid: 4422,
        bundle: Path::new("/containers/redis"),
        annotations: &BTreeMap::from([("myKey".to_owned(), "myValue".to_owned())]),
    };
    let example: Value = serde_json::from_slice(&cases("state/good")["spec-example.json"]).unwrap();
    assert_eq!(serde_json::to_value(state).unwrap(), example);

    for user in [None, Some((1000, 1000))] {
        let example = serde_json::to_value(Spec::example(user, false)).unwrap();
        assert_eq!(schemas.check(CONFIG, &example), Ok(()));
    }
}
