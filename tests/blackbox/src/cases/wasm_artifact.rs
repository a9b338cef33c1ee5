//! Wasm artifacts: `do` with the images of an OCI layout's directory, well-made and not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::Digest;

use crate::call::{Call, Output};
use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::ctx::Ctx;

pub(crate) const CASES: &[Case] = &[
    case!(artifact, "the CNCF's artifact runs, named by its title"),
    case!(component, "so does one that is a component"),
    case!(image, "runwasi's image runs, with entry point, arguments and environment of its configuration"),
    case!(arguments, "given arguments take the place of the image's own"),
    case!(function, "an entry point may name a function"),
    case!(older, "what wasm-to-oci made runs"),
    case!(chosen_by_name, "a name chooses the image, and without one there must be just one"),
    case!(chosen_by_platform, "of several platforms the one for Wasm is taken, in an index within the index too"),
    case!(sandboxed, "it has the sandbox, exit code and standard streams of any module, and no file of its own there"),
    case!(compiled_once, "its code is kept as that of a file is"),
    case!(usual_image, "a usual image is refused as what it is"),
    case!(foreign, "so is what is no Wasm, and an artifact that contradicts itself"),
    case!(changed_blob, "a blob of another digest or length is refused by name, be it module, manifest or configuration"),
    case!(links, "no link leads out of the layout"),
    case!(no_file, "a fifo, a directory and a device are refused, and not waited for"),
    case!(digest_is_no_path, "a digest with a path in it is refused"),
    case!(huge, "what is larger than any real one is refused, and soon"),
    case!(indexes, "indexes that never end, and many of them, are refused, and soon"),
    case!(missing, "what isn't there is named"),
    case!(only_wasm, "with another isolation, the notation means nothing"),
    case!(rootless, "an ordinary user runs one"),
];

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const IMAGE: &str = "application/vnd.oci.image.config.v1+json";
const RUNWASI: &str = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm";

/// A layout being made.
struct Layout<'a> {
    ctx: &'a Ctx,
    dir: PathBuf,
    probe: Vec<u8>,
}

impl<'a> Layout<'a> {
    /// Skips where there is no engine, or no compiler that made the probe.
    fn new(ctx: &'a Ctx) -> Result<Layout<'a>, Stop> {
        if !ctx.is_hull() {
            skip!("hull's own");
        }
        if !ctx.runtime.with_file_name("hull-wasm").exists() {
            skip!("hull-wasm is not built");
        }
        let Ok(probe) = fs::read(ctx.base.join("bin/probe.wasm")) else { skip!("no clang for wasm32-wasi") };
        let dir = ctx.host_dir("layout");
        fs::create_dir_all(dir.join("blobs/sha256"))?;
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Layout { ctx, dir, probe })
    }

    fn blob(&self, descriptor: &Value) -> PathBuf {
        self.dir.join("blobs").join(descriptor["digest"].as_str().unwrap_or_default().replace(':', "/"))
    }

    fn put(&self, kind: &str, bytes: &[u8]) -> Result<Value, Stop> {
        let hex: String = sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        let descriptor = json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() });
        fs::write(self.blob(&descriptor), bytes)?;
        Ok(descriptor)
    }

    fn document(&self, kind: &str, document: &Value) -> Result<Value, Stop> {
        self.put(kind, document.to_string().as_bytes())
    }

    fn manifest(&self, kind: &str, config: &Value, layers: &[Value]) -> Result<Value, Stop> {
        let config = self.document(kind, config)?;
        self.document(MANIFEST, &json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }))
    }

    /// The CNCF's form.
    fn artifact(&self, title: &str, module: &[u8]) -> Result<Value, Stop> {
        let mut layer = self.put(LAYER, module)?;
        layer["annotations"] = json!({ "org.opencontainers.image.title": title });
        let config = json!({ "architecture": "wasm", "os": "wasip1", "layerDigests": [layer["digest"]] });
        self.manifest(CONFIG, &config, &[layer])
    }

    /// runwasi's form.
    fn image(&self, execution: &Value) -> Result<Value, Stop> {
        let layer = self.put(RUNWASI, &self.probe)?;
        self.manifest(IMAGE, &json!({ "architecture": "wasm", "os": "wasi", "config": execution }), &[layer])
    }

    fn index(&self, manifests: &[Value]) -> Done {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        Ok(fs::write(self.dir.join("index.json"), index.to_string())?)
    }

    /// `do` with options before the program; `name` begins with a colon where there is one.
    fn call(&self, options: &[&str], name: &str, args: &[&str]) -> Call {
        let program = format!("oci:{}{name}", self.dir.display());
        self.ctx.call(&["do", "--isolation", "wasm"]).args(options).args(&["--", &program]).args(args)
    }

    fn run(&self, name: &str, args: &[&str]) -> Result<Output, Stop> {
        self.call(&[], name, args).run()
    }

    /// It fails, soon, and says one of these words.
    #[track_caller]
    fn refused(&self, words: &[&str]) -> Done {
        let begun = Instant::now();
        let out = self.run("", &["exit", "0"])?.fails()?.names(words)?;
        check!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
        check!(out.code == 1 && out.err.contains("oci:") && out.err.len() < 3000, "{}", out.text());
        Ok(())
    }
}

fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    descriptor
}

fn platform(mut descriptor: Value, os: &str, architecture: &str) -> Value {
    descriptor["platform"] = json!({ "os": os, "architecture": architecture });
    descriptor
}

fn artifact(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    layout.index(&[layout.artifact("tool.wasm", &layout.probe)?])?;
    same!(layout.run("", &["args", "a b", ""])?.ok()?.out, "tool.wasm\nargs\na b\n\n", "arguments");
    // From where it lies.
    let call = ctx.call(&["do", "--isolation", "wasm", "--", "oci:.", "args"]).cwd(&layout.dir);
    same!(call.run()?.ok()?.out, "tool.wasm\nargs\n", "arguments");
    Ok(())
}

fn component(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    let text = "(component (core module $m (func (export \"run\") (result i32) (i32.const 1)))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i \"run\")))
            (instance $run (export \"run\" (func $run)))
            (export \"wasi:cli/run@0.2.0\" (instance $run)))";
    let layer = layout.put(LAYER, text.as_bytes())?;
    let config = json!({ "architecture": "wasm", "os": "wasip2", "layerDigests": [layer["digest"]],
        "component": { "exports": ["wasi:cli/run@0.2.0"], "imports": [] } });
    layout.index(&[layout.manifest(CONFIG, &config, &[layer])?])?;
    layout.run("", &[])?.code(1)?;
    Ok(())
}

fn image(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    layout.index(&[layout.image(&json!({ "Entrypoint": ["/app.wasm", "args"], "Cmd": ["own"] }))?])?;
    same!(layout.run("", &[])?.ok()?.out, "/app.wasm\nargs\nown\n", "arguments");
    layout.index(&[layout.image(&json!({ "Entrypoint": ["app.wasm", "env"], "Env": ["A=of the image", "B=2"] }))?])?;
    let out = layout.call(&["--env", "B=given"], "", &[]).env("A", "of the caller").env("TOKEN", "of the caller").run()?.ok()?.out;
    check!(!out.contains("TOKEN"), "the caller's environment is the module's: {out}");
    let of = |key: &str| out.lines().filter(|l| l.starts_with(key)).map(str::to_owned).collect::<Vec<_>>();
    same!((of("A="), of("B=")), (vec!["A=of the image".to_owned()], vec!["B=given".to_owned()]), "environment");
    Ok(())
}

fn arguments(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    layout.index(&[layout.image(&json!({ "Entrypoint": ["app.wasm"], "Cmd": ["env"] }))?])?;
    same!(layout.run("", &["args", "x"])?.ok()?.out, "app.wasm\nargs\nx\n", "arguments");
    layout.index(&[layout.image(&json!({ "Cmd": ["app.wasm", "env"] }))?])?;
    same!(layout.run("", &["args", "x"])?.ok()?.out, "app.wasm\nargs\nx\n", "arguments");
    Ok(())
}

fn function(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    layout.index(&[layout.image(&json!({ "Entrypoint": ["app.wasm#other"] }))?])?;
    same!(layout.run("", &[])?.ok()?.out, "other\n", "output");
    // A title is a name alone.
    layout.index(&[layout.artifact("app#other", &layout.probe)?])?;
    same!(layout.run("", &["args"])?.ok()?.out, "app#other\nargs\n", "output");
    Ok(())
}

fn older(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    let layer = layout.put("application/vnd.wasm.content.layer.v1+wasm", &layout.probe)?;
    layout.index(&[layout.manifest("application/vnd.wasm.config.v1+json", &json!({}), &[layer])?])?;
    same!(layout.run("", &["args"])?.ok()?.out, "module.wasm\nargs\n", "arguments");
    Ok(())
}

fn chosen_by_name(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    let one = named(layout.artifact("one.wasm", &layout.probe)?, "latest");
    let two = named(layout.artifact("two.wasm", &layout.probe)?, "registry.example/two:v1");
    layout.index(&[one, two])?;
    same!(layout.run(":latest", &["args"])?.ok()?.out, "one.wasm\nargs\n", "arguments");
    same!(layout.run(":registry.example/two:v1", &["args"])?.ok()?.out, "two.wasm\nargs\n", "arguments");
    for word in ["has several images", "latest", "registry.example/two:v1"] {
        layout.refused(&[word])?;
    }
    layout.run(":other", &["args"])?.fails()?.names(&["no image is called"])?.names(&["other"])?;
    Ok(())
}

fn chosen_by_platform(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    let linux = platform(layout.put(MANIFEST, b"not read")?, "linux", "amd64");
    let (one, two) = (layout.artifact("one.wasm", &layout.probe)?, layout.artifact("two.wasm", &layout.probe)?);
    let list = [linux.clone(), platform(one, "wasip1", "wasm"), platform(two, "wasip2", "wasm")];
    layout.index(&list)?;
    same!(layout.run("", &["args"])?.ok()?.out, "two.wasm\nargs\n", "arguments");
    let inner = layout.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": list[..2] }))?;
    layout.index(&[named(inner, "multi")])?;
    for name in ["", ":multi"] {
        same!(layout.run(name, &["args"])?.ok()?.out, "one.wasm\nargs\n", "arguments");
    }
    layout.index(&[linux])?;
    layout.refused(&["linux/amd64"])
}

fn sandboxed(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    layout.index(&[layout.artifact("tool.wasm", &layout.probe)?])?;
    layout.run("", &["exit", "42"])?.code(42)?;
    let out = layout.call(&[], "", &["cat"]).stdin(b"from outside").run()?.ok()?;
    same!((out.out.as_str(), out.err.as_str()), ("from outside", ""), "output");
    let new = layout.dir.join("new");
    layout.run("", &["write", new.to_str().unwrap_or_default()])?.ok()?;
    check!(!new.exists(), "a write reached the host");
    let path = layout.dir.join("tool.wasm");
    for path in ["tool.wasm", "/tool.wasm", path.to_str().unwrap_or_default()] {
        layout.run("", &["cat", path])?.code(1)?;
    }
    // A host's file by the name of the title is another.
    fs::write(layout.dir.join("tool.wasm"), "not a module")?;
    let path = layout.dir.join("tool.wasm").to_string_lossy().into_owned();
    let call = ctx.call(&["do", "--isolation", "wasm", "--", "oci:.", "cat", &path]).cwd(&layout.dir);
    same!(call.run()?.ok()?.out, "not a module", "a file of the module's name");
    Ok(())
}

fn compiled_once(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    layout.index(&[layout.artifact("tool.wasm", &layout.probe)?])?;
    for _ in 0..2 {
        layout.run("", &["exit", "0"])?.ok()?;
    }
    ctx.call(&["do", "--isolation", "wasm", "--"]).arg(ctx.base.join("bin/probe.wasm")).args(&["exit", "0"]).run()?.ok()?;
    same!(super::wasm::kept(ctx).len(), 1, "files of code");
    Ok(())
}

fn usual_image(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    for (os, architecture) in [("linux", "amd64"), ("wasi", "wasm")] {
        let layer = layout.put("application/vnd.oci.image.layer.v1.tar+gzip", b"tar")?;
        let config = json!({ "architecture": architecture, "os": os, "config": { "Entrypoint": ["/app.wasm"] } });
        layout.index(&[layout.manifest(IMAGE, &config, &[layer])?])?;
        layout.refused(&[&format!("is a usual image ({os}/{architecture})")])?;
    }
    Ok(())
}

fn foreign(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    layout.index(&[layout.artifact("tool.wasm", b"#!/bin/sh\n")?])?;
    layout.run("", &[])?.fails()?.names(&["tool.wasm"])?.names(&["cannot be compiled"])?;
    let wasm = layout.put(LAYER, &layout.probe)?;
    let other = layout.put(LAYER, b"\0asm\x01\0\0\0")?;
    for (config, layers, word) in [
        (json!({ "architecture": "amd64", "os": "wasip1" }), vec![wasm.clone()], "architecture"),
        (json!({ "architecture": "wasm", "os": "linux" }), vec![wasm.clone()], "must be wasip1 or wasip2"),
        (json!({ "architecture": "wasm", "os": "wasip1" }), vec![wasm.clone(), other.clone()], "there are 2"),
        (json!({ "architecture": "wasm", "os": "wasip1" }), vec![], "there are 0"),
        (json!({ "architecture": "wasm", "os": "wasip1", "layerDigests": [other["digest"]] }), vec![wasm.clone()], "layerDigests"),
    ] {
        layout.index(&[layout.manifest(CONFIG, &config, &layers)?])?;
        layout.refused(&[word])?;
    }
    layout.index(&[layout.manifest("application/vnd.cncf.helm.config.v1+json", &json!({}), &[])?])?;
    layout.refused(&["helm"])?;
    let both = json!({ "schemaVersion": 2, "manifests": [], "layers": [wasm], "config": other });
    layout.index(&[layout.document(MANIFEST, &both)?])?;
    layout.refused(&["manifests as an index does"])
}

fn changed_blob(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    let manifest = layout.artifact("tool.wasm", &layout.probe)?;
    layout.index(std::slice::from_ref(&manifest))?;
    let read: Value = serde_json::from_slice(&fs::read(layout.blob(&manifest))?)?;
    for descriptor in [&read["layers"][0], &read["config"], &manifest] {
        let (blob, digest) = (layout.blob(descriptor), descriptor["digest"].as_str().unwrap_or_default());
        let good = fs::read(&blob)?;
        let mut changed = good.clone();
        *changed.last_mut().ok_or("an empty blob")? ^= 1;
        for (bytes, problem) in [(changed, "another digest"), (good[1..].to_vec(), "ends after"), ([&good[..], b" "].concat(), "more than")] {
            fs::write(&blob, bytes)?;
            layout.refused(&[&format!("{digest}: {problem}"), &format!("{digest}: has {problem}"), &format!("{digest}: its bytes have {problem}")])?;
        }
        fs::write(&blob, good)?;
    }
    layout.run("", &["exit", "0"])?.ok()?;
    Ok(())
}

fn links(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    let manifest = layout.artifact("tool.wasm", &layout.probe)?;
    layout.index(std::slice::from_ref(&manifest))?;
    let aside = ctx.host_dir("aside").join("file");
    for file in [layout.blob(&manifest), layout.dir.join("index.json"), layout.dir.join("oci-layout")] {
        fs::rename(&file, &aside)?;
        let up = format!("../../../../../../../../../..{}", aside.display());
        for link in [aside.as_path(), Path::new(&up), Path::new("/proc/self/exe"), Path::new("/dev/zero")] {
            symlink(link, &file)?;
            layout.refused(&["a link leads out of the layout"])?;
            fs::remove_file(&file)?;
        }
        fs::rename(&aside, &file)?;
    }
    let blobs = layout.dir.join("blobs");
    let moved = aside.with_file_name("blobs");
    fs::rename(&blobs, &moved)?;
    symlink(&moved, &blobs)?;
    layout.refused(&["a link leads out of the layout"])?;
    // One that stays inside is as good as a file.
    fs::remove_file(&blobs)?;
    fs::rename(&moved, layout.dir.join("elsewhere"))?;
    symlink("elsewhere", &blobs)?;
    layout.run("", &["exit", "0"])?.ok()?;
    Ok(())
}

fn no_file(ctx: &Ctx) -> Done {
    use rustix::fs::{CWD, FileType, mknodat};
    let layout = Layout::new(ctx)?;
    let manifest = layout.artifact("tool.wasm", &layout.probe)?;
    layout.index(std::slice::from_ref(&manifest))?;
    for file in [layout.blob(&manifest), layout.dir.join("index.json"), layout.dir.join("oci-layout")] {
        let aside = layout.dir.join("aside");
        fs::rename(&file, &aside)?;
        // A console, which a reader would wait for.
        for (kind, device) in [(FileType::Fifo, 0), (FileType::Socket, 0), (FileType::CharacterDevice, rustix::fs::makedev(5, 1))] {
            if mknodat(CWD, &file, kind, 0o666.into(), device).is_ok() {
                layout.refused(&["is no regular file"])?;
                fs::remove_file(&file)?;
            }
        }
        fs::create_dir(&file)?;
        layout.refused(&["is no regular file"])?;
        fs::remove_dir(&file)?;
        fs::rename(&aside, &file)?;
    }
    Ok(())
}

fn digest_is_no_path(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    let secret = ctx.host_file("secret", "of the host\n");
    let up = format!("sha256:../../../../../../../..{}", secret.display());
    for digest in [up.as_str(), "sha256/../..:00", "sha256:..", "", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        layout.index(&[json!({ "mediaType": MANIFEST, "digest": digest, "size": 12 })])?;
        layout.refused(&["index.json: digest"])?;
    }
    Ok(())
}

fn huge(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    let manifest = layout.artifact("tool.wasm", &layout.probe)?;
    let mut said = manifest.clone();
    said["size"] = json!(1_u64 << 40);
    layout.index(&[said])?;
    layout.refused(&["may have"])?;
    layout.index(std::slice::from_ref(&manifest))?;
    fs::File::create(layout.blob(&manifest))?.set_len(1 << 40)?;
    layout.refused(&["more than the"])?;
    let mut layer = layout.put(LAYER, b"x")?;
    fs::File::create(layout.blob(&layer))?.set_len(1 << 40)?;
    layer["size"] = json!(1_u64 << 40);
    layout.index(&[layout.manifest(CONFIG, &json!({ "architecture": "wasm", "os": "wasip1" }), &[layer])?])?;
    layout.refused(&["may have"])?;
    fs::File::create(layout.dir.join("index.json"))?.set_len(1 << 40)?;
    layout.refused(&["index.json: has more than"])?;
    fs::write(layout.dir.join("index.json"), "[".repeat(1 << 20))?;
    layout.refused(&["index.json"])
}

fn indexes(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    let index = |manifests: &Value, n: usize| {
        layout.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "n": n }))
    };
    let mut level = layout.artifact("tool.wasm", &layout.probe)?;
    for n in 0..8 {
        level = index(&json!(vec![level; 500]), n)?;
    }
    layout.index(&[level])?;
    layout.refused(&["within 4 others"])?;
    let many = (0..200).map(|n| index(&json!([]), n)).collect::<Result<Vec<_>, _>>()?;
    layout.index(&many)?;
    layout.refused(&["one index more than the 64"])?;
    // One that names itself can't have its own digest.
    let mut looped = index(&json!([]), 0)?;
    let text = json!({ "schemaVersion": 2, "manifests": [looped] }).to_string();
    fs::write(layout.blob(&looped), &text)?;
    looped["size"] = json!(text.len());
    layout.index(&[looped])?;
    layout.refused(&["another digest"])
}

