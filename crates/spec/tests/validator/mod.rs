//! As much of JSON schema draft 4 as the specification's schemas use; an unknown keyword is a panic, so that none is
//! passed over when they change.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// The schema files, by name.
pub(crate) struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    /// Reads every schema of a directory.
    pub(crate) fn load(directory: &Path) -> Schemas {
        let files = std::fs::read_dir(directory).unwrap().map(|f| f.unwrap().path());
        let read = |f: std::path::PathBuf| {
            let text = std::fs::read(&f).unwrap();
            (f.file_name().unwrap().to_str().unwrap().to_owned(), serde_json::from_slice(&text).unwrap())
        };
        Schemas(files.map(read).collect())
    }

    /// Checks a document against a file; the error is where and why.
    pub(crate) fn check(&self, file: &str, value: &Value) -> Result<(), String> {
        self.node(file, &self.0[file], value, "")
    }

    /// Follows a reference such as `defs.json#/definitions/uint32`.
    pub(crate) fn resolve<'a>(&'a self, file: &'a str, reference: &'a str) -> (&'a str, &'a Value) {
        let (other, pointer) = reference.split_once('#').unwrap();
        let file = if other.is_empty() { file } else { other };
        (file, self.0[file].pointer(pointer).unwrap())
    }

    fn node(&self, file: &str, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        for (keyword, rule) in schema.as_object().unwrap() {
            self.rule(file, keyword, rule, value, at)?;
        }
        // A property without a rule of its own falls to the rules for all others.
        let (Some(object), Some(rest)) = (value.as_object(), schema.get("additionalProperties")) else { return Ok(()) };
        let named = schema.get("properties").and_then(Value::as_object);
        for (key, value) in object.iter().filter(|(k, _)| !named.is_some_and(|n| n.contains_key(*k))) {
            self.node(file, rest, value, &format!("{at}/{key}"))?;
        }
        Ok(())
    }

    fn rule(&self, file: &str, keyword: &str, rule: &Value, value: &Value, at: &str) -> Result<(), String> {
        let fail = |why: String| Err(format!("{at}: {value} {why}"));
        match keyword {
            "description" | "$schema" | "definitions" | "additionalProperties" => Ok(()),
            "$ref" => {
                let (file, schema) = self.resolve(file, rule.as_str().unwrap());
                self.node(file, schema, value, at)
            }
            "type" if !is_type(value, rule.as_str().unwrap()) => fail(format!("is not of type {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => fail(format!("is not one of {rule}")),
            "type" | "enum" => Ok(()),
            "minimum" | "maximum" => {
                let Some(n) = integer(value) else { return Ok(()) };
                let bound = integer(rule).unwrap();
                let good = if keyword == "minimum" { n >= bound } else { n <= bound };
                if good { Ok(()) } else { fail(format!("is beyond {bound}")) }
            }
            "pattern" => match value.as_str() {
                Some(text) if !matches(rule.as_str().unwrap(), text) => fail(format!("does not match {rule}")),
                _ => Ok(()),
            },
            "minItems" => match value.as_array() {
                Some(list) if (list.len() as u64) < rule.as_u64().unwrap() => fail("has too few items".into()),
                _ => Ok(()),
            },
            "items" => match value.as_array() {
                Some(list) => {
                    list.iter().enumerate().try_for_each(|(i, v)| self.node(file, rule, v, &format!("{at}/{i}")))
                }
                None => Ok(()),
            },
            "required" => match value.as_object() {
                Some(object) => {
                    match rule.as_array().unwrap().iter().find(|k| !object.contains_key(k.as_str().unwrap())) {
                        Some(key) => fail(format!("lacks {key}")),
                        None => Ok(()),
                    }
                }
                None => Ok(()),
            },
            "properties" => match value.as_object() {
                Some(object) => object.iter().try_for_each(|(k, v)| match rule.get(k) {
                    Some(schema) => self.node(file, schema, v, &format!("{at}/{k}")),
                    None => Ok(()),
                }),
                None => Ok(()),
            },
            "patternProperties" => {
                let (pattern, schema) = rule.as_object().unwrap().iter().next().unwrap();
                match value.as_object() {
                    Some(object) => object
                        .iter()
                        .filter(|(k, _)| matches(pattern, k))
                        .try_for_each(|(k, v)| self.node(file, schema, v, &format!("{at}/{k}"))),
                    None => Ok(()),
                }
            }
            "allOf" => rule.as_array().unwrap().iter().try_for_each(|s| self.node(file, s, value, at)),
            "anyOf" => {
                let any = rule.as_array().unwrap().iter().any(|s| self.node(file, s, value, at).is_ok());
                if any { Ok(()) } else { fail("matches no alternative".into()) }
            }
            other => panic!("unknown keyword {other} at {at}"),
        }
    }
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => integer(value).is_some(),
        other => panic!("unknown type {other}"),
    }
}

fn integer(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from)).or_else(|| {
        // Schemas write their bounds so too, rounded.
        let float = value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 1e30)?;
        Some(float as i128)
    })
}

/// The patterns that the schemas have.
fn matches(pattern: &str, text: &str) -> bool {
    let all = |text: &str, allowed: &dyn Fn(char) -> bool| text.chars().all(allowed);
    match pattern {
        ".{1,}" => !text.is_empty(),
        "^[cbup]$" => matches!(text, "c" | "b" | "u" | "p"),
        "^[0-9, -]*$" => all(text, &|c| c.is_ascii_digit() || matches!(c, ',' | ' ' | '-')),
        "^MB:[^\\n]*$" => text.starts_with("MB:") && !text.contains('\n'),
        "^RLIMIT_[A-Z]+$" => {
            text.strip_prefix("RLIMIT_").is_some_and(|n| !n.is_empty() && all(n, &|c| c.is_ascii_uppercase()))
        }
        "^CAP_[A-Z_]+$" => {
            let name = text.strip_prefix("CAP_");
            name.is_some_and(|n| !n.is_empty() && all(n, &|c| c.is_ascii_uppercase() || c == '_'))
        }
        "^[1-9][0-9]*[KMG]B$" => {
            let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
            number.is_some_and(|n| !n.is_empty() && !n.starts_with('0') && all(n, &|c| c.is_ascii_digit()))
        }
        other => panic!("unknown pattern {other}"),
    }
}
