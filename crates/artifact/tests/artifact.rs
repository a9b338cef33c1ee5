//! Artifacts of each form, and what must be refused, from blobs in memory and from directories.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use hull_artifact::{Artifact, Content, Descriptor, Digest, Error, Form, Index, Kind, Layout, LARGEST_MODULE, choose, read};
use serde_json::{Value, json};
use sha2::Digest as _;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const ARTIFACT: &str = "application/vnd.wasm.config.v0+json";
const IMAGE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Blobs in memory, put there under the digest that they have.
#[derive(Default)]
struct Store(BTreeMap<String, Vec<u8>>);

impl Content for Store {
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, Error> {
        let blob = self.0.get(&digest.to_string()).ok_or_else(|| Error::new(format!("blob {digest}: is not there")))?;
        Ok(Box::new(blob.as_slice()))
    }
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>())
}

impl Store {
    fn put(&mut self, kind: &str, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        self.0.insert(digest.clone(), bytes.to_owned());
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    fn document(&mut self, kind: &str, document: &Value) -> Value {
        self.put(kind, document.to_string().as_bytes())
    }

    fn manifest(&mut self, config: &Value, layers: &[Value]) -> Value {
        self.document(MANIFEST, &json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }))
    }

    /// The CNCF's form, its layer with this title.
    fn artifact(&mut self, os: &str, title: Option<&str>, module: &[u8]) -> Value {
        let mut layer = self.put("application/wasm", module);
        if let Some(title) = title {
            layer["annotations"] = json!({ "org.opencontainers.image.title": title });
        }
        let config = json!({ "created": "2024-06-25T15:58:49Z", "author": null, "architecture": "wasm", "os": os,
            "layerDigests": [layer["digest"]], "component": null });
        let config = self.document(ARTIFACT, &config);
        self.manifest(&config, &[layer])
    }

    /// runwasi's form.
    fn image(&mut self, execution: &Value, layers: &[(&str, Option<&str>, &[u8])]) -> Value {
        let layers: Vec<_> = layers
            .iter()
            .map(|(kind, title, bytes)| {
                let mut layer = self.put(kind, bytes);
                if let Some(title) = title {
                    layer["annotations"] = json!({ "org.opencontainers.image.title": title });
                }
                layer
            })
            .collect();
        let config = json!({ "architecture": "wasm", "os": "wasip1", "config": execution, "rootfs": { "type": "layers", "diff_ids": [] } });
        let config = self.document(IMAGE, &config);
        self.manifest(&config, &layers)
    }
}

fn index(manifests: &[Value]) -> Index {
    Index::parse(json!({ "schemaVersion": 2, "manifests": manifests }).to_string().as_bytes(), "index.json").unwrap()
}

fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    descriptor
}

fn for_platform(mut descriptor: Value, os: &str, architecture: &str) -> Value {
    descriptor["platform"] = json!({ "os": os, "architecture": architecture });
    descriptor
}

fn descriptor(value: &Value) -> Descriptor {
    serde_json::from_value(value.clone()).unwrap()
}

fn artifact(store: &Store, manifest: &Value) -> Artifact {
    match read(store, &descriptor(manifest)) {
        Ok(Kind::Artifact(artifact)) => artifact,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, Error>, words: &[&str]) {
    let text = result.unwrap_err().to_string();
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
    assert!(text.len() < 2000 && !text.contains(char::is_control), "{text}");
}

fn bytes(store: &Store, artifact: &Artifact) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    artifact.open(store).unwrap().read_to_end(&mut bytes).map(|_| bytes)
}

fn given(args: &[&str]) -> Vec<String> {
    args.iter().map(|a| (*a).to_owned()).collect()
}

#[test]
fn an_artifact_is_its_one_layer() {
    for os in ["wasip1", "wasip2"] {
        let mut store = Store::default();
        let manifest = store.artifact(os, Some("tool.wasm"), MODULE);
        let found = artifact(&store, &manifest);
        assert_eq!((found.form, found.name.as_str(), found.function.as_str()), (Form::Artifact, "tool.wasm", ""));
        assert_eq!(found.arguments(&given(&["a", "b"])), ["tool.wasm", "a", "b"]);
        assert_eq!(bytes(&store, &found).unwrap(), MODULE);
    }
    let mut store = Store::default();
    let manifest = store.artifact("wasip1", None, MODULE);
    assert_eq!(artifact(&store, &manifest).arguments(&[]), ["module.wasm"]);
}

