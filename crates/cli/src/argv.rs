//! From the arguments as given to the arguments that the definition in `args` takes, and to a parsed command line.
//!
//! Engines and scripts call a runtime in the style of Go's flags, which clap does not know: `-pid-file x`, options
//! after the container's id, `--debug=false`, `--opt -1`, an empty value for "not set". [`parse`] rewrites all of it
//! into one plain form, `--option=value ... -- ARGUMENTS`, and lets clap check that. Which options exist, and which
//! take a value, is read off the definition; there is no second list.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use clap::{Arg, FromArgMatches};

use crate::args::{self, Cli, Command, Global};

/// The program is to end here: help or version was asked for, or the arguments are wrong.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Exit code.
    pub(crate) code: u8,
    /// What to print, line feed included.
    pub(crate) text: String,
}

impl Stop {
    /// Help and the like goes to standard output, an error to standard error.
    pub(crate) fn is_error(&self) -> bool {
        self.code != 0
    }

    fn error(code: u8, text: impl std::fmt::Display) -> Stop {
        Stop { code, text: format!("{text}\n") }
    }
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Stop {
        Stop { code: u8::from(error.use_stderr()), text: error.render().to_string() }
    }
}

/// Parses the arguments of the program, its own name first.
///
/// # Errors
/// Exit code 1 for wrong arguments, 3 for an unknown command as by runc, 0 with the text of help or version.
pub(crate) fn parse(argv: Vec<OsString>) -> Result<Cli, Stop> {
    let Plain { definition, command, line } = normalise(argv)?;
    let matches = definition.try_get_matches_from(line)?;
    let mut global = Global::from_arg_matches(&matches)?;
    if global.version {
        return Err(version());
    }
    if let Some(root) = &mut global.root {
        *root = absolute(root)?;
    }
    match matches.subcommand_matches(&command) {
        Some(matches) => Ok(Cli { global, command: Command::read(&command, matches)? }),
        None => Err(help()),
    }
}

/// Arguments in plain form: `hull --option=value ... COMMAND --option=value ... -- ARGUMENTS`.
struct Plain {
    /// The program with that one command.
    definition: clap::Command,
    /// Name of the command; empty where none was given.
    command: String,
    line: Vec<OsString>,
}

fn normalise(argv: Vec<OsString>) -> Result<Plain, Stop> {
    args::called(argv.first());
    let root = args::root();
    let mut words = argv.into_iter().skip(1);
    let mut head = Line { options: vec!["hull".into()], ..Line::default() };
    let mut name = None;
    while let Some(word) = words.next() {
        match head.option(word, &mut words, &[&root])? {
            Read::Taken => continue,
            Read::Unknown(word) => return Err(refuse(root, head.options, word)),
            Read::EndOfOptions => name = words.next(),
            Read::Argument(word) => name = Some(word),
        }
        break;
    }
    if head.options.iter().any(|option| option == "--help" || option == "-h") {
        return Err(help());
    }
    let Some(name) = name else {
        return Ok(Plain { definition: root, command: String::new(), line: head.options });
    };
    let name = name.to_string_lossy().into_owned();
    let Some(command) = Command::define(&name) else {
        return Err(no_command(&name, words.next()));
    };
    let tail = arguments(words, &command, &root)?;
    let line = head.options.into_iter().chain(tail.hoisted).chain([OsString::from(&name)]);
    let line = line.chain(tail.options).chain(["--".into()]).chain(tail.arguments).collect();
    Ok(Plain { definition: root.subcommand(command), command: name, line })
}

/// The answer to a first word that is no command of the definition.
fn no_command(name: &str, next: Option<OsString>) -> Stop {
    match (name, next) {
        ("help", None) => help(),
        ("help", Some(of)) => {
            let of = of.to_string_lossy();
            let mut full = args::full();
            full.build();
            match full.find_subcommand_mut(of.as_ref()) {
                Some(command) => Stop { code: 0, text: command.render_long_help().to_string() },
                None => Stop::error(3, format_args!("No help topic for '{of}'")),
            }
        }
        // Exit code 1, as of a command that failed: podman asks `checkpoint --help` to see whether there is one.
        ("checkpoint" | "restore", _) => Stop::error(1, format_args!("{name} is not supported yet")),
        _ => Stop::error(3, format_args!("No help topic for '{name}'")),
    }
}

