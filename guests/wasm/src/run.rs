//! `hull-wasm run`: the jail's last step.
//!
//! Arguments: the number of a descriptor with the boot message, that of one with the code, then those of the module,
//! its own name first. Everything else is the process's own as the jail made it: environment, working directory,
//! standard descriptors, root directory.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};

use hull_guest::wasm::{BootMessage, Files};
use wasmtime::{Engine, Error, Precompiled, Result, Store, Trap};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

use crate::engine::Kind;
use crate::host;

/// What `wasmtime run` ends with where a module traps: 128 and SIGABRT.
const TRAPPED: i32 = 134;

/// Runs. The result is the exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> i32 {
    match run(args) {
        Ok(code) => code,
        Err(e) => match e.downcast_ref::<I32Exit>() {
            Some(exit) => exit.0,
            None => {
                eprintln!("Error: {e:?}");
                if e.downcast_ref::<Trap>().is_some() { TRAPPED } else { 1 }
            }
        },
    }
}

fn run(mut args: impl Iterator<Item = OsString>) -> Result<i32> {
    // First of all, lest one that comes early be lost.
    let signals = hull_sys::signal::Waiter::new();
    // The container's nsswitch.conf would have its own libraries loaded.
    hull_sys::net::look_up_plainly()?;
    let mut descriptor = || -> Result<File> {
        let number = args.next().and_then(|a| a.to_str()?.parse::<RawFd>().ok()).filter(|n| *n > 2);
        let number = number.ok_or_else(|| Error::msg("hull-wasm run: a descriptor's number is missing"))?;
        // SAFETY: hull opened it for this process, which has made no use of the number yet.
        Ok(unsafe { OwnedFd::from_raw_fd(number) }.into())
    };
    let (mut message, code) = (descriptor()?, descriptor()?);
    let mut text = String::new();
    message.read_to_string(&mut text)?;
    let boot: BootMessage = serde_json::from_str(&text).map_err(|e| Error::msg(format!("boot message: {e}")))?;
    let args: Vec<_> = args.map(|a| a.to_string_lossy().into_owned()).collect();
    let loaded = Workload::load(boot.limits.fuel.is_some(), boot.http.requests as usize, code);
    let (engine, workload) = loaded.map_err(|e| {
        let name = args.first().map_or("", String::as_str);
        e.context(format!("module \"{name}\": the code that hull keeps of it is damaged, or can't be loaded"))
    })?;
    let served = match &workload {
        Workload::Component(component) if crate::http::serves(&engine, component, &boot) => Some(component),
        _ => None,
    };
    // Many instances share what their memories begin with, if it can be had now: not from under the filter.
    let _ = served.map(|component| component.initialize_copy_on_write_image());
    crate::confine::runner()?;
    if let Some(component) = served {
        return crate::http::serve(&engine, component, boot, args, signals);
    }
    // At once, whatever the module does.
    signals.end()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_stack_size(1 << 20).build()?;
    let done = runtime.block_on(workload.run(&engine, &boot, args));
    // The process ends now: to take apart what it holds would only take time.
    std::mem::forget((runtime, workload, engine));
    done.map(|()| 0)
}

/// Code that is mapped and not yet running.
enum Workload {
    Module(wasmtime::Module),
    Component(wasmtime::component::Component),
}

impl Workload {
    fn load(counted: bool, instances: usize, code: File) -> Result<(Engine, Workload)> {
        let bytes = hull_sys::memory::map(code.as_fd())?;
        // SAFETY: nobody writes to the file.
        let kind = Engine::detect_precompiled(unsafe { bytes.as_ref() });
        let engine = crate::engine::engine(Kind { counted, interrupted: false })?;
        // SAFETY: hull made the code, in a directory that no container sees, and handed it over by a descriptor that
        // nobody can write to. Code of another configuration is refused.
        let component = |engine: &Engine| unsafe {
            wasmtime::component::Component::deserialize_raw(engine, bytes).map(Workload::Component)
        };
        if let Some(Precompiled::Module) = kind {
            // By its file, from which memories begin as private mappings.
            // SAFETY: as above.
            let module = unsafe { wasmtime::Module::deserialize_open_file(&engine, code)? };
            return Ok((engine, Workload::Module(module)));
        }
        if let Ok(workload) = component(&engine) {
            return Ok((engine, workload));
        }
        // One that is served: the compiler saw it by its exports.
        let kind = Kind { counted, interrupted: true };
        if let Ok(engine) = crate::engine::pooled(kind, instances)
            && let Ok(workload) = component(&engine)
        {
            return Ok((engine, workload));
        }
        // It doesn't fit in any place.
        let engine = crate::engine::engine(kind)?;
        component(&engine).map(|workload| (engine, workload))
    }