#[test]
fn an_artifact_that_contradicts_itself_is_refused() {
    let check = |config: Value, layers: &[&str], words: &[&str]| {
        let mut store = Store::default();
        let config = store.document(ARTIFACT, &config);
        let layers: Vec<_> = layers.iter().enumerate().map(|(n, kind)| store.put(kind, &[n as u8])).collect();
        let manifest = store.manifest(&config, &layers);
        refused(read(&store, &descriptor(&manifest)), words);
    };
    let good = json!({ "architecture": "wasm", "os": "wasip2" });
    let wasm = "application/wasm";
    check(json!({ "architecture": "amd64", "os": "wasip2" }), &[wasm], &["blob sha256:", "architecture: \"amd64\"", "wasm"]);
    check(json!({ "os": "wasip2" }), &[wasm], &["architecture"]);
    check(json!({ "architecture": "wasm", "os": "linux" }), &[wasm], &["os: \"linux\"", "wasip1 or wasip2"]);
    check(good.clone(), &[wasm, wasm], &["layers: there are 2, and must be one"]);
    check(good.clone(), &[], &["layers: there are 0"]);
    check(good.clone(), &["application/vnd.oci.image.layer.v1.tar"], &["layers[0].mediaType"]);
    let other = sha256(b"other");
    check(json!({ "architecture": "wasm", "os": "wasip1", "layerDigests": [other] }), &[wasm], &["layerDigests"]);
    check(json!({ "architecture": "wasm", "os": "wasip1", "layerDigests": [] }), &[wasm], &["layerDigests"]);
    check(json!([1]), &[wasm], &["blob sha256:", "integer `1`"]);
}

#[test]
fn an_image_of_modules_is_started_as_its_configuration_says() {
    let mut store = Store::default();
    let execution = json!({ "Entrypoint": ["/app.wasm#main", "-x"], "Cmd": ["own"], "Env": ["A=1"], "Labels": null });
    let manifest = store.image(&execution, &[(LAYER, None, MODULE)]);
    let found = artifact(&store, &manifest);
    assert_eq!((found.form, found.name.as_str(), found.function.as_str()), (Form::Layers, "/app.wasm", "main"));
    assert_eq!((found.env.as_slice(), found.others.len()), (given(&["A=1"]).as_slice(), 0));
    assert_eq!(found.arguments(&[]), ["/app.wasm#main", "-x", "own"]);
    assert_eq!(found.arguments(&given(&["mine"])), ["/app.wasm#main", "-x", "mine"]);
    assert_eq!(bytes(&store, &found).unwrap(), MODULE);
    // Its name stays where arguments take the place of Cmd.
    let manifest = store.image(&json!({ "Cmd": ["app.wasm", "own"] }), &[(LAYER, None, MODULE)]);
    let found = artifact(&store, &manifest);
    assert_eq!(found.arguments(&[]), ["app.wasm", "own"]);
    assert_eq!(found.arguments(&given(&["mine"])), ["app.wasm", "mine"]);
    let manifest = store.image(&json!({ "Entrypoint": null }), &[("application/wasm", Some("t.wasm"), MODULE)]);
    assert_eq!(artifact(&store, &manifest).arguments(&[]), ["t.wasm"]);
    let manifest = store.image(&json!({ "Entrypoint": ["#init"] }), &[("application/wasm", Some("t.wasm"), MODULE)]);
    let found = artifact(&store, &manifest);
    assert_eq!((found.name.as_str(), found.function.as_str()), ("t.wasm", "init"));
    let manifest = store.image(&json!({ "Entrypoint": ["", "x"] }), &[("application/wasm", Some("t.wasm"), MODULE)]);
    assert_eq!(artifact(&store, &manifest).arguments(&[]), ["t.wasm", "x"]);
}