fn missing(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    layout.refused(&["index.json: no such file or directory"])?;
    let manifest = layout.artifact("tool.wasm", &layout.probe)?;
    layout.index(std::slice::from_ref(&manifest))?;
    fs::remove_file(layout.blob(&manifest))?;
    let hex = manifest["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:").to_owned();
    layout.refused(&[&format!("blobs/sha256/{hex}: no such file or directory")])?;
    fs::remove_file(layout.dir.join("oci-layout"))?;
    layout.refused(&["oci-layout: no such file or directory"])?;
    let out = ctx.call(&["do", "--isolation", "wasm", "--", "oci:/no/such/directory"]).run()?;
    out.fails()?.names(&["/no/such/directory: no such file or directory"])?;
    Ok(())
}

fn only_wasm(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    layout.index(&[layout.artifact("tool.wasm", &layout.probe)?])?;
    let out = ctx.call(&["do", "--"]).arg(format!("oci:{}", layout.dir.display())).run()?;
    out.fails()?.names(&["no such file or directory"])?;
    Ok(())
}

fn rootless(ctx: &Ctx) -> Done {
    let layout = Layout::new(ctx)?;
    ctx.need_userns()?;
    layout.index(&[layout.artifact("tool.wasm", &layout.probe)?])?;
    fs::create_dir_all(ctx.dir.join("rootless"))?;
    crate::ctx::chown(&ctx.dir.join("rootless"), 1000);
    let program = format!("oci:{}", layout.dir.display());
    let call = super::rootless::call(ctx, &["do", "--isolation", "wasm", "--", &program, "args"]).cwd("/");
    same!(call.run()?.ok()?.out, "tool.wasm\nargs\n", "arguments");
    Ok(())
}
