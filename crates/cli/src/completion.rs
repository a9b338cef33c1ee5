//! `hull completion` and `hull man`: made from the definition in `args` when asked for.

use std::io::{self, Write};
use std::path::Path;

use clap_complete::shells;

use crate::args::{self, Shell};

/// Writes the completion script for a shell.
///
/// # Errors
/// Those of writing.
pub(crate) fn completion(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let mut command = args::full();
    // Made in memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    match shell {
        Shell::Bash => clap_complete::generate(shells::Bash, &mut command, "hull", &mut script),
        Shell::Zsh => clap_complete::generate(shells::Zsh, &mut command, "hull", &mut script),
        Shell::Fish => clap_complete::generate(shells::Fish, &mut command, "hull", &mut script),
    }
    out.write_all(&script)
}

/// Writes hull(1) to `out`, or with a directory hull.1 and hull-COMMAND.1 into it.
///
/// # Errors
/// Those of writing.
pub(crate) fn man(dir: Option<&Path>, out: &mut dyn Write) -> io::Result<()> {
    // Manual pages are found by hull's own name, whatever it was called by to write them.
    args::called(None);
    match dir {
        None => clap_mangen::Man::new(args::full()).render(out),
        Some(dir) => clap_mangen::generate_to(args::full(), dir)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot write manual pages to {dir:?}: {e}"))),
    }
}