#[test]
fn of_several_modules_the_entry_point_names_one() {
    let two = [(LAYER, Some("lib.wasm"), b"lib".as_slice()), (LAYER, Some("app.wasm"), MODULE)];
    let tar = ("application/vnd.oci.image.layer.v1.tar+gzip", None, b"tar".as_slice());
    let mut store = Store::default();
    let manifest = store.image(&json!({ "Entrypoint": ["/app.wasm"] }), &[two[0], two[1], tar]);
    let found = artifact(&store, &manifest);
    assert_eq!(bytes(&store, &found).unwrap(), MODULE);
    assert_eq!(found.others, ["application/vnd.oci.image.layer.v1.tar+gzip"]);
    for execution in [json!({ "Entrypoint": ["/other.wasm"] }), json!({}), json!({ "Entrypoint": ["#f"] })] {
        let manifest = store.image(&execution, &two);
        refused(read(&store, &descriptor(&manifest)), &["layers: 2 are modules"]);
    }
    let manifest = store.image(&json!({ "Entrypoint": ["app.wasm"] }), &[two[1], (LAYER, Some("app.wasm"), b"again")]);
    refused(read(&store, &descriptor(&manifest)), &["layers: 2 are modules"]);
}

#[test]
fn what_wasm_to_oci_made_is_read() {
    let mut store = Store::default();
    let config = store.put("application/vnd.wasm.config.v1+json", b"{}");
    let layer = store.put("application/vnd.wasm.content.layer.v1+wasm", MODULE);
    let manifest = store.manifest(&config, &[layer]);
    let found = artifact(&store, &manifest);
    assert_eq!((found.form, bytes(&store, &found).unwrap().as_slice()), (Form::Old, MODULE));
}

#[test]
fn a_usual_image_is_told_apart() {
    let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
    for (os, architecture, kind) in [("linux", "amd64", tar), ("wasi", "wasm", tar), ("linux", "amd64", LAYER)] {
        let mut store = Store::default();
        let config = store.document(IMAGE, &json!({ "architecture": architecture, "os": os, "config": { "Entrypoint": ["/a.wasm"] } }));
        let layer = store.put(kind, b"tar");
        let manifest = store.manifest(&config, &[layer]);
        assert_eq!(read(&store, &descriptor(&manifest)), Ok(Kind::Image(format!("{os}/{architecture}"))));
    }
    let mut store = Store::default();
    let config = store.document("application/vnd.cncf.helm.config.v1+json", &json!({}));
    let manifest = store.manifest(&config, &[]);
    refused(read(&store, &descriptor(&manifest)), &["config.mediaType", "helm", "neither"]);
    let config = store.document(IMAGE, &json!({ "architecture": "wasm", "os": "plan9" }));
    let layer = store.put(LAYER, MODULE);
    let manifest = store.manifest(&config, &[layer]);
    refused(read(&store, &descriptor(&manifest)), &["os: \"plan9\""]);
}

#[test]
fn hostile_strings_of_a_configuration_are_refused() {
    for (execution, field) in [
        (json!({ "Entrypoint": ["a\0b"] }), "config.Entrypoint[0]"),
        (json!({ "Cmd": ["a", "\0"] }), "config.Cmd[1]"),
        (json!({ "Env": ["A=1", "B=\0"] }), "config.Env[1]"),
        (json!({ "Env": ["nothing"] }), "config.Env[0]"),
        (json!({ "Env": ["=x"] }), "config.Env[0]"),
    ] {
        let mut store = Store::default();
        let manifest = store.image(&execution, &[(LAYER, None, MODULE)]);
        refused(read(&store, &descriptor(&manifest)), &[field]);
    }
}

#[test]
fn a_name_chooses_an_image() {
    let mut store = Store::default();
    let (a, b) = (store.artifact("wasip1", None, b"a"), store.artifact("wasip1", None, b"b"));
    let both = index(&[named(a.clone(), "one"), named(b.clone(), "two")]);
    let digest = |d: &Value| descriptor(d).digest;
    assert_eq!(choose(&store, &both, Some("two")).unwrap().digest, digest(&b));
    refused(choose(&store, &both, Some("three")), &["\"three\"", "\"one\", \"two\""]);
    refused(choose(&store, &both, None), &["several", "\"one\", \"two\""]);
    refused(choose(&store, &index(&[]), None), &["no image"]);
    assert_eq!(choose(&store, &index(&[a.clone()]), None).unwrap().digest, digest(&a));
    refused(choose(&store, &index(&[a.clone(), b.clone()]), None), &["several"]);
    // One image of two names is one.
    let twice = index(&[named(a.clone(), "one"), named(a.clone(), "latest")]);
    assert_eq!(choose(&store, &twice, None).unwrap().digest, digest(&a));
    let many: Vec<_> = (0..5000).map(|n| named(a.clone(), &format!("n{n}"))).collect();
    refused(choose(&store, &index(&many), Some("x\u{1b}[31m")), &["4990 more", "\\u{1b}"]);
}