/// Lets clap say what is wrong with an option that nobody knows.
fn refuse(command: clap::Command, options: Vec<OsString>, word: OsString) -> Stop {
    match command.try_get_matches_from(options.into_iter().chain([word.clone()])) {
        Err(error) => error.into(),
        Ok(_) => Stop::error(1, format_args!("unknown option {}", word.display())),
    }
}

fn help() -> Stop {
    Stop { code: 0, text: args::full().render_help().to_string() }
}

/// Engines read the first three lines; crun's users look for the words after them.
fn version() -> Stop {
    let mut text = format!("{} version {}\n", args::program(), env!("CARGO_PKG_VERSION"));
    if let Some(commit) = option_env!("HULL_COMMIT").filter(|commit| !commit.is_empty()) {
        text += &format!("commit: {commit}\n");
    }
    text += "spec: 1.3.0\n+SECCOMP +EBPF +CAP +APPARMOR +SELINUX\n";
    Stop { code: 0, text }
}

/// The state directory is given to other processes and outlives a change of directory, so it must be absolute.
fn absolute(root: &Path) -> Result<PathBuf, Stop> {
    let full = std::path::absolute(root).map_err(|e| Stop::error(1, format_args!("--root {}: {e}", root.display())))?;
    let mut clean = PathBuf::new();
    for part in full.components() {
        match part {
            Component::ParentDir => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    if clean == Path::new("/") {
        return Err(Stop::error(1, "Option --root argument should not be set to /"));
    }
    Ok(clean)
}

/// The arguments of one command in plain form.
#[derive(Debug, Default)]
struct Line {
    /// Options of the program that stood after the command.
    hoisted: Vec<OsString>,
    /// `--option` and `--option=value`.
    options: Vec<OsString>,
    /// All else, in the order given.
    arguments: Vec<OsString>,
}

/// What a word turned out to be.
enum Read {
    /// An option; it is in the line now.
    Taken,
    /// It looks like an option, and is none.
    Unknown(OsString),
    /// `--`.
    EndOfOptions,
    /// No option.
    Argument(OsString),
}

/// Brings the words after the command's name into plain form.
///
/// Options may stand anywhere, but where a command's last argument is another program's command line (exec, ps, do)
/// all belongs to that as soon as it begins. An option that the command does not have may be one of the program.
fn arguments(
    mut words: impl Iterator<Item = OsString>,
    command: &clap::Command,
    root: &clap::Command,
) -> Result<Line, Stop> {
    let foreign = command.get_positionals().last().is_some_and(Arg::is_trailing_var_arg_set);
    let own = command.get_positionals().count() - usize::from(foreign);
    let mut line = Line::default();
    while let Some(word) = words.next() {
        if foreign && own > 0 && line.arguments.len() == own && word != "--" {
            line.arguments.push(word);
            line.arguments.extend(words);
            break;
        }
        match line.option(word, &mut words, &[command, root])? {
            Read::Taken => {}
            Read::EndOfOptions => {
                line.arguments.extend(words);
                break;
            }
            Read::Argument(word) => {
                line.arguments.push(word);
                if foreign && own == 0 {
                    line.arguments.extend(words);
                    break;
                }
            }
            Read::Unknown(word) => {
                // clap will refuse it, and say so best with nothing after it.
                line.options.push(word);
                line.arguments.clear();
                break;
            }
        }
    }
    Ok(line)
}

impl Line {
    /// Adds one option, with its value from `words` where it has none of its own.
    fn option(
        &mut self,
        word: OsString,
        words: &mut impl Iterator<Item = OsString>,
        scopes: &[&clap::Command],
    ) -> Result<Read, Stop> {
        let bytes = word.as_bytes();
        let body = match bytes {
            b"--" => return Ok(Read::EndOfOptions),
            [b'-', b'-', body @ ..] => body,
            // A lone dash is standard input, and -1 is a number.
            [b'-', first, ..] if first.is_ascii_alphabetic() => &bytes[1..],
            _ => return Ok(Read::Argument(word)),
        };
        let (name, value) = match body.iter().position(|b| *b == b'=') {
            Some(at) => (&body[..at], Some(&body[at + 1..])),
            None => (body, None),
        };
        let Ok(name) = std::str::from_utf8(name) else { return Ok(Read::Unknown(word)) };
        let dashes = bytes.len() - body.len();
        if matches!((name, dashes), ("help", _) | ("h", 1)) {
            self.options.push(if name == "h" { "-h" } else { "--help" }.into());
            return Ok(Read::Taken);
        }
        for (depth, scope) in scopes.iter().enumerate() {
            let option = scope.get_arguments().find(|arg| has_long(arg, name) || (dashes == 1 && has_short(arg, name)));
            // -v after a command is no question for the version.
            if let Some(option) = option.filter(|o| depth == 0 || o.get_id() != "version") {
                let value = value.map(OsStr::from_bytes);
                self.add(option, value.map(OsStr::to_owned), words, depth > 0)?;
                return Ok(Read::Taken);
            }
        }
        if dashes == 1 && self.cluster(&word, words, scopes[0])? {
            return Ok(Read::Taken);
        }
        Ok(Read::Unknown(word))
    }

    /// Adds short options in one word: `-dt`, `-b/path`. False where one of the letters is none.
    fn cluster(
        &mut self,
        word: &OsStr,
        words: &mut impl Iterator<Item = OsString>,
        scope: &clap::Command,
    ) -> Result<bool, Stop> {
        let letters = &word.as_bytes()[1..];
        let mut found = Vec::new();
        for (n, letter) in letters.iter().enumerate() {
            let Some(option) =
                scope.get_arguments().find(|arg| has_short(arg, (*letter as char).encode_utf8(&mut [0; 4])))
            else {
                return Ok(false);
            };
            let rest = &letters[n + 1..];
            if takes_next(option) && !rest.is_empty() {
                let rest = rest.strip_prefix(b"=").unwrap_or(rest);
                found.push((option, Some(OsStr::from_bytes(rest).to_owned())));
                break;
            }
            found.push((option, None));
        }
        for (option, value) in found {
            self.add(option, value, words, false)?;
        }
        Ok(true)
    }

    fn add(
        &mut self,
        option: &Arg,
        value: Option<OsString>,
        words: &mut impl Iterator<Item = OsString>,
        hoist: bool,
    ) -> Result<(), Stop> {
        let options = if hoist { &mut self.hoisted } else { &mut self.options };
        let mut text = b"--".to_vec();
        text.extend_from_slice(option.get_long().unwrap_or_default().as_bytes());
        let value = if takes_next(option) { value.or_else(|| words.next()) } else { value };
        if !option.get_action().takes_values() {
            let text = OsString::from_vec(text);
            let on = match value.filter(|value| !value.is_empty()) {
                None => true,
                Some(value) => args::boolean(&value.to_string_lossy()).map_err(|why| {
                    Stop::error(
                        1,
                        format_args!("error: invalid value '{}' for '{}': {why}", value.display(), text.display()),
                    )
                })?,
            };
            options.retain(|earlier| *earlier != text);
            if on {
                options.push(text);
            }
            return Ok(());
        }
        if let Some(value) = value {
            // As in runc, an empty value leaves an option unset: scripts pass variables that may be empty. Not so
            // for lists, where it may be meant, nor for the state directory, where it is a mistake.
            let single = matches!(option.get_action(), clap::ArgAction::Set) && option.get_id() != "root";
            text.push(b'=');
            if value.is_empty() && single && takes_next(option) {
                options.retain(|earlier| !earlier.as_bytes().starts_with(&text));
                return Ok(());
            }
            text.extend_from_slice(value.as_bytes());
        }
        options.push(OsString::from_vec(text));
        Ok(())
    }
}

/// Whether an option's value may be the next word.
fn takes_next(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_require_equals_set()
}

fn has_long(arg: &Arg, name: &str) -> bool {
    arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|all| all.contains(&name))
}

fn has_short(arg: &Arg, name: &str) -> bool {
    let mut letters = name.chars();
    let (Some(letter), None) = (letters.next(), letters.next()) else { return false };
    arg.get_short() == Some(letter) || arg.get_all_short_aliases().is_some_and(|all| all.contains(&letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        // `''` stands for an empty word.
        ["hull"].into_iter().chain(text.split_whitespace()).map(|w| if w == "''" { "" } else { w }.into()).collect()
    }

    fn plain(text: &str) -> String {
        match normalise(words(text)) {
            Ok(plain) => plain.line.join(OsStr::new(" ")).into_string().unwrap(),
            Err(stop) => format!("stop {}: {}", stop.code, stop.text.lines().next().unwrap_or_default()),
        }
    }

    fn code(text: &str) -> u8 {
        parse(words(text)).map_or_else(|stop| stop.code, |_| 0)
    }

    #[test]
    fn what_runc_accepts_becomes_plain() {
        for (given, expected) in [
            // As engines call.
            (
                "--root /r --log /l --log-format json create --bundle /b --pid-file /p c",
                "hull --root=/r --log=/l --log-format=json create --bundle=/b --pid-file=/p -- c",
            ),
            ("exec --process /f --detach --pid-file /p c", "hull exec --process=/f --detach --pid-file=/p -- c"),
            ("kill --all c 9", "hull kill --all -- c 9"),
            ("kill -a c KILL", "hull kill --all -- c KILL"),
            ("update --resources - c", "hull update --resources=- -- c"),
            ("update --resources=- c", "hull update --resources=- -- c"),
            ("ps --format json c", "hull ps --format=json -- c"),
            // Options after the id.
            ("create c --bundle /b", "hull create --bundle=/b -- c"),
            ("update c --memory-swap -1 --pids-limit -1", "hull update --memory-swap=-1 --pids-limit=-1 -- c"),
            ("kill c KILL --all", "hull kill --all -- c KILL"),
            ("delete c --force", "hull delete --force -- c"),
            // One dash for long options.
            ("run -no-subreaper -pid-file x -bundle=/b c", "hull run --no-subreaper --pid-file=x --bundle=/b -- c"),
            ("-root /r -debug list -format=json", "hull --root=/r --debug list --format=json --"),
            // Short ones, alone, together, with their value.
            ("run -b /b -d c", "hull run --bundle=/b --detach -- c"),
            ("run -b/b -b=/c c", "hull run --bundle=/b --bundle=/c -- c"),
            ("exec -dt -p /f c", "hull exec --detach --tty --process=/f -- c"),
            ("exec -dp /f c", "hull exec --detach --process=/f -- c"),
            // Truth values.
            ("--debug=false list", "hull list --"),
            ("--debug --debug=0 list --quiet=true", "hull list --quiet --"),
            ("list --quiet --quiet", "hull list --quiet --"),
            ("list --quiet=", "hull list --quiet --"),
            ("exec --no-new-privs c sh", "hull exec --no-new-privs -- c sh"),
            ("exec --no-new-privs=false c sh", "hull exec --no-new-privs=false -- c sh"),
            // After exec's and ps's id nothing is hull's.
            ("exec -t c sh -c --debug -- -t", "hull exec --tty -- c sh -c --debug -- -t"),
            ("exec c -t", "hull exec -- c -t"),
            ("exec c -- ls -l -- x", "hull exec -- c ls -l -- x"),
            ("exec -- c ls -l", "hull exec -- c ls -l"),
            ("exec --env A=-b -e B= c env", "hull exec --env=A=-b --env=B= -- c env"),
            ("ps c -ef --format json", "hull ps -- c -ef --format json"),
            // do: as soon as the program is named.
            ("do --net host ls -l --net x", "hull do --net=host -- ls -l --net x"),
            ("do -- ls --help", "hull do -- ls --help"),
            ("do --rw /a --rw /b --env K sh", "hull do --rw=/a --rw=/b --env=K -- sh"),
            // Options of the program behind the command, but where the command has its own.
            ("list --root /r", "hull --root=/r list --"),
            ("create --systemd-cgroup --debug c", "hull --systemd-cgroup --debug create -- c"),
            ("spec --rootless", "hull spec --rootless --"),
            // An empty value is none.
            ("run --pid-file '' --console-socket= c", "hull run -- c"),
            ("run --pid-file x --pid-file '' c", "hull run -- c"),
            ("--log '' list", "hull list --"),
            ("exec --env '' c sh", "hull exec --env= -- c sh"),
            // No options.
            ("state -- -c", "hull state -- -c"),
            ("kill c -9", "hull kill -- c -9"),
            ("-- list", "hull list --"),
        ] {
            assert_eq!(plain(given), expected, "{given}");
        }
    }

    #[test]
    fn every_plain_line_is_what_clap_takes() {
        for name in Command::NAMES {
            Command::define(name).unwrap().debug_assert();
        }
        args::full().debug_assert();
        assert!(parse(words("--root /r/../s update c --memory 64M -cpu-share=512")).is_ok());
        let Ok(Cli { global, command: Command::Exec(exec) }) =
            parse(words("--root /r/./../s exec -u 1:2 -g 5 --no-new-privs=false -e A=1 -e B=2 c sh -c x"))
        else {
            panic!("exec is not parsed");
        };
        assert_eq!(global.root.as_deref(), Some(Path::new("/s")));
        assert_eq!(exec.user, Some(args::User { uid: 1, gid: Some(2) }));
        assert_eq!((exec.additional_gids, exec.no_new_privs), (vec![5], Some(false)));
        assert_eq!((exec.id.as_str(), exec.command), ("c", ["sh", "-c", "x"].map(OsString::from).to_vec()));
        assert_eq!(exec.env, ["A=1", "B=2"].map(OsString::from));
    }

    #[test]
    fn values_are_typed() {
        let Ok(Cli { global, command: Command::Do(it) }) = parse(words(
            "--log file:/l --rootless=TRUE --cgroup-manager disabled \
             do --memory 64M --cpus 0.5 --pids 10 --tty never sh",
        )) else {
            panic!("do is not parsed");
        };
        assert_eq!(global.log.as_deref(), Some(Path::new("/l")));
        assert_eq!((global.rootless, global.manager()), (args::Rootless::True, args::CgroupManager::Disabled));
        assert_eq!((it.memory, it.cpus.map(|c| c.quota), it.pids), (Some(64 << 20), Some(50_000), Some(10)));
        assert_eq!((it.net, it.tty), (args::Net::None, args::Tty::Never));
        let Ok(Cli { command: Command::Kill(kill), .. }) = parse(words("kill c")) else { panic!("kill is not parsed") };
        assert_eq!(kill.signal, "SIGTERM");
    }

    #[test]
    fn exit_codes() {
        for (given, expected) in [
            ("", 0),
            ("help", 0),
            ("help exec", 0),
            ("-h", 0),
            ("--help foo", 0),
            ("create -h", 0),
            ("create --help c", 0),
            ("create -help", 0),
            ("--version", 0),
            ("-v", 0),
            ("--nope", 1),
            ("--nope create c", 1),
            ("create", 1),
            ("create a b", 1),
            ("create --nope c", 1),
            ("create -nope c", 1),
            ("create c --bundle", 1),
            ("list x", 1),
            ("exec c", 1),
            ("exec -p /f c", 0),
            ("do", 1),
            ("state", 1),
            ("--debug=maybe list", 1),
            ("--log-format xml list", 1),
            ("--log journald:x list", 1),
            ("--root / list", 1),
            ("--root= list", 1),
            ("--root ../../../../../../../.. list", 1),
            ("events --interval 0s c", 1),
            ("update --memory 5X c", 1),
            ("exec -u ann c sh", 1),
            ("do --memory -1 sh", 1),
            ("foo", 3),
            ("foo -h", 3),
            ("help foo", 3),
            ("checkpoint --help", 1),
            ("restore c", 1),
        ] {
            assert_eq!(code(given), expected, "{given}");
        }
    }

    #[test]
    fn what_stops_says_why() {
        let text = |given: &str| parse(words(given)).unwrap_err().text;
        assert!(text("foo").contains("No help topic for 'foo'"));
        assert!(text("checkpoint --help").contains("checkpoint is not supported yet"));
        assert!(text("create --bundel /b c").contains("--bundle"), "a similar name is proposed");
        assert!(text("update --memory 5X c").contains("5X"));
        assert!(text("create -h").starts_with("NAME:\n   hull create - "));
        assert!(!text("-h").contains("checkpoint"));
        let version = text("-v");
        assert!(version.starts_with(concat!("hull version ", env!("CARGO_PKG_VERSION"), "\n")), "{version}");
        assert!(version.contains("\nspec: 1."), "{version}");
    }
}
