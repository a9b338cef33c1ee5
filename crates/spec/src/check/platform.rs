//! Parts of config.json for platforms other than this one.

use serde_json::Value;

use super::{Result, Warning, refuse};
use crate::config::Spec;
use crate::load::Error;

/// Fields of `freebsd.jail` that say how a resource is shared; only these two can't be "disable".
const SHARING: [(&str, bool); 7] = [
    ("host", false),
    ("vnet", false),
    ("ip4", true),
    ("ip6", true),
    ("sysvmsg", true),
    ("sysvsem", true),
    ("sysvshm", true),
];

pub(super) fn check(spec: &Spec, warnings: &mut Vec<Warning>) -> Result {
    let parts =
        [("solaris", &spec.solaris), ("windows", &spec.windows), ("zos", &spec.zos), ("freebsd", &spec.freebsd)];
    for (name, part) in parts {
        let Some(part) = part else { continue };
        if !part.is_object() {
            return refuse(name, "expected an object");
        }
        if name == "freebsd" {
            jail(part)?;
        }
        return refuse(name, format!("config is for platform \"{name}\", this is linux"));
    }
    match &spec.vm {
        Some(vm) if !vm.is_object() => refuse("vm", "expected an object"),
        Some(_) => {
            let text = "read by no isolation of this version; ignored".into();
            warnings.push(Warning { field: "vm".into(), text });
            Ok(())
        }
        None => Ok(()),
    }
}

fn jail(freebsd: &Value) -> Result {
    for (field, may_disable) in SHARING {
        let Some(value) = freebsd.get("jail").and_then(|j| j.get(field)) else { continue };
        let known = matches!(value.as_str(), Some("new" | "inherit")) || may_disable && value == "disable";
        if !known {
            let disable = if may_disable { ", disable" } else { "" };
            let allowed = format!("expected one of new, inherit{disable}");
            return Err(Error { value: value.to_string(), ..Error::new(format!("freebsd.jail.{field}"), allowed) });
        }
    }
    Ok(())
}