#[test]
fn of_several_platforms_the_latest_wasi_is_taken() {
    let mut store = Store::default();
    let images: Vec<_> = ["linux", "wasi", "wasip1", "wasip2"].map(|os| store.artifact("wasip1", None, os.as_bytes())).into();
    let mut list: Vec<_> =
        images.iter().zip(["linux", "wasi", "wasip1", "wasip2"]).map(|(d, os)| for_platform(d.clone(), os, "wasm")).collect();
    list[0] = for_platform(images[0].clone(), "linux", "amd64");
    for best in [3, 2, 1] {
        let expected = descriptor(&images[best]).digest;
        assert_eq!(choose(&store, &index(&list[..=best]), None).unwrap().digest, expected);
        let inner = store.document(INDEX, &json!({ "schemaVersion": 2, "manifests": list[..=best] }));
        assert_eq!(choose(&store, &index(&[named(inner, "multi")]), None).unwrap().digest, expected);
    }
    refused(choose(&store, &index(&list[..1]), None), &["no image for wasm", "linux/amd64"]);
    let signature = json!({ "mediaType": "application/vnd.other", "digest": sha256(b""), "size": 0 });
    refused(choose(&store, &index(&[signature]), None), &["application/vnd.other"]);
}

#[test]
fn indexes_end() {
    // As deep as is read, and one more.
    let mut store = Store::default();
    let mut inner = store.artifact("wasip1", None, MODULE);
    for depth in 1..=6 {
        inner = store.document(INDEX, &json!({ "schemaVersion": 2, "manifests": [inner] }));
        match choose(&store, &index(&[inner.clone()]), None) {
            Ok(_) => assert!(depth <= 4),
            Err(e) => assert!(depth > 4 && e.to_string().contains("within 4 others"), "{e}"),
        }
    }
    // Each level names the one below many times over.
    let mut level = store.artifact("wasip1", None, MODULE);
    for _ in 0..4 {
        level = store.document(INDEX, &json!({ "schemaVersion": 2, "manifests": vec![level; 1000] }));
    }
    assert!(choose(&store, &index(&vec![level; 1000]), None).is_ok());
    let many: Vec<_> = (0..1000).map(|n| store.document(INDEX, &json!({ "schemaVersion": 2, "manifests": [], "n": n }))).collect();
    refused(choose(&store, &index(&many), None), &["one index more than the 64"]);
    // A loop can't be, but for a store that gives what it was not asked for.
    let text = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": INDEX, "digest": sha256(b"x"), "size": 0 }] }).to_string();
    let size = text.replace("\"size\":0", "\"size\":000").len();
    store.0.insert(sha256(b"x"), text.into_bytes());
    let looped = json!({ "mediaType": INDEX, "digest": sha256(b"x"), "size": size - 2 });
    refused(choose(&store, &index(&[looped]), None), &["another digest"]);
}

#[test]
fn documents_are_one_thing() {
    let mut store = Store::default();
    let good = store.artifact("wasip1", None, MODULE);
    let manifest: Value = serde_json::from_slice(&store.0[good["digest"].as_str().unwrap()]).unwrap();
    let mut check = |change: &dyn Fn(&mut Value), words: &[&str]| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        let descriptor = descriptor(&store.document(MANIFEST, &manifest));
        refused(read(&store, &descriptor), words);
    };
    check(&|m| m["manifests"] = json!([]), &["manifests", "config or layers"]);
    check(&|m| m["mediaType"] = json!(INDEX), &["mediaType", "it was said to be"]);
    check(&|m| m["schemaVersion"] = json!(1), &["schemaVersion: 1"]);
    check(&|m| m["config"] = Value::Null, &["config: must be given"]);
    check(&|m| m["config"]["size"] = json!(-1), &["-1"]);
    check(&|m| m["config"]["size"] = json!(1_u64 << 40), &["blob sha256:", "may have"]);
    check(&|m| m["layers"] = json!({}), &["blob sha256:", "map"]);
    check(&|m| m["layers"] = json!("x".repeat(100_000)), &["..."]);
    let wrong = Descriptor::new(INDEX, descriptor(&good).digest, 7);
    refused(read(&store, &wrong), &["is no manifest"]);
    refused(Index::parse(b"{}", "index.json"), &["index.json: missing field"]);
    refused(Index::parse(b"{\"schemaVersion\":2}", "index.json"), &["manifests: must be given"]);
    refused(Index::parse(&b"[".repeat(100_000), "index.json"), &["index.json"]);
}

