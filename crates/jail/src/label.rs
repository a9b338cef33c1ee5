//! Labels of security modules: AppArmor profiles of processes; SELinux labels of processes, keyrings and mounts.
//!
//! Hands labels to the kernel and never judges them: which are valid is known by the policy alone.

use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, XattrFlags};

use hull_sys::mount::Context;

use crate::error::{Context as _, Error, Result};
use crate::plan::MountPlan;
use crate::process::{HostProc, ProcessPlan};

/// Host files that are needed late, opened while the host's /proc is still what is seen.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    apparmor: Option<OwnedFd>,
    selinux: Option<OwnedFd>,
}

impl HostProc {
    /// Refuses an SELinux label where nothing would come of it, or another security module would take it for its own.
    pub(crate) fn need_selinux(&self, field: &str) -> Result<()> {
        let file = self.open_file("filesystems", OFlags::RDONLY)?;
        let mut text = String::new();
        std::fs::File::from(file).read_to_string(&mut text).what(|| "cannot read \"/proc/filesystems\"")?;
        match text.lines().any(|line| line.ends_with("\tselinuxfs")) {
            true => Ok(()),
            false => Err(Error::new(format!("{field}: this kernel has no SELinux, or it is not enabled"))),
        }
    }
}

impl ProcessPlan {
    /// Whether a label is to be set.
    pub(crate) fn wants_label(&self) -> bool {
        self.apparmor.is_some() || self.selinux.is_some()
    }

    /// Has keys made from here to exec carry the process's label, without which it could not look at its own keyring.
    pub(crate) fn label_keys(&self, proc: &HostProc) -> Result<()> {
        const FIELD: &str = "process.selinuxLabel";
        let Some(label) = &self.selinux else { return Ok(()) };
        proc.need_selinux(FIELD)?;
        if self.keyring.is_none() {
            return Ok(());
        }
        let file = proc.open_file("thread-self/attr/keycreate", OFlags::WRONLY).map_err(|e| e.during(FIELD))?;
        rustix::io::write(&file, label.as_bytes())
            .map(drop)
            .what(|| format!("{FIELD}: cannot set \"{label}\" for keys"))
    }

    /// Opens the files through which labels are set.
    pub(crate) fn attributes(&self, proc: &HostProc) -> Result<Attributes> {
        let open = |wanted: &Option<String>, paths: [&str; 2], field: &str| -> Result<Option<OwnedFd>> {
            if wanted.is_none() {
                return Ok(None);
            }
            let last = |e: Error| e.during(&format!("{field}: this kernel can't set the label"));
            match proc.open_file(paths[0], OFlags::WRONLY) {
                Ok(fd) => Ok(Some(fd)),
                Err(_) => proc.open_file(paths[1], OFlags::WRONLY).map(Some).map_err(last),
            }
        };
        let exec = "thread-self/attr/exec";
        Ok(Attributes {
            apparmor: open(&self.apparmor, ["thread-self/attr/apparmor/exec", exec], "process.apparmorProfile")?,
            selinux: open(&self.selinux, [exec, exec], "process.selinuxLabel")?,
        })
    }

    /// Has exec set the labels.
    pub(crate) fn label(&self, attributes: &Attributes) -> Result<()> {
        write_label(&attributes.apparmor, "exec ", &self.apparmor, "process.apparmorProfile")?;
        write_label(&attributes.selinux, "", &self.selinux, "process.selinuxLabel")
    }
}

fn write_label(file: &Option<OwnedFd>, prefix: &str, label: &Option<String>, field: &str) -> Result<()> {
    let (Some(file), Some(label)) = (file, label) else { return Ok(()) };
    let text = format!("{prefix}{label}");
    rustix::io::write(file, text.as_bytes()).map(drop).what(|| format!("{field}: cannot set \"{label}\""))
}

/// The SELinux label of what is mounted for a container (linux.mountLabel).
#[derive(Debug)]
pub struct MountLabel {
    /// The mount option that carries it.
    option: CString,
    text: CString,
}

