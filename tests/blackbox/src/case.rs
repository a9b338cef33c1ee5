//! What a case is: a name, the point it proves, a function, and the peers known to fail it.
//!
//! Owns the outcome types and the checking macros. Never runs anything.

use crate::ctx::Ctx;

/// Why a case ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The point was disproved (or the harness broke): the text says how.
    Fail(String),
    /// The point can't be shown here: the text says why.
    Skip(String),
}

/// What a case function returns.
pub(crate) type Done = Result<(), Stop>;

macro_rules! fails_from {
    ($($kind:ty),*) => { $(impl From<$kind> for Stop {
        #[track_caller]
        fn from(e: $kind) -> Stop {
            let at = std::panic::Location::caller();
            Stop::Fail(format!("{}:{}: {e}", at.file(), at.line()))
        }
    })* };
}
fails_from!(std::io::Error, rustix::io::Errno, serde_json::Error, String, &str, std::num::ParseIntError);

/// Who is known to fail a case, and why.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    /// `runc`, `crun`: the first word of the peer's `--version`.
    pub(crate) peer: &'static str,
    /// What that peer does instead.
    pub(crate) reason: &'static str,
}

/// One case.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) point: &'static str,
    pub(crate) run: fn(&Ctx) -> Done,
    pub(crate) marks: [Option<Mark>; 3],
    /// Seconds.
    pub(crate) limit: u64,
    /// Not beside another case, because it measures time or races on purpose.
    pub(crate) alone: bool,
}

impl Case {
    pub(crate) const fn new(name: &'static str, point: &'static str, run: fn(&Ctx) -> Done) -> Case {
        Case { name, point, run, marks: [None; 3], limit: 40, alone: false }
    }

    /// Marks `peer` as known to fail this case.
    pub(crate) const fn theirs(mut self, peer: &'static str, reason: &'static str) -> Case {
        let mut at = 0;
        while self.marks[at].is_some() {
            at += 1;
        }
        self.marks[at] = Some(Mark { peer, reason });
        self
    }

    pub(crate) const fn limit(mut self, seconds: u64) -> Case {
        self.limit = seconds;
        self
    }

    pub(crate) const fn alone(mut self) -> Case {
        self.alone = true;
        self
    }

    /// The mark for `peer`, if there is one.
    pub(crate) fn mark(&self, peer: &str) -> Option<Mark> {
        self.marks.iter().flatten().find(|m| m.peer == peer).copied()
    }
}

/// A row of a `CASES` table: `case!(function, "the point")`.
macro_rules! case {
    ($f:ident, $point:expr) => {
        $crate::case::Case::new(stringify!($f), $point, $f)
    };
}

/// Fails the case unless the condition holds.
macro_rules! check {
    ($cond:expr, $($why:tt)+) => {
        if !$cond {
            return Err($crate::case::Stop::Fail(format!("{}:{}: {}", file!(), line!(), format!($($why)+))));
        }
    };
}

/// Fails the case unless both sides are equal.
macro_rules! same {
    ($got:expr, $want:expr, $($what:tt)+) => {
        // A match keeps temporaries alive to its end, which `let` would not.
        match (&$got, &$want) {
            (got, want) if got == want => {}
            (got, want) => {
                return Err($crate::case::Stop::Fail(format!(
                    "{}:{}: {}: got {got:?}, want {want:?}", file!(), line!(), format!($($what)+))));
            }
        }
    };
}

/// Skips the case with a reason.
macro_rules! skip {
    ($($why:tt)+) => { return Err($crate::case::Stop::Skip(format!($($why)+))) };
}

pub(crate) use {case, check, same, skip};