#[test]
fn a_digest_is_no_path() {
    let hex = "0".repeat(64);
    for good in [format!("sha256:{hex}"), format!("sha512:{hex}{hex}")] {
        assert_eq!(Digest::try_from(good.clone()).unwrap().to_string(), good);
    }
    for bad in [
        "", "sha256", "sha256:", "sha256:../../../../etc/passwd", "../x:00", "md5:00", &format!("sha256:{}/", &hex[1..]),
        &format!("sha256:{}A", &hex[1..]), &format!("sha512:{hex}"), &format!("sha256:{hex}\n"), &format!("sha256:{}\u{e9}", &hex[2..]),
    ] {
        refused(Digest::try_from(bad.to_owned()), &["digest"]);
        let text = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": MANIFEST, "digest": bad, "size": 1 }] }).to_string();
        refused(Index::parse(text.as_bytes(), "index.json"), &["index.json: digest"]);
    }
}

#[test]
fn bytes_of_another_length_or_digest_never_end_well() {
    let mut store = Store::default();
    let manifest = store.artifact("wasip1", None, MODULE);
    let found = artifact(&store, &manifest);
    for (wrong, word) in [
        (b"\0asm\x01\0\0\x01".to_vec(), "another digest"), (MODULE[..7].to_vec(), "ends after 7 of 8"),
        ([MODULE, b"x"].concat(), "more than the 8 bytes"), (Vec::new(), "ends after 0"),
    ] {
        store.0.insert(found.module.digest.to_string(), wrong);
        let error = bytes(&store, &found).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(&found.module.digest.to_string()), "{error}");
    }
    let mut large = found.clone();
    large.module.size = LARGEST_MODULE + 1;
    assert!(large.open(&store).is_err());
    // Of an empty blob too.
    let empty = descriptor(&store.put(MANIFEST, b""));
    refused(read(&store, &empty), &["blob sha256:e3b0c442"]);
}

#[test]
fn sha512_is_a_digest_too() {
    let mut store = Store::default();
    let digest = format!("sha512:{}", sha2::Sha512::digest(MODULE).iter().map(|b| format!("{b:02x}")).collect::<String>());
    store.0.insert(digest.clone(), MODULE.to_owned());
    let config = store.document(ARTIFACT, &json!({ "architecture": "wasm", "os": "wasip1" }));
    let manifest = store.manifest(&config, &[json!({ "mediaType": "application/wasm", "digest": digest, "size": 8 })]);
    let found = artifact(&store, &manifest);
    assert_eq!(bytes(&store, &found).unwrap(), MODULE);
    store.0.insert(digest, b"\0asm\x02\0\0\0".to_vec());
    assert!(bytes(&store, &found).is_err());
}

