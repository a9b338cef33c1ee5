//! A profile read as rules: checked, with actions as numbers, and laid against each architecture's system calls.
//!
//! Owns what a profile means, which is what libseccomp makes of it in runc's hands. Knows nothing of programs.

use hull_spec::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOp};

use crate::Error;
use crate::arch::{self, Abi};
use crate::numbers::{self, NONE, PRIVATE, ROWS, Row};

/// `SECCOMP_RET_ERRNO`, without its number.
pub(crate) const ERRNO: u32 = 0x0005_0000;
const TRAP: u32 = 0x0003_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_KILL_THREAD`.
pub(crate) const KILL_THREAD: u32 = 0;

const EPERM: u32 = 1;
/// Largest error number that the kernel passes on (`MAX_ERRNO`); it would cut off a larger one.
const MAX_ERRNO: u32 = 4095;
/// Entries of one architecture: its table's numbers and 32-bit ARM's own calls.
const ENTRIES: usize = PRIVATE as usize + 8;

/// A profile that has been checked.
pub(crate) struct Rules<'a> {
    /// The verdict on what no rule matches.
    pub(crate) default: u32,
    /// Whether a rule asks an agent.
    pub(crate) notifies: bool,
    /// What a user may want to know, but need not.
    pub(crate) warnings: Vec<String>,
    pub(crate) unknown: Vec<String>,
    rules: Vec<Rule<'a>>,
    /// Each system call that is named, and the rules (by position) that name it.
    named: Vec<(&'static Row, std::ops::Range<u32>)>,
}

/// Conditions that must all hold, and the verdict if they do.
#[derive(Clone, Copy)]
struct Rule<'a> {
    args: &'a [SeccompArg],
    verdict: u32,
}

/// One condition as it applies to one architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Condition {
    /// Argument, 0 to 5.
    pub(crate) index: u32,
    /// Comparison.
    pub(crate) op: SeccompOp,
    /// Compared with.
    pub(crate) value: u64,
    /// Bits of the argument that count.
    pub(crate) mask: u64,
}

/// What becomes of one system call: the first rule whose conditions hold decides, then the default.
pub(crate) type Chain = Vec<(Vec<Condition>, u32)>;

/// One architecture's system calls, by entry of its column.
pub(crate) struct Table {
    /// What becomes of each.
    pub(crate) calls: Vec<Call>,
    /// The largest entry that the profile names, whatever it says of it; not counting 32-bit ARM's own calls.
    pub(crate) newest: u16,
}

/// What becomes of one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// No rule is about it.
    Default,
    /// Its arguments do not matter.
    Always(u32),
    /// They do.
    Depends(Chain),
}

impl<'a> Rules<'a> {
    /// Checks a profile whose program is for these architectures.
    pub(crate) fn check(profile: &'a Seccomp, abis: &[Abi]) -> Result<Rules<'a>, Error> {
        if profile.default_action == SeccompAction::Notify {
            return Err(Error::new("defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action"));
        }
        let default = verdict(profile.default_action, profile.default_errno_ret, || "defaultErrnoRet".into())?;
        let mut rules = Rules { default, notifies: false, warnings: Vec::new(), unknown: Vec::new(), rules: Vec::new(), named: Vec::new() };
        // Most profiles list names in order: the next row is the likeliest.
        let mut row = 0;
        for (i, call) in profile.syscalls.iter().enumerate() {
            let verdict = verdict(call.action, call.errno_ret, || format!("syscalls[{i}].errnoRet"))?;
            let first = rules.rules.len() as u32;
            rules.add(i, &call.args, verdict, abis)?;
            let added = first..rules.rules.len() as u32;

            if call.names.is_empty() {
                return Err(Error::new(format!("syscalls[{i}].names"), "must name at least one system call"));
            }
            for (j, name) in call.names.iter().enumerate() {
                let field = || format!("syscalls[{i}].names[{j}]");
                if name.is_empty() {
                    return Err(Error::new(field(), "the empty string is not a system call"));
                }
                // The descriptor of the listener has to leave the process that has loaded the filter.
                if call.action == SeccompAction::Notify && name == "write" {
                    return Err(Error::new(field(), "SCMP_ACT_NOTIFY cannot be used for the write syscall"));
                }
                row = match ROWS.get(row + 1) {
                    Some(next) if next.name == name => row + 1,
                    _ => match ROWS.binary_search_by(|row| row.name.cmp(name)) {
                        Ok(found) => found,
                        Err(_) => {
                            let field = Error::new(field(), format!("unknown system call {name:?} ignored"));
                            rules.warnings.push(field.to_string());
                            rules.unknown.push(name.clone());
                            continue;
                        }
                    },
                };
                rules.named.push((&ROWS[row], added.clone()));
            }
            rules.notifies |= call.action == SeccompAction::Notify;
        }
        if rules.notifies && profile.listener_path.as_os_str().is_empty() {
            return Err(Error::new("listenerPath", "must be set, as a rule has the action SCMP_ACT_NOTIFY"));
        }
        if !profile.listener_metadata.is_empty() && profile.listener_path.as_os_str().is_empty() {
            return Err(Error::new("listenerMetadata", "must not be set without listenerPath"));
        }
        Ok(rules)
    }

    /// Adds what one entry of `syscalls` says of each of its names.
    fn add(&mut self, i: usize, args: &'a [SeccompArg], verdict: u32, abis: &[Abi]) -> Result<(), Error> {
        let mut seen = [false; 6];
        let mut repeated = false;
        for (j, arg) in args.iter().enumerate() {
            let field = |name| format!("syscalls[{i}].args[{j}].{name}");
            match seen.get_mut(arg.index as usize) {
                Some(seen) => repeated |= std::mem::replace(seen, true),
                None => {
                    return Err(Error::new(field("index"), format!("{}: must be 0 to 5", arg.index)));
                }
            }
            if let Some(narrow) = abis.iter().find(|abi| !abi.wide)
                && arg.value > u32::MAX.into()
            {
                let problem = format!("{:#x}: for {} only its low 32 bits count", arg.value, narrow.arch.as_str());
                self.warnings.push(Error::new(field("value"), problem).to_string());
            }
        }
        // A rule that says what happens anyway does not keep a later one from saying something else.
        if verdict == self.default {
            return Ok(());
        }
        if repeated {
            // Such a list is one of alternatives, by long custom.
            self.rules.extend(args.chunks(1).map(|args| Rule { args, verdict }));
        } else {
            self.rules.push(Rule { args, verdict });
        }
        Ok(())
    }

    /// What the rules say of one architecture's system calls.
    pub(crate) fn table(&self, abi: &Abi) -> Table {
        let mut table = Table { calls: vec![Call::Default; ENTRIES], newest: 0 };
        for (row, rules) in &self.named {
            let entry = row.numbers[abi.column];
            if entry < PRIVATE {
                table.newest = table.newest.max(entry);
            }
            for rule in &self.rules[rules.start as usize..rules.end as usize] {
                if entry != NONE {
                    table.calls[usize::from(entry)].add(rule.conditions(abi, None), rule.verdict);
                }
                if abi.multiplexes && row.multiplexed != 0 {
                    let through = if row.multiplexed & numbers::IPC != 0 { arch::IPC } else { arch::SOCKETCALL };
                    let which = row.multiplexed & !numbers::IPC;
                    // The call that stands for it is one that the profile knows, too.
                    table.newest = table.newest.max(through);
                    table.calls[usize::from(through)].add(rule.conditions(abi, Some(which)), rule.verdict);
                }
            }
        }
        table
    }
}

impl Rule<'_> {
    /// The conditions for one architecture; `multiplexed` is the first argument of the call that stands for another.
    fn conditions(&self, abi: &Abi, multiplexed: Option<u8>) -> Vec<Condition> {
        let width = if abi.wide { u64::MAX } else { u32::MAX.into() };
        // The first argument then says which call it is; what the profile says of the first one can't be seen.
        let first = multiplexed.map(|call| Condition { index: 0, op: SeccompOp::Eq, value: call.into(), mask: width });
        let rest = self.args.iter().filter(|arg| multiplexed.is_none() || arg.index != 0).map(|arg| {
            let (value, mask) = match arg.op {
                SeccompOp::MaskedEq => (arg.value_two & arg.value, arg.value),
                _ => (arg.value, u64::MAX),
            };
            Condition { index: arg.index, op: arg.op, value: value & width, mask: mask & width }
        });
        // A mask without a bit asks nothing.
        first.into_iter().chain(rest).filter(|condition| condition.mask != 0).collect()
    }
}

impl Call {
    fn add(&mut self, conditions: Vec<Condition>, verdict: u32) {
        match self {
            // A rule without conditions outranks those with, wherever it stands; the first such rule stays.
            Call::Always(_) => {}
            _ if conditions.is_empty() => *self = Call::Always(verdict),
            Call::Default => *self = Call::Depends(vec![(conditions, verdict)]),
            Call::Depends(chain) => chain.push((conditions, verdict)),
        }
    }
}

/// An action as the kernel's number; `field` names where the error number stands.
fn verdict(action: SeccompAction, errno: Option<u32>, field: impl Fn() -> String) -> Result<u32, Error> {
    let (verdict, most) = match action {
        SeccompAction::Kill | SeccompAction::KillThread => (KILL_THREAD, None),
        SeccompAction::KillProcess => (crate::bpf::KILL_PROCESS, None),
        SeccompAction::Trap => (TRAP, None),
        SeccompAction::Errno => (ERRNO, Some(MAX_ERRNO)),
        SeccompAction::Trace => (TRACE, Some(u16::MAX.into())),
        SeccompAction::Allow => (ALLOW, None),
        SeccompAction::Log => (LOG, None),
        SeccompAction::Notify => (NOTIFY, None),
    };
    match (errno, most) {
        (None, None) => Ok(verdict),
        (None, Some(_)) => Ok(verdict | EPERM),
        (Some(errno), Some(most)) if errno <= most => Ok(verdict | errno),
        (Some(errno), Some(most)) => Err(Error::new(field(), format!("{errno}: must be 0 to {most}"))),
        (Some(_), None) => Err(Error::new(field(), format!("{} takes no error number", action.as_str()))),
    }
}

/// The architectures that a program is for: the native one, then those that the profile lists.
pub(crate) fn abis(profile: &Seccomp, native: SeccompArch) -> Result<Vec<Abi>, Error> {
    let native = Abi::of(native);
    let mut abis = vec![native];
    for (i, &arch) in profile.architectures.iter().enumerate() {
        let abi = Abi::of(arch);
        if abi.little_endian() != native.little_endian() {
            let problem = format!("{}: its byte order is not that of {}", arch.as_str(), native.arch.as_str());
            return Err(Error::new(format!("architectures[{i}]"), problem));
        }
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    Ok(abis)
}

/// Whether calls beyond the newest that a profile names should look absent: only where the default is to refuse.
///
/// With `SCMP_ACT_TRACE` it is the tracer that answers for them.
pub(crate) fn hides_newer(default: SeccompAction) -> bool {
    !matches!(default, SeccompAction::Allow | SeccompAction::Log | SeccompAction::Trace)
}
