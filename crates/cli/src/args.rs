//! The command line of hull: every command, option and help text, defined once.
//!
//! Parser, help, shell completions and manual pages all come from here. Names follow runc, with crun's extras where
//! they do not collide. What a value means for a container is not known here; `argv` brings the arguments into the
//! order and spelling that the definition below takes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};

use crate::log;
use crate::size::{self, CpuShare};

/// A parsed command line.
#[derive(Debug)]
pub(crate) struct Cli {
    /// The options that every command has.
    pub(crate) global: Global,
    /// What to do.
    pub(crate) command: Command,
}

/// The commands: name, variant, what it holds, and the line that help shows.
macro_rules! commands {
    ($($name:literal => $variant:ident($args:ty), $about:literal;)*) => {
        /// What to do, with the options of that command.
        #[derive(Debug)]
        pub(crate) enum Command {
            $(#[doc = $about] $variant($args),)*
        }

        impl Command {
            /// The names of all commands, in the order of the help.
            pub(crate) const NAMES: &[&str] = &[$($name),*];

            /// The definition of one command. Commands are defined one by one, since a run needs only its own.
            pub(crate) fn define(name: &str) -> Option<clap::Command> {
                Some(match name {
                    $($name => <$args>::augment_args(clap::Command::new($name)).about($about).help_template(
                        format!(
                            "NAME:\n   {} {} - {{about}}\n\nUSAGE:\n   {{usage}}\n\n{{all-args}}{{after-help}}",
                            program(),
                            $name,
                        ),
                    ),)*
                    _ => return None,
                }
                .args_override_self(true))
            }

            pub(crate) fn read(name: &str, matches: &ArgMatches) -> Result<Command, clap::Error> {
                match name {
                    $($name => <$args>::from_arg_matches(matches).map(Command::$variant),)*
                    _ => Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand)),
                }
            }
        }
    };
}

commands! {
    "create" => Create(Create), "Create a container, whose program then waits for start";
    "start" => Start(Id), "Start the program of a created container";
    "run" => Run(Run), "Create a container, start it and wait for its end";
    "exec" => Exec(Exec), "Run another program in a running container";
    "state" => State(Id), "Print the state of a container as JSON";
    "list" => List(List), "List containers";
    "ps" => Ps(Ps), "List the processes of a container";
    "kill" => Kill(Kill), "Send a signal to the first process of a container";
    "delete" => Delete(Delete), "Remove a stopped container and all that it holds";
    "pause" => Pause(Id), "Freeze all processes of a container";
    "resume" => Resume(Id), "Let the processes of a paused container go on";
    "update" => Update(Update), "Change the resource limits of a container";
    "events" => Events(Events), "Print statistics and out-of-memory events of a container";
    "mounts" => Mounts(Mounts), "Add mounts to a running container, or remove them";
    "spec" => Spec(Spec), "Write a config.json to start from";
    "features" => Features(Features), "Print what this runtime supports as JSON";
    "do" => Do(Do), "Run a program in a sandbox without image or bundle";
    "doctor" => Doctor(Doctor), "Tell what this host supports, and what to do about the rest";
    "completion" => Completion(Completion), "Print a completion script for a shell";
    "man" => Man(Man), "Write the manual pages";
}

std::thread_local! {
    static PROGRAM: std::cell::Cell<&'static str> = const { std::cell::Cell::new("hull") };
}

/// Takes note of the name that the program was called by. Installed in place of another runtime, under its name, it
/// answers questions for help and version under that name, which is what those who ask look for.
pub(crate) fn called(argv0: Option<&OsString>) {
    let plain = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let name = argv0.and_then(|a| Path::new(a).file_name()?.to_str()).filter(plain);
    // One name for as long as the program runs.
    PROGRAM.set(name.map_or("hull", |name| String::leak(name.to_owned())));
}

/// The program's name in what people read.
pub(crate) fn program() -> &'static str {
    PROGRAM.get()
}

/// The program without its commands.
pub(crate) fn root() -> clap::Command {
    let name = program();
    Global::augment_args(clap::Command::new(name))
        .bin_name(name)
        .about("Open Container Initiative runtime")
        .args_override_self(true)
        .disable_help_subcommand(true)
        .override_usage(format!("{name} [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]"))
        .help_template(format!(
            "NAME:\n   {name} - {{about}}\n\nUSAGE:\n   {{usage}}\n\nCOMMANDS:\n{{subcommands}}\n\n\
             GLOBAL OPTIONS:\n{{options}}\n\n\
             '{name} COMMAND --help' tells more of a command.\n",
        ))
}