/// A directory that is gone at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("hull-artifact-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("layout/blobs/sha256")).unwrap();
        std::fs::write(dir.join("layout/oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").unwrap();
        Dir(dir)
    }

    fn layout(&self) -> PathBuf {
        self.0.join("layout")
    }

    /// A layout with these blobs and this list.
    fn fill(&self, store: &Store, manifests: &[Value]) {
        for (digest, bytes) in &store.0 {
            std::fs::write(self.layout().join("blobs").join(digest.replace(':', "/")), bytes).unwrap();
        }
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        std::fs::write(self.layout().join("index.json"), index.to_string()).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn of_layout(path: &Path) -> Result<Kind, Error> {
    let layout = Layout::open(path)?;
    read(&layout, &choose(&layout, &layout.index()?, None)?)
}

#[test]
fn a_layout_is_read() {
    let dir = Dir::new("read");
    let mut store = Store::default();
    let manifest = store.artifact("wasip2", Some("tool.wasm"), MODULE);
    dir.fill(&store, &[manifest]);
    let Kind::Artifact(found) = of_layout(&dir.layout()).unwrap() else { panic!("no artifact") };
    let layout = Layout::open(&dir.layout()).unwrap();
    let mut bytes = Vec::new();
    found.open(&layout).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, MODULE);
    // Blobs may be links, as long as they stay inside.
    let blob = dir.layout().join("blobs/sha256").join(found.module.digest.hex());
    std::fs::rename(&blob, dir.layout().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere", &blob).unwrap();
    assert!(found.open(&layout).is_ok());
}

#[test]
fn a_layout_of_another_version_is_refused() {
    let dir = Dir::new("version");
    refused(Layout::open(&dir.0.join("nowhere")), &["nowhere: no such file or directory"]);
    refused(Layout::open(&dir.0), &["oci-layout: no such file or directory"]);
    for (text, word) in [("{\"imageLayoutVersion\": \"2.0.0\"}", "imageLayoutVersion: \"2.0.0\""), ("{}", "imageLayoutVersion"), ("", "oci-layout")] {
        std::fs::write(dir.layout().join("oci-layout"), text).unwrap();
        refused(Layout::open(&dir.layout()), &[word]);
    }
}

#[test]
fn a_layout_leads_nowhere_else() {
    let dir = Dir::new("links");
    let mut store = Store::default();
    let manifest = store.artifact("wasip1", None, MODULE);
    dir.fill(&store, &[manifest.clone()]);
    let blob = dir.layout().join("blobs").join(manifest["digest"].as_str().unwrap().replace(':', "/"));
    let index = dir.layout().join("index.json");
    for file in [&blob, &index] {
        let aside = dir.0.join("aside");
        std::fs::rename(file, &aside).unwrap();
        for link in [aside.as_path(), Path::new("../../../aside"), Path::new("/proc/self/mem"), Path::new("/dev/zero")] {
            std::os::unix::fs::symlink(link, file).unwrap();
            refused(of_layout(&dir.layout()), &[file.file_name().unwrap().to_str().unwrap(), "out of the layout"]);
            std::fs::remove_file(file).unwrap();
        }
        std::os::unix::fs::symlink(file.file_name().unwrap(), file).unwrap();
        refused(of_layout(&dir.layout()), &[file.file_name().unwrap().to_str().unwrap(), "symbolic links"]);
        std::fs::remove_file(file).unwrap();
        std::fs::rename(&aside, file).unwrap();
    }
    let blobs = dir.layout().join("blobs/sha256");
    std::fs::rename(&blobs, dir.0.join("sha256")).unwrap();
    std::os::unix::fs::symlink(dir.0.join("sha256"), &blobs).unwrap();
    refused(of_layout(&dir.layout()), &["out of the layout"]);
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let dir = Dir::new("fifo");
    let mut store = Store::default();
    let manifest = store.artifact("wasip1", None, MODULE);
    dir.fill(&store, &[manifest.clone()]);
    let blob = dir.layout().join("blobs").join(manifest["digest"].as_str().unwrap().replace(':', "/"));
    for file in [blob, dir.layout().join("index.json"), dir.layout().join("oci-layout")] {
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
        refused(of_layout(&dir.layout()), &["is no regular file"]);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        refused(of_layout(&dir.layout()), &["is no regular file"]);
    }
}

#[test]
fn huge_files_are_refused() {
    let dir = Dir::new("huge");
    let mut store = Store::default();
    let manifest = store.artifact("wasip1", None, MODULE);
    let index = [manifest.clone()];
    dir.fill(&store, &index);
    let blob = dir.layout().join("blobs").join(manifest["digest"].as_str().unwrap().replace(':', "/"));
    std::fs::File::create(&blob).unwrap().set_len(1 << 40).unwrap();
    refused(of_layout(&dir.layout()), &["more than the"]);
    std::fs::File::create(dir.layout().join("index.json")).unwrap().set_len(1 << 40).unwrap();
    refused(of_layout(&dir.layout()), &["index.json: has more than 4194304 bytes"]);
}
