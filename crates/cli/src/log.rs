//! Log lines in runc's form (that of logrus), since engines parse them.
//!
//! Owns where lines go and how they look. An engine that asks for JSON reads the file as one object when a command
//! failed. So [`Logger::fatal`] leaves one object there and nothing else: warnings wait until it is known how the
//! command ends ([`Logger::release`]). With the level debug all lines are written at once.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;

/// Form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Fields such as level=error, for people
    Text,
    /// One object per line, for programs
    Json,
}

/// How grave a line is, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    /// The command failed.
    Error,
    /// Something asked for was done in another way, or could not be done and does not matter much.
    #[value(alias = "warn")]
    Warning,
    /// What is being done.
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Debug => "debug",
        }
    }
}

/// Writes log lines.
#[derive(Debug)]
pub(crate) struct Logger {
    /// `None` for standard error.
    file: Option<File>,
    format: Format,
    level: Level,
    /// Messages that wait for the end of the command.
    waiting: RefCell<Vec<(Level, String, SystemTime)>>,
}

impl Logger {
    /// Logs to standard error, or appends to the file at `path`, which may also be a fifo (then this waits for its
    /// reader). Lines less grave than `level` are dropped.
    ///
    /// # Errors
    /// Where the file can't be opened or made.
    pub(crate) fn open(path: Option<&Path>, format: Format, level: Level) -> Result<Logger, String> {
        let file = path.map(|path| {
            // Opened close-on-exec by the standard library.
            let opened = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
            opened.map_err(|e| format!("cannot open the log file {path:?}: {e}"))
        });
        Ok(Logger { file: file.transpose()?, format, level, waiting: RefCell::default() })
    }

    /// Logs what is being done.
    pub(crate) fn debug(&self, message: &str) {
        self.log(Level::Debug, message);
    }

    /// Logs what the caller should know, though the command goes on.
    pub(crate) fn warn(&self, message: &str) {
        self.log(Level::Warning, message);
    }

    /// Reports the error that ends the command, to the log and, where that is a file, to standard error as well.
    /// Warnings that waited go to standard error only.
    pub(crate) fn fatal(&self, message: &str) {
        let mut stderr = io::stderr();
        for (level, message, time) in self.waiting.take() {
            let _ = stderr.write_all(line(Format::Text, level, &message, time).as_bytes());
        }
        self.write(&line(self.format, Level::Error, message, SystemTime::now()));
        if self.file.is_some() {
            let _ = stderr.write_all(format!("{message}\n").as_bytes());
        }
    }

    /// Writes the warnings that waited: what they were to be kept apart from can't come any more.
    pub(crate) fn release(&self) {
        for (level, message, time) in self.waiting.take() {
            self.write(&line(self.format, level, &message, time));
        }
    }

    fn log(&self, level: Level, message: &str) {
        if level > self.level {
            return;
        }
        let now = SystemTime::now();
        if self.file.is_some() && self.format == Format::Json && self.level < Level::Debug {
            self.waiting.borrow_mut().push((level, message.to_owned(), now));
        } else {
            self.write(&line(self.format, level, message, now));
        }
    }

    /// One write per line, so that lines of several writers do not mix. A log that can't be written is no reason to
    /// fail a container.
    fn write(&self, line: &str) {
        let _ = match &self.file {
            Some(file) => (&mut &*file).write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.release();
    }
}

fn line(format: Format, level: Level, message: &str, time: SystemTime) -> String {
    let (level, time) = (level.name(), rfc3339(time));
    match format {
        Format::Text => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
            let message = if message.chars().all(plain) { message.to_owned() } else { quote(message) };
            format!("time=\"{time}\" level={level} msg={message}\n")
        }
        Format::Json => {
            // A string always serialises.
            let message = serde_json::to_string(message).unwrap_or_default();
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
    }
}

/// Quotes as Go's %q does.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// UTC to the second, such as `2026-01-02T03:04:05Z`.
fn rfc3339(time: SystemTime) -> String {
    // A clock before 1970 is shown as 1970.
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years from March on, so that the leap day is the last of its year; 719_468 days from 0000-03-01 to 1970-01-01.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!(
        "{:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z",
        era * 400 + year + next,
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn text_lines_are_those_of_logrus() {
        assert_eq!(
            line(Format::Text, Level::Error, "can't open \"/x\":\n\u{1} é\\", at(0)),
            "time=\"1970-01-01T00:00:00Z\" level=error msg=\"can't open \\\"/x\\\":\\n\\x01 é\\\\\"\n"
        );
        assert_eq!(
            line(Format::Text, Level::Warning, "plain-word", at(0)),
            "time=\"1970-01-01T00:00:00Z\" level=warning msg=plain-word\n"
        );
    }

    #[test]
    fn json_lines_are_one_object() {
        let text = line(Format::Json, Level::Debug, "a \"b\"\n", at(1_767_322_800));
        assert_eq!(text, "{\"level\":\"debug\",\"msg\":\"a \\\"b\\\"\\n\",\"time\":\"2026-01-02T03:00:00Z\"}\n");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["msg"], "a \"b\"\n");
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(at(seconds)), text);
        }
    }

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("hull-log-{}-{name}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            Scratch(path)
        }

        fn lines(&self) -> Vec<String> {
            std::fs::read_to_string(&self.0).unwrap().lines().map(String::from).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_failure_leaves_one_json_object() {
        let file = Scratch::new("fatal");
        let log = Logger::open(Some(&file.0), Format::Json, Level::Warning).unwrap();
        log.debug("step");
        log.warn("careful");
        log.fatal("it broke");
        drop(log);
        let lines = file.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let object: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((object["level"].as_str(), object["msg"].as_str()), (Some("error"), Some("it broke")));
    }

    #[test]
    fn warnings_reach_the_log_of_a_success() {
        let file = Scratch::new("success");
        let log = Logger::open(Some(&file.0), Format::Json, Level::Warning).unwrap();
        log.warn("careful");
        assert_eq!(file.lines().len(), 0);
        log.release();
        assert!(file.lines()[0].contains("careful"));
    }

    #[test]
    fn debug_writes_all_at_once_and_appends() {
        let file = Scratch::new("debug");
        for _ in 0..2 {
            let log = Logger::open(Some(&file.0), Format::Json, Level::Debug).unwrap();
            log.debug("step");
            log.warn("careful");
        }
        assert_eq!(file.lines().len(), 4);
    }

    #[test]
    fn the_level_error_keeps_warnings_out() {
        let file = Scratch::new("level");
        let log = Logger::open(Some(&file.0), Format::Text, Level::Error).unwrap();
        log.warn("careful");
        log.fatal("it broke");
        assert_eq!(file.lines().len(), 1);
    }
}