/// The whole definition, with every command.
pub(crate) fn full() -> clap::Command {
    Command::NAMES.iter().filter_map(|name| Command::define(name)).fold(root(), clap::Command::subcommand)
}

/// The options that every command has; they may stand before or after the command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Directory that holds the state of containers [default: /run/hull, or for a user $XDG_RUNTIME_DIR/hull]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,

    /// File that gets the log lines, instead of standard error
    #[arg(long, value_name = "FILE", value_parser = log_file)]
    pub(crate) log: Option<PathBuf>,

    /// Form of the log lines
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: log::Format,

    /// Least severe log lines to write
    #[arg(long, value_name = "LEVEL", default_value = "warning")]
    pub(crate) log_level: log::Level,

    /// Log what is done step by step, as --log-level debug
    #[arg(long)]
    pub(crate) debug: bool,

    /// Whether to go on where cgroups may not be changed: true, false or auto
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = rootless)]
    pub(crate) rootless: Rootless,

    /// What manages the cgroups of containers
    #[arg(long, value_name = "MANAGER", default_value = "cgroupfs")]
    pub(crate) cgroup_manager: CgroupManager,

    /// As --cgroup-manager systemd.
    #[arg(long, hide = true)]
    pub(crate) systemd_cgroup: bool,

    /// Print the version
    #[arg(long, short = 'v', short_alias = 'V')]
    pub(crate) version: bool,
}

impl Global {
    /// The least severe level that is logged.
    pub(crate) fn level(&self) -> log::Level {
        if self.debug { log::Level::Debug } else { self.log_level }
    }

    /// The state directory: as given, or where the caller may make one. It need not exist.
    pub(crate) fn state_root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(crate::root::usual)
    }

    /// What manages cgroups, `--systemd-cgroup` taken into account.
    pub(crate) fn manager(&self) -> CgroupManager {
        if self.systemd_cgroup { CgroupManager::Systemd } else { self.cgroup_manager }
    }
}

/// `--rootless`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rootless {
    /// A cgroup that may not be made is no error.
    True,
    /// It is an error.
    False,
    /// Decided by who calls.
    Auto,
}

/// `--cgroup-manager`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CgroupManager {
    /// hull writes to the cgroup file system.
    Cgroupfs,
    /// No cgroup is made.
    Disabled,
    /// A systemd unit is asked for.
    #[value(hide = true)]
    Systemd,
}

/// What `table or json` means to list and ps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// A command that takes the container's id and nothing else.
#[derive(Debug, Args)]
pub(crate) struct Id {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// What create, run and do have in common.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// How the program is isolated from the host [default: process]
    #[arg(long, value_name = "NAME")]
    pub(crate) isolation: Option<String>,

    /// Socket that receives a pidfd of the container's first process
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,

    /// Leave N descriptors from 3 up open for the program, after those of $LISTEN_FDS
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) preserve_fds: u32,

    /// Do not use pivot_root(2), for a root on a ramdisk; it is the less safe way
    #[arg(long)]
    pub(crate) no_pivot: bool,

    /// Keep the caller's session keyring
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
}

/// What create and run have in common.
#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// Id for the new container, unique on this host
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Directory with config.json and, mostly, the root file system
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,

    /// Another name for config.json, relative to the bundle
    #[arg(long, short = 'f', value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Socket that receives the master of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,

    /// File to write the process id to
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,

    /// Has no effect.
    #[arg(long, hide = true)]
    pub(crate) no_subreaper: bool,

    /// Options shared with do.
    #[command(flatten)]
    pub(crate) setup: Setup,
}

/// `hull create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// All of its options.
    #[command(flatten)]
    pub(crate) launch: Launch,
}

/// `hull run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Options shared with create.
    #[command(flatten)]
    pub(crate) launch: Launch,

    /// Return as soon as the program runs
    #[arg(long, short)]
    pub(crate) detach: bool,

    /// Do not delete the container when it ends
    #[arg(long)]
    pub(crate) keep: bool,
}

