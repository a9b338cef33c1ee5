//! The tables that `hull list` and `hull ps` print, laid out as runc lays them out, since scripts cut them.
//!
//! Owns the layout; where the rows come from is not known here.

use std::fmt::Write;

/// Narrowest column, and the space after the longest cell of a column.
const MIN_WIDTH: usize = 12;
const PADDING: usize = 3;

/// One line of `hull list`.
#[derive(Debug, Clone)]
pub(crate) struct ContainerRow {
    /// The container's id.
    pub(crate) id: String,
    /// Host process id of init; 0 for a stopped container.
    pub(crate) pid: i32,
    /// created, running, paused, stopped.
    pub(crate) status: String,
    /// Path of the bundle.
    pub(crate) bundle: String,
    /// When it was created, RFC 3339 with a fraction.
    pub(crate) created: String,
    /// Name of the user who owns the state directory, or `#` and the number.
    pub(crate) owner: String,
}

/// The whole table of `hull list`, heading included.
pub(crate) fn containers(rows: &[ContainerRow]) -> String {
    let mut lines = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from)];
    lines.extend(rows.iter().map(|row| {
        let row = row.clone();
        [row.id, row.pid.to_string(), row.status, row.bundle, row.created, row.owner]
    }));
    align(&lines)
}

/// Cells in columns, separated by blanks; the last column is not padded.
pub(crate) fn align<const N: usize>(lines: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N)
        .map(|n| lines.iter().map(|line| line[n].chars().count() + PADDING).max().unwrap_or(0).max(MIN_WIDTH))
        .collect();
    let mut text = String::new();
    for line in lines {
        for (n, cell) in line.iter().enumerate() {
            let width = if n + 1 == N { 0 } else { widths[n] };
            // Writing to a String cannot fail.
            let _ = write!(text, "{cell:width$}");
        }
        text.push('\n');
    }
    text
}

/// Of the output of ps(1), the heading and the lines of these processes.
///
/// # Errors
/// Where the output has no column PID, as with `ps -o user`.
pub(crate) fn ps_lines(output: &str, pids: &[i32]) -> Result<String, String> {
    let mut lines = output.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading
        .split_whitespace()
        .position(|title| title == "PID")
        .ok_or_else(|| format!("the output of ps has no column PID: {heading:?}"))?;
    let mut text = format!("{heading}\n");
    for line in lines.filter(|line| !line.is_empty()) {
        let pid = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: i32 = pid.parse().map_err(|_| format!("the output of ps has {pid:?} in column PID: {line:?}"))?;
        if pids.contains(&pid) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_laid_out_as_by_runc() {
        let row = |id: &str, bundle: &str| ContainerRow {
            id: id.into(),
            pid: 4242,
            status: "running".into(),
            bundle: bundle.into(),
            created: "2026-01-02T03:04:05.123456789Z".into(),
            owner: "root".into(),
        };
        assert_eq!(
            containers(&[row("a", "/b"), row("a-longer-name", "/var/lib/bundle")]),
            "ID              PID         STATUS      BUNDLE            CREATED                          OWNER\n\
             a               4242        running     /b                2026-01-02T03:04:05.123456789Z   root\n\
             a-longer-name   4242        running     /var/lib/bundle   2026-01-02T03:04:05.123456789Z   root\n"
        );
        // Observed with runc where no container exists.
        assert_eq!(containers(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    }

    #[test]
    fn width_counts_characters() {
        assert_eq!(align(&[["äöüß".into(), "x".into()]]), "äöüß        x\n");
    }

    #[test]
    fn ps_is_filtered_by_the_pid_column() {
        let out =
            "UID          PID    PPID  C CMD\nroot           1       0  0 init\nroot          17       1  0 sh 1\n\n";
        assert_eq!(
            ps_lines(out, &[17]).unwrap(),
            "UID          PID    PPID  C CMD\nroot          17       1  0 sh 1\n"
        );
        assert_eq!(ps_lines("  PID\n   3\n", &[1]).unwrap(), "  PID\n");
        assert!(ps_lines("USER\nroot\n", &[1]).unwrap_err().contains("no column PID"));
        assert!(ps_lines("PID\nx\n", &[1]).is_err());
    }
}