    async fn run(&self, engine: &Engine, boot: &BootMessage, args: Vec<String>) -> Result<()> {
        match self {
            Workload::Module(module) => run_module(engine, module, boot, args).await,
            Workload::Component(component) => run_component(engine, component, boot, args).await,
        }
    }
}

async fn run_module(engine: &Engine, module: &wasmtime::Module, boot: &BootMessage, args: Vec<String>) -> Result<()> {
    let linker = host::core_linker(engine)?;
    let limits = host::Limits::new(boot, &host::Pool::new(boot));
    let mut store = store(engine, boot, host::Core { wasi: command(boot, args)?.build_p1(), limits })?;
    store.limiter(|host| &mut host.limits);
    let instance = linker.instantiate_async(&mut store, module).await?;
    let name = boot.function.as_deref().unwrap_or("_start");
    if boot.function.is_some()
        && let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, "_initialize")
    {
        initialize.call_async(&mut store, ()).await?;
    }
    let function = instance.get_func(&mut store, name).ok_or_else(|| missing(name))?;
    let kind = function.ty(&store);
    if kind.params().len() != 0 {
        return Err(Error::msg(format!("function \"{name}\" takes arguments, which an entry point must not")));
    }
    let mut results: Vec<_> = kind.results().map(|_| wasmtime::Val::I32(0)).collect();
    let done = function.call_async(&mut store, &[], &mut results).await;
    std::mem::forget((store, linker));
    done
}

async fn run_component(
    engine: &Engine,
    component: &wasmtime::component::Component,
    boot: &BootMessage,
    args: Vec<String>,
) -> Result<()> {
    let linker = host::component_linker(engine, component)?;
    let state = host::Component::new(command(boot, args)?.build(), host::Limits::new(boot, &host::Pool::new(boot)));
    let mut store = store(engine, boot, state)?;
    store.limiter(|host| &mut host.limits);
    let instance = linker.instantiate_async(&mut store, component).await?;
    if let Some(name) = &boot.function {
        let function = instance.get_typed_func::<(), ()>(&mut store, name.as_str())?;
        return function.call_async(&mut store, ()).await;
    }
    let done = if let Ok(command) = wasmtime_wasi::p3::bindings::Command::new(&mut store, &instance) {
        store.run_concurrent(async |store| command.wasi_cli_run().call_run(store).await).await??
    } else {
        let command = wasmtime_wasi::p2::bindings::Command::new(&mut store, &instance)?;
        command.wasi_cli_run().call_run(&mut store).await?
    };
    done.map_err(|()| I32Exit(1).into())
}

fn missing(name: &str) -> Error {
    Error::msg(format!("the module has no function \"{name}\""))
}

/// A store for one that runs, with what its limits say of it but [`host::Limits`].
pub(crate) fn store<T: Send + 'static>(engine: &Engine, boot: &BootMessage, data: T) -> Result<Store<T>> {
    let mut store = Store::new(engine, data);
    // Without a clock, nothing is interrupted.
    store.set_epoch_deadline(1);
    if let Some(fuel) = boot.limits.fuel {
        store.set_fuel(fuel)?;
    }
    Ok(store)
}

/// What the environment has.
pub(crate) fn environment() -> Vec<(String, String)> {
    let text = |s: OsString| s.to_string_lossy().into_owned();
    std::env::vars_os().map(|(key, value)| (text(key), text(value))).collect()
}

/// What a command gets of the process: all that the jail left it.
fn command(boot: &BootMessage, args: Vec<String>) -> Result<WasiCtxBuilder> {
    let mut wasi = wasi(boot, &args, &environment())?;
    wasi.inherit_stdio().allow_blocking_current_thread(true);
    Ok(wasi)
}

/// The same without its standard streams.
pub(crate) fn wasi(boot: &BootMessage, args: &[String], env: &[(String, String)]) -> Result<WasiCtxBuilder> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.inherit_network().allow_tcp(true).allow_udp(true).allow_ip_name_lookup(true).args(args).envs(env);
    if boot.files == Files::None {
        return Ok(wasi);
    }
    // One directory, since the libraries of many languages mix up the names of several. Mounts below it are as they
    // are: the kernel keeps a read-only one read-only.
    wasi.preopened_dir("/", "/", FsPerms::ReadWrite)?;
    if let Some(here) = std::env::current_dir()?.to_str() {
        wasi.initial_cwd(here);
    }
    Ok(wasi)
}
