//! Limits to what a module may take, by annotation: what they are called, and what config.json says of them.

use serde::{Deserialize, Serialize};

use hull_spec::Spec;

use super::{annotation, bad_annotation};
use crate::Refusal;

/// Their names, after the prefix.
pub(super) const NAMES: &[&str] = &["fuel", "instances", "memories", "memory", "table-elements", "tables"];

/// What a process's module may take. None: as the engine has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Units of fuel, of which most instructions take one; its code is made to count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// How many instances there may be: a component is made of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<usize>,
    /// How many memories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memories: Option<usize>,
    /// Bytes of all memories together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<usize>,
    /// Elements of all tables together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_elements: Option<usize>,
    /// How many tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<usize>,
}

impl Limits {
    /// What the annotations say.
    ///
    /// # Errors
    /// For one that is no number above 0, by its name.
    pub(super) fn of(spec: &Spec) -> Result<Limits, Refusal> {
        let size = |name| number(spec, name)?.map(|n| usize::try_from(n).map_err(|_| refusal(name, &n.to_string()))).transpose();
        Ok(Limits {
            fuel: number(spec, "fuel")?,
            instances: size("instances")?,
            memories: size("memories")?,
            memory: size("memory")?,
            table_elements: size("table-elements")?,
            tables: size("tables")?,
        })
    }
}

fn number(spec: &Spec, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(text) = annotation(spec, name) else { return Ok(None) };
    match text.parse() {
        Ok(n) if n > 0 => Ok(Some(n)),
        _ => Err(refusal(name, text)),
    }
}

fn refusal(name: &str, value: &str) -> Refusal {
    bad_annotation(name, value, "must be a number, 1 or more")
}

#[cfg(test)]
mod tests {
    use super::super::PREFIX;
    use super::*;

    fn of(name: &str, value: &str) -> Result<Limits, String> {
        let annotations = [(format!("{PREFIX}{name}"), value.to_owned())].into();
        Limits::of(&Spec { annotations, ..Spec::default() }).map_err(|e| e.0)
    }

    #[test]
    fn numbers_are_taken_and_others_named() {
        assert_eq!(of("fuel", "18446744073709551615").map(|l| l.fuel), Ok(Some(u64::MAX)));
        assert_eq!(of("table-elements", "7").map(|l| l.table_elements), Ok(Some(7)));
        for bad in ["", "0", "-1", "x", "1e3", "18446744073709551616"] {
            let error = of("instances", bad).unwrap_err();
            assert_eq!(error, format!("annotations[\"dev.hull.wasm.instances\"]: \"{bad}\" must be a number, 1 or more"));
        }
    }
}
