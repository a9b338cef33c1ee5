//! The mounts of config.json.

use super::{CheckHost, Result, Warning, refuse, refuse_value};
use crate::config::{IdMapping, Linux, Mount, NamespaceKind, Spec};
use crate::mountopts::{self, MountOptions};

pub(super) fn check(spec: &Spec, linux: &Linux, host: &CheckHost, warnings: &mut Vec<Warning>) -> Result {
    for (i, m) in spec.mounts.iter().enumerate() {
        let at = format!("mounts[{i}]");
        if m.destination.as_os_str().is_empty() {
            return refuse(format!("{at}.destination"), "must not be empty");
        }
        if !m.destination.is_absolute() {
            let text =
                format!("{:?}: relative destination path is deprecated, using it as relative to /", m.destination);
            warnings.push(Warning { field: format!("{at}.destination"), text });
        }
        let options = match mountopts::parse(&m.options, &m.kind) {
            Ok(options) => options,
            Err(e) => return refuse(format!("{at}.options"), e.to_string()),
        };
        if m.kind.is_empty() && !options.bind && !options.remount {
            return refuse(format!("{at}.type"), "must be given, or options must have bind or rbind");
        }
        if options.bind && !options.data.is_empty() {
            let names: Vec<&str> = options.data.iter().map(|(name, _)| name.as_str()).collect();
            let problem = "bind mounts cannot have any filesystem-specific options applied";
            return refuse_value(format!("{at}.options"), names, problem);
        }
        if options.tmpcopyup && (options.bind || m.kind != "tmpfs") {
            return refuse(format!("{at}.options"), "tmpcopyup is for mounts of type tmpfs only");
        }
        id_mapped(m, &options, linux, host, &at)?;
        if host.rootless {
            owners(&options, linux, &at)?;
        }
    }
    Ok(())
}

fn id_mapped(m: &Mount, options: &MountOptions, linux: &Linux, host: &CheckHost, at: &str) -> Result {
    let own = !m.uid_mappings.is_empty() || !m.gid_mappings.is_empty();
    if !own && !options.idmap {
        return Ok(());
    }
    if !options.bind {
        return refuse(at, "id-mapped mounts are only supported for bind-mounts");
    }
    if host.rootless {
        return refuse(at, "id-mapped mounts are not supported for rootless containers");
    }
    if own && (m.uid_mappings.is_empty() || m.gid_mappings.is_empty()) {
        return refuse(at, "id-mapped mounts must have both uid and gid mappings specified");
    }
    if own {
        super::linux::mappings(&m.uid_mappings, &format!("{at}.uidMappings"))?;
        return super::linux::mappings(&m.gid_mappings, &format!("{at}.gidMappings"));
    }
    if linux.namespace(NamespaceKind::User).is_none() {
        let problem = "id-mapped mounts must have both uid and gid mappings specified, or a user namespace to take \
                       them from";
        return refuse(at, problem);
    }
    Ok(())
}

/// An ordinary user can name no owner that its user namespace has no id for.
fn owners(options: &MountOptions, linux: &Linux, at: &str) -> Result {
    if linux.namespace(NamespaceKind::User).is_none_or(|ns| ns.path.is_some()) {
        return Ok(());
    }
    for (key, value) in &options.data {
        let maps = match key.as_str() {
            "uid" => &linux.uid_mappings,
            "gid" => &linux.gid_mappings,
            _ => continue,
        };
        let Some(id) = value.as_ref().and_then(|v| v.parse::<u32>().ok()) else { continue };
        if !maps_to_host(maps, id) {
            let option = format!("{key}={id}");
            let problem = format!("cannot specify {option} mount option for rootless container: the id is not mapped");
            return refuse_value(format!("{at}.options"), option, problem);
        }
    }
    Ok(())
}

/// Whether an id of the container has one outside.
pub(super) fn maps_to_host(maps: &[IdMapping], id: u32) -> bool {
    maps.iter().any(|m| id.checked_sub(m.container_id).is_some_and(|offset| offset < m.size))
}