/// `hull exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Program and its arguments; all that follows the id belongs to it
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present = "process"
    )]
    pub(crate) command: Vec<OsString>,

    /// File with the process to run, as in config.json; only -d and files and sockets count beside it
    #[arg(long, short, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,

    /// Return as soon as the program runs
    #[arg(long, short)]
    pub(crate) detach: bool,

    /// Give the program a terminal
    #[arg(long, short)]
    pub(crate) tty: bool,

    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,

    /// Set an environment variable (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<OsString>,

    /// Numeric user, and group
    #[arg(long, short, value_name = "UID[:GID]", value_parser = user)]
    pub(crate) user: Option<User>,

    /// Numeric additional group (repeatable)
    #[arg(long, short = 'g', value_name = "GID")]
    pub(crate) additional_gids: Vec<u32>,

    /// Add a capability (repeatable)
    #[arg(long, short, value_name = "CAP")]
    pub(crate) cap: Vec<String>,

    /// Whether the program and its children may never gain privileges [default: as in config.json]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean)]
    pub(crate) no_new_privs: Option<bool>,

    /// SELinux label of the program
    #[arg(long, value_name = "LABEL")]
    pub(crate) process_label: Option<String>,

    /// AppArmor profile of the program
    #[arg(long, value_name = "PROFILE")]
    pub(crate) apparmor: Option<String>,

    /// Existing cgroup below the container's to run in (with a controller: repeatable)
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    pub(crate) cgroup: Vec<String>,

    /// Start the program in a paused container too; it runs after resume
    #[arg(long)]
    pub(crate) ignore_paused: bool,

    /// Socket that receives the master of the program's terminal
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,

    /// Socket that receives a pidfd of the program
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,

    /// File to write the process id to
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,

    /// Leave N descriptors from 3 up open for the program, after those of $LISTEN_FDS
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) preserve_fds: u32,
}

/// `--user` of exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    /// User id in the container.
    pub(crate) uid: u32,
    /// Group id in the container; that of config.json where not given.
    pub(crate) gid: Option<u32>,
}

/// `hull mounts`.
#[derive(Debug, Args)]
pub(crate) struct Mounts {
    /// What to do; removing looks at the destinations only
    #[arg(value_name = "ACTION")]
    pub(crate) action: MountsAction,

    /// Id of the container
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// File with a list of mounts, as the field "mounts" of config.json, or - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// What `hull mounts` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MountsAction {
    /// Make them: binds, whose sources are paths of the host, and tmpfs.
    Add,
    /// Remove what was added there.
    Remove,
}

/// `hull list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Form of the output
    #[arg(long, short, default_value = "table")]
    pub(crate) format: OutputFormat,

    /// Print ids only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// `hull ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Form of the output; json is an array of process ids
    #[arg(long, short, default_value = "table")]
    pub(crate) format: OutputFormat,

    /// Id of the container
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Arguments for ps(1) [default: -ef]
    #[arg(value_name = "PS ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// `hull kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Name or number of the signal
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    pub(crate) signal: String,

    /// No error where the container has stopped already.
    #[arg(long, short, hide = true)]
    pub(crate) all: bool,

    /// ID is a regular expression; all containers that match get the signal
    #[arg(long, short)]
    pub(crate) regex: bool,
}

/// `hull delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Kill the container first if it runs; an unknown id is no error
    #[arg(long, short)]
    pub(crate) force: bool,

    /// ID is a regular expression; all containers that match are deleted
    #[arg(long, short)]
    pub(crate) regex: bool,
}

/// `hull update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// JSON file with the new limits, as linux.resources of config.json; - for standard input
    ///
    /// What the file does not name is left unchanged. With this option all others are ignored.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,

    /// Share of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) blkio_weight: Option<u16>,

    /// Period of the CPU quota; 0 for the kernel's default
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<u64>,

    /// CPU time allowed in a period; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_quota: Option<i64>,

    /// Unused CPU time that may be saved for later periods
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_burst: Option<u64>,

    /// Share of CPU time against other containers
    #[arg(long, value_name = "SHARES")]
    pub(crate) cpu_share: Option<u64>,

    /// Period of the realtime quota; 0 for the kernel's default
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_rt_period: Option<u64>,

    /// Realtime CPU time allowed in a period
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_rt_runtime: Option<i64>,

    /// 1: run only where a CPU is otherwise idle; 0: normally
    #[arg(long, value_name = "0|1")]
    pub(crate) cpu_idle: Option<i64>,

    /// CPUs that may be used, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,

    /// Memory nodes that may be used, such as 0,1
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,

    /// Memory limit, such as 64M; -1 for none
    #[arg(long, value_name = "SIZE", value_parser = size::bytes_or_unlimited)]
    pub(crate) memory: Option<i64>,

    /// Memory that is left to the container while others want it
    #[arg(long, value_name = "SIZE", value_parser = size::bytes_or_unlimited)]
    pub(crate) memory_reservation: Option<i64>,

    /// Limit of memory and swap together; -1 for none
    #[arg(long, value_name = "SIZE", value_parser = size::bytes_or_unlimited)]
    pub(crate) memory_swap: Option<i64>,

    /// Has no effect: the kernel dropped this limit.
    #[arg(long, hide = true)]
    pub(crate) kernel_memory: Option<String>,

    /// Has no effect: the kernel dropped this limit.
    #[arg(long, hide = true)]
    pub(crate) kernel_memory_tcp: Option<String>,

    /// Most processes and threads; -1 for no limit
    #[arg(long, value_name = "N")]
    pub(crate) pids_limit: Option<i64>,

    /// Intel RDT schema of the L3 cache
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) l3_cache_schema: Option<String>,

    /// Intel RDT schema of the memory bandwidth
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) mem_bw_schema: Option<String>,
}