/// How a mount comes by the label.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Labelled<'a> {
    /// It does not.
    No,
    /// By its mount option.
    Option(&'a MountLabel),
    /// On its root directory, once it is made.
    Root(&'a MountLabel),
}

impl MountLabel {
    pub(crate) fn new(option: CString, text: CString) -> MountLabel {
        MountLabel { option, text }
    }

    /// Gives it to a file system that is being set up.
    pub(crate) fn set(&self, context: &Context) -> Result<()> {
        context.set(&self.option, &self.text).what(|| self.doing())
    }

    /// As a mount option and its value.
    pub(crate) fn pair(&self) -> (String, Option<String>) {
        let text = |s: &CStr| s.to_string_lossy().into_owned();
        (text(&self.option), Some(text(&self.text)))
    }

    /// Gives it to the root directory of a mount.
    pub(crate) fn set_on_root(&self, tree: &OwnedFd) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(tree, ".", flags, Mode::empty()).what(|| self.doing())?;
        rustix::fs::fsetxattr(&root, "security.selinux", self.text.to_bytes(), XattrFlags::empty())
            .what(|| self.doing())
    }

    fn doing(&self) -> String {
        format!("linux.mountLabel: cannot set {}=\"{}\"", self.option.to_string_lossy(), self.text.to_string_lossy())
    }
}

impl<'a> Labelled<'a> {
    /// What is due to a mount. The kernel's own files keep their labels, and a label in the mount's own options goes
    /// before the container's.
    pub(crate) fn of(label: Option<&'a MountLabel>, m: &MountPlan) -> Labelled<'a> {
        match label {
            Some(_) if m.options.data.iter().any(|(key, _)| is_label(key)) => Labelled::No,
            Some(_) if m.kind == "proc" || m.kind == "sysfs" => Labelled::No,
            // That of an IPC namespace exists as long as it does, and takes no options any more.
            Some(label) if m.kind == "mqueue" => Labelled::Root(label),
            Some(label) => Labelled::Option(label),
            None => Labelled::No,
        }
    }
}

/// Whether this mount option carries an SELinux label.
pub(crate) fn is_label(option: &str) -> bool {
    matches!(option, "context" | "fscontext" | "defcontext" | "rootcontext")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_has_the_label_in_one_way_at_most() {
        let label = MountLabel::new(c"context".into(), c"u:r:t:s0:c1,c2".into());
        let of = |kind: &str, options: &[&str]| {
            let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
            let options = hull_spec::mountopts::parse(&options, kind).unwrap();
            let m = MountPlan { target: "/m".into(), kind: kind.into(), source: "none".into(), options, idmap: None };
            match (Labelled::of(None, &m), Labelled::of(Some(&label), &m)) {
                (Labelled::No, Labelled::No) => "no",
                (Labelled::No, Labelled::Option(_)) => "option",
                (Labelled::No, Labelled::Root(_)) => "root",
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(of("tmpfs", &["mode=755"]), "option");
        assert_eq!(of("mqueue", &[]), "root");
        for own in ["context=a:b:c", "fscontext=a:b:c", "mode=700,defcontext=\"a:b:c\"", "rootcontext=a:b:c"] {
            assert_eq!(of("tmpfs", &[own]), "no", "{own}");
        }
        assert_eq!((of("proc", &[]), of("sysfs", &[])), ("no", "no"));
    }

    #[test]
    fn a_process_has_its_own_label_or_the_containers() {
        let container = hull_spec::Process { selinux_label: "theirs".into(), ..Default::default() };
        for (own, expected) in [(None, "theirs"), (Some("own"), "own")] {
            let mut plan = ProcessPlan { selinux: own.map(str::to_owned), ..ProcessPlan::default() };
            plan.take_labels(&container);
            assert_eq!((plan.selinux.as_deref(), plan.apparmor), (Some(expected), None));
        }
    }
}
