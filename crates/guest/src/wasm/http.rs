//! Serving HTTP, by annotation: what the names are, and what config.json says of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use hull_spec::Spec;

use super::{annotation, bad_annotation};
use crate::Refusal;

/// Their names, after the prefix.
pub(super) const NAMES: &[&str] = &[
    "http.connections", "http.grace", "http.header-bytes", "http.header-timeout", "http.listen", "http.requests", "http.timeout",
];

/// How a component that answers requests is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The address to listen at. With one, a component that is both a command and a handler is served.
    pub listen: Option<SocketAddr>,
    /// How many requests are answered at a time.
    pub requests: u32,
    /// How many connections there are at a time.
    pub connections: u32,
    /// Seconds that a request may take.
    pub timeout: u64,
    /// Seconds that a request's head may take to come, and a connection may be idle.
    pub header_timeout: u64,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Seconds that requests have to end once a signal asks the server to.
    pub grace: u64,
}

impl Default for Http {
    fn default() -> Http {
        Http { listen: None, requests: 128, connections: 256, timeout: 60, header_timeout: 15, header_bytes: 32 << 10, grace: 10 }
    }
}

impl Http {
    /// What the annotations say.
    ///
    /// # Errors
    /// For a value that is none, by the annotation's name.
    pub(super) fn of(spec: &Spec) -> Result<Http, Refusal> {
        /// As many seconds as anybody waits.
        const AGE: u64 = u32::MAX as u64;
        /// As many as a count of permits can be.
        const MOST: u64 = 1 << 20;
        let usual = Http::default();
        let number = |name, range| within(spec, name, range);
        let count = |name, usual: u32| number(name, 1..=MOST).map(|n| n.map_or(usual, |n| u32::try_from(n).unwrap_or(usual)));
        Ok(Http {
            listen: annotation(spec, "http.listen").map(|text| address("http.listen", text)).transpose()?,
            requests: count("http.requests", usual.requests)?,
            connections: count("http.connections", usual.connections)?,
            timeout: number("http.timeout", 1..=AGE)?.unwrap_or(usual.timeout),
            header_timeout: number("http.header-timeout", 1..=AGE)?.unwrap_or(usual.header_timeout),
            header_bytes: number("http.header-bytes", 8192..=1 << 20)?.map_or(usual.header_bytes, |n| usize::try_from(n).unwrap_or(usual.header_bytes)),
            grace: number("http.grace", 0..=AGE)?.unwrap_or(usual.grace),
        })
    }

    /// Whether it is as it is without annotations.
    pub(super) fn is_usual(&self) -> bool {
        *self == Http::default()
    }
}

fn within(spec: &Spec, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Refusal> {
    let Some(text) = annotation(spec, name) else { return Ok(None) };
    match text.parse() {
        Ok(n) if range.contains(&n) => Ok(Some(n)),
        _ => Err(bad_annotation(name, text, &format!("must be a number from {} to {}", range.start(), range.end()))),
    }
}

fn address(name: &str, text: &str) -> Result<SocketAddr, Refusal> {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let port = text.parse().ok().map(|port| SocketAddr::new(any, port));
    port.or_else(|| text.parse().ok()).ok_or_else(|| bad_annotation(name, text, "must be a port, or an IP address and a port: 127.0.0.1:80, [::]:80"))
}

#[cfg(test)]
mod tests {
    use super::super::PREFIX;
    use super::*;

    fn of(name: &str, value: &str) -> Result<Http, String> {
        let annotations = [(format!("{PREFIX}{name}"), value.to_owned())].into();
        Http::of(&Spec { annotations, ..Spec::default() }).map_err(|e| e.0)
    }

    #[test]
    fn addresses() {
        let listen = |text| of("http.listen", text).map(|h| h.listen.map(|a| a.to_string()).unwrap_or_default());
        assert_eq!(listen("80").as_deref(), Ok("0.0.0.0:80"));
        assert_eq!(listen("127.0.0.1:8080").as_deref(), Ok("127.0.0.1:8080"));
        assert_eq!(listen("[::1]:8080").as_deref(), Ok("[::1]:8080"));
        for bad in ["", "65536", "-1", "localhost:80", "127.0.0.1", ":80", "::1:80", "80 "] {
            let error = listen(bad).unwrap_err();
            assert!(error.starts_with(&format!("annotations[\"dev.hull.wasm.http.listen\"]: \"{bad}\" must be")), "{error}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(of("http.requests", "1").map(|h| h.requests), Ok(1));
        assert_eq!(of("http.grace", "0").map(|h| h.grace), Ok(0));
        assert_eq!(of("http.header-bytes", "8192").map(|h| h.header_bytes), Ok(8192));
        assert!(of("http.other", "x").is_ok_and(|h| h.is_usual()));
        for (name, bad) in [
            ("http.requests", "0"), ("http.requests", "many"), ("http.connections", "99999999999"), ("http.timeout", "0"),
            ("http.timeout", "1s"), ("http.header-bytes", "8191"), ("http.header-timeout", ""), ("http.grace", "-1"),
        ] {
            let error = of(name, bad).unwrap_err();
            assert!(error.starts_with(&format!("annotations[\"dev.hull.wasm.{name}\"]: \"{bad}\" must be a number from ")), "{error}");
        }
    }

    /// What hull writes is what the engine reads.
    #[test]
    fn the_message_takes_it() {
        let http = Http { listen: Some("[::1]:80".parse().unwrap()), timeout: 7, ..Http::default() };
        let text = serde_json::to_string(&super::super::BootMessage { http: http.clone(), ..Default::default() }).unwrap();
        assert_eq!(serde_json::from_str::<super::super::BootMessage>(&text).unwrap().http, http);
        let usual = serde_json::to_string(&super::super::BootMessage::default()).unwrap();
        assert!(!usual.contains("http"), "{usual}");
    }
}