/// `hull events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Time between statistics
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = size::interval)]
    pub(crate) interval: Duration,

    /// Print the statistics once and end
    #[arg(long)]
    pub(crate) stats: bool,
}

/// `hull spec`.
#[derive(Debug, Args)]
pub(crate) struct Spec {
    /// Directory to write config.json to
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,

    /// Another name for config.json
    #[arg(long, short, alias = "config", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// For a user without privileges
    #[arg(long)]
    pub(crate) rootless: bool,
}

/// `hull features`.
#[derive(Debug, Args)]
pub(crate) struct Features {}

/// `hull do`.
#[derive(Debug, Args)]
#[command(after_help = "The program sees the host's files read-only under a layer of memory: writes work and vanish. It \
    has the default seccomp list, the usual container capabilities but CAP_MKNOD, and no device nodes but the default ones.")]
pub(crate) struct Do {
    /// Program and its arguments; with --isolation wasm, a module, or oci:DIR[:NAME] for an artifact in an OCI layout
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub(crate) command: Vec<OsString>,

    /// Directory that is the program's root, instead of the host's shown read-only
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<PathBuf>,

    /// Host path that the program may write to, and whose sockets and pipes it can use (repeatable)
    #[arg(long, value_name = "PATH")]
    pub(crate) rw: Vec<PathBuf>,

    /// Host path that the program may read; who listens at a socket below it can be talked to (repeatable)
    #[arg(long, value_name = "PATH")]
    pub(crate) ro: Vec<PathBuf>,

    /// Set an environment variable, or pass the caller's on (repeatable)
    #[arg(long, short, value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<OsString>,

    /// User to run as, and group; names or numbers
    #[arg(long, short, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,

    /// Host name that the program sees
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,

    /// Most memory that may be used, such as 64M
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    pub(crate) memory: Option<i64>,

    /// Most processors that may be used, such as 0.5
    #[arg(long, value_name = "NUMBER", value_parser = size::cpus)]
    pub(crate) cpus: Option<CpuShare>,

    /// Most processes and threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) pids: Option<i64>,

    /// Network of the program: only its own loopback, or the host's, with all abstract sockets of the host
    #[arg(long, value_name = "NETWORK", default_value = "none")]
    pub(crate) net: Net,

    /// Whether the program gets a terminal of its own; auto: where the caller has one
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) tty: Tty,

    /// Options shared with create and run.
    #[command(flatten)]
    pub(crate) setup: Setup,
}

/// `--net` of do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Net {
    /// A network namespace with loopback only.
    None,
    /// The host's network.
    Host,
}

/// `--tty` of do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tty {
    /// Where standard input and output are a terminal.
    Auto,
    /// In any case.
    Always,
    /// In no case.
    Never,
}

/// `hull doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `hull completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// Shells with a completion script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// `hull man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Directory for one file per command; without it, hull(1) is printed
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// A truth value in the spellings that Go's flags take.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("use true or false".into()),
    }
}

fn rootless(text: &str) -> Result<Rootless, String> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(Rootless::Auto);
    }
    match boolean(text) {
        Ok(true) => Ok(Rootless::True),
        Ok(false) => Ok(Rootless::False),
        Err(_) => Err("use true, false or auto".into()),
    }
}

fn user(text: &str) -> Result<User, String> {
    let number = |what: &str, text: &str| text.parse().map_err(|_| format!("{what} {text:?} is no number"));
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    Ok(User { uid: number("user", uid)?, gid: gid.map(|gid| number("group", gid)).transpose()? })
}

/// crun's `--log` takes a kind of destination before the name.
fn log_file(text: &str) -> Result<PathBuf, String> {
    match text.split_once(':') {
        Some(("file", path)) => Ok(path.into()),
        Some((kind @ ("journald" | "syslog"), _)) => Err(format!("logging to {kind} is not supported, name a file")),
        _ => Ok(text.into()),
    }
}
