//! `hull doctor`: what this host supports and lacks, and what a person can do about it.
//!
//! Owns the findings' shape, the verdict and the output. Everything is asked of the running kernel, in ways that
//! change nothing; `kernel`, `access` and `cgroups` do the asking.

mod access;
mod cgroups;
mod kernel;

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

/// How well something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Works.
    Ok,
    /// Works in part, or in a lesser way.
    Limited,
    /// Does not work.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// Short, stable name.
    pub(crate) name: &'static str,
    /// How well it is there.
    pub(crate) status: Status,
    /// What was seen.
    pub(crate) detail: String,
    /// What of hull depends on it.
    pub(crate) needed_for: &'static str,
    /// What to do about it; `None` where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
    /// Whether no container can run without it.
    pub(crate) required: bool,
}

impl Finding {
    fn new(name: &'static str, needed_for: &'static str, status: Status, detail: impl Into<String>) -> Finding {
        Finding { name, status, detail: detail.into(), needed_for, advice: None, required: false }
    }

    fn ok(name: &'static str, needed_for: &'static str, detail: impl Into<String>) -> Finding {
        Finding::new(name, needed_for, Status::Ok, detail)
    }

    fn limited(name: &'static str, needed_for: &'static str, detail: impl Into<String>) -> Finding {
        Finding::new(name, needed_for, Status::Limited, detail)
    }

    fn missing(name: &'static str, needed_for: &'static str, detail: impl Into<String>) -> Finding {
        Finding::new(name, needed_for, Status::Missing, detail)
    }

    /// What to do, kept only where something is to be done.
    fn advise(mut self, advice: impl Into<String>) -> Finding {
        if self.status != Status::Ok {
            self.advice = Some(advice.into());
        }
        self
    }

    /// No container can run without it.
    fn required(mut self) -> Finding {
        self.required = true;
        self
    }
}

/// All findings.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    can_run: bool,
    findings: Vec<Finding>,
}

impl Report {
    /// Looks at this host, as the user who calls. `root` is the state directory.
    pub(crate) fn examine(root: &Path) -> Report {
        let who = access::Caller::look();
        let mut findings = kernel::findings(&who);
        findings.extend(access::findings(&who, root));
        findings.extend(cgroups::findings(&who));
        findings.extend(kernel::isolations());
        Report::new(findings)
    }

    fn new(findings: Vec<Finding>) -> Report {
        Report { can_run: !findings.iter().any(Finding::forbids), findings }
    }

    /// Whether containers can run here at all.
    pub(crate) fn can_run(&self) -> bool {
        self.can_run
    }

    /// For programs.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for finding in &self.findings {
            let status = match finding.status {
                Status::Ok => "ok",
                Status::Limited => "limited",
                Status::Missing => "missing",
            };
            let _ = writeln!(text, "{status:<9}{:<22}{}", finding.name, finding.detail);
            if finding.status != Status::Ok {
                let _ = writeln!(text, "{:31}needed for: {}", "", finding.needed_for);
            }
            if let Some(advice) = &finding.advice {
                let _ = writeln!(text, "{:31}what to do: {advice}", "");
            }
        }
        let lacking: Vec<_> = self.findings.iter().filter(|f| f.forbids()).map(|f| f.name).collect();
        let _ = match lacking.as_slice() {
            [] => writeln!(text, "\nContainers can run here."),
            lacking => writeln!(text, "\nContainers cannot run here, for want of: {}.", lacking.join(", ")),
        };
        text
    }
}

impl Finding {
    /// Whether this alone keeps every container from running.
    fn forbids(&self) -> bool {
        self.required && self.status == Status::Missing
    }
}

/// The first line of a file, without its end; `None` where it can't be read.
fn line_of(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_requirement_forbids() {
        let missing = || Finding::missing("a", "b", "c");
        assert!(Report::new(vec![missing(), Finding::limited("a", "b", "c").required()]).can_run());
        let report = Report::new(vec![missing().required().advise("get one")]);
        assert!(!report.can_run());
        assert_eq!(
            report.text(),
            "missing  a                     c\n\
             \x20                              needed for: b\n\
             \x20                              what to do: get one\n\
             \nContainers cannot run here, for want of: a.\n"
        );
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["canRun"], false);
        assert_eq!(json["findings"][0]["neededFor"], "b");
        assert_eq!(json["findings"][0]["status"], "missing");
    }

    #[test]
    fn nothing_is_advised_where_all_is_well() {
        assert!(Finding::ok("a", "b", "c").advise("x").advice.is_none());
    }
}
