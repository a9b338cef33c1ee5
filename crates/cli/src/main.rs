//! The command `hull`: from the command line to the library, and from its results to output and exit code.

// Test programs begin in the test harness's own main.
#![cfg_attr(not(test), no_main)]

mod args;
mod argv;
mod commands;
mod completion;
mod doctor;
mod exec;
mod log;
mod oci;
mod root;
mod sandbox;
mod seal;
mod size;
mod table;

use std::io::Write as _;
use std::rc::Rc;

use hull_runtime::{Error, Result, Runtime, Severity};

use args::{CgroupManager, Command, Global, Rootless};

#[cfg(not(test))]
hull_sys::entry!(run);

/// Words that name a command which makes a process in a container.
const MAKE_PROCESSES: [&str; 5] = ["create", "run", "exec", "do", "mounts"];

/// The program: the result is its exit code.
#[cfg_attr(test, expect(dead_code, reason = "test programs begin in the test harness"))]
fn run() -> i32 {
    // Before anything costs time, as it is done anew after it. Where such a word is no command, little is lost.
    if std::env::args_os().skip(1).any(|a| MAKE_PROCESSES.iter().any(|word| a == *word))
        && let Err(e) = seal::protect()
    {
        eprintln!("{e}");
        return 1;
    }
    let cli = match argv::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(stop) => {
            // A reader that went away needs no help text.
            let _ = if stop.is_error() {
                std::io::stderr().write_all(stop.text.as_bytes())
            } else {
                std::io::stdout().write_all(stop.text.as_bytes())
            };
            return stop.code.into();
        }
    };
    let logger = match log::Logger::open(cli.global.log.as_deref(), cli.global.log_format, cli.global.level()) {
        Ok(logger) => Rc::new(logger),
        Err(e) => {
            eprintln!("{e}");
            return 1;
        }
    };
    // An error of exec must not look like an exit code of the program.
    let failure = if matches!(cli.command, Command::Exec(_)) { 255 } else { 1 };
    let doing = match cli.command {
        Command::Create(_) => format!("{} create failed: ", args::program()),
        Command::Run(_) => format!("{} run failed: ", args::program()),
        Command::Exec(_) => "exec failed: ".to_owned(),
        _ => String::new(),
    };
    let log_is_stderr = cli.global.log.is_none();
    let done = runtime(&cli.global, &logger).and_then(|runtime| commands::execute(&runtime, &logger, cli));
    match done {
        Ok(code) => {
            logger.release();
            code
        }
        Err(e) => {
            // Without a log it is the caller's terminal that hears of it, in the words of a shell.
            let plain = e.is_not_executed() && log_is_stderr;
            if plain {
                eprintln!("{e}");
            } else {
                logger.fatal(&format!("{doing}{e}"));
            }
            failure
        }
    }
}

fn runtime(global: &Global, logger: &Rc<log::Logger>) -> Result<Runtime> {
    let root = global.state_root();
    if global.root.is_none() {
        root::claim(&root)?;
    }
    let mut runtime = Runtime::new(root);
    match global.rootless {
        Rootless::True => runtime.rootless = true,
        Rootless::False => runtime.rootless = false,
        Rootless::Auto => {}
    }
    match global.manager() {
        CgroupManager::Cgroupfs => {}
        CgroupManager::Disabled => runtime.no_cgroups = true,
        CgroupManager::Systemd => {
            return Err(Error::new("the systemd cgroup driver (--systemd-cgroup) is not supported yet; use cgroupfs"));
        }
    }
    runtime.notify_socket = std::env::var_os("NOTIFY_SOCKET").filter(|s| !s.is_empty()).map(Into::into);
    runtime.verbose = global.level() == log::Level::Debug;
    let logger = Rc::clone(logger);
    runtime.report = Box::new(move |severity, text| match severity {
        Severity::Warning => logger.warn(text),
        Severity::Debug => logger.debug(text),
    });
    Ok(runtime)
}
