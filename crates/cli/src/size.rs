//! Quantities as people write them on a command line: sizes, processor shares, durations.
//!
//! Owns the text forms only; what a quantity limits is not known here.

use std::time::Duration;

/// Bytes from `67108864`, `64M`, `1.5g`, `64MiB` or `64 mb`; every unit is a power of 1024.
///
/// # Errors
/// Says what is wrong with the text; a negative size is wrong.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let bad = |why: &str| Err(format!("{text:?} is no size: {why} (use bytes, or a number with K, M, G, T or P)"));
    let digits = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').map_or(0, |at| at + 1);
    let (number, unit) = (text[..digits].trim_end_matches(' '), text[digits..].to_ascii_lowercase());
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return bad("unknown unit"),
    };
    // Whole numbers do not pass through a float, which could not hold all of them.
    if let Ok(whole) = number.parse::<u64>() {
        return match i64::try_from(u128::from(whole) << shift) {
            Ok(size) => Ok(size),
            Err(_) => bad("too large"),
        };
    }
    if !number.contains('.') || number.contains(|c: char| !c.is_ascii_digit() && c != '.') {
        return bad("not a positive number");
    }
    match number.parse::<f64>().map(|n| n * (1u64 << shift) as f64) {
        Ok(size) if size < i64::MAX as f64 => Ok(size as i64),
        Ok(_) => bad("too large"),
        Err(_) => bad("not a number"),
    }
}

/// As [`bytes`], and `-1` for "no limit".
///
/// # Errors
/// As [`bytes`].
pub(crate) fn bytes_or_unlimited(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// Processor time: at most `quota` microseconds in each `period` of as many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuShare {
    /// Microseconds that may be used in each period, over all processors.
    pub(crate) quota: i64,
    /// Length of the period in microseconds.
    pub(crate) period: u64,
}

/// A number of processors, such as `0.5` or `2`, as the kernel's quota.
///
/// # Errors
/// For less than a hundredth of a processor, since the kernel takes no quota under one millisecond.
pub(crate) fn cpus(text: &str) -> Result<CpuShare, String> {
    const PERIOD: u64 = 100_000;
    let count: f64 = text.parse().map_err(|_| format!("{text:?} is no number of processors"))?;
    if !(0.01..=100_000.0).contains(&count) {
        return Err(format!("{text:?} processors: use a number from 0.01 up, such as 0.5 or 2"));
    }
    Ok(CpuShare { quota: (count * PERIOD as f64).round() as i64, period: PERIOD })
}

/// A duration in Go's notation: `5s`, `100ms`, `1m30s`, `1.5h`.
///
/// # Errors
/// For another notation, and for zero or less: nothing can be done every zero seconds.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration above zero (use such as 5s, 100ms, 1m30s)");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let end = rest[number..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |n| number + n);
        let unit = match &rest[number..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        seconds += rest[..number].parse::<f64>().map_err(|_| bad())? * unit;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero()).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_runc_takes_them() {
        for (text, size) in [
            ("0", 0),
            ("67108864", 67_108_864),
            ("64M", 64 << 20),
            ("50m", 50 << 20),
            ("1g", 1 << 30),
            ("1GiB", 1 << 30),
            ("1kb", 1024),
            ("10b", 10),
            ("2 MB", 2 << 20),
            ("1.5k", 1536),
            (".5k", 512),
            ("1t", 1 << 40),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in
            ["", "M", "-1", "-5M", "64X", "64mbb", "64ki", "1.2.3", "nan", "9000000000000P", "9223372036854775808"]
        {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!(bytes_or_unlimited("-1"), Ok(-1));
        assert!(bytes_or_unlimited("-2").is_err());
    }

    #[test]
    fn processors_become_a_quota() {
        assert_eq!(cpus("0.5"), Ok(CpuShare { quota: 50_000, period: 100_000 }));
        assert_eq!(cpus("2"), Ok(CpuShare { quota: 200_000, period: 100_000 }));
        assert_eq!(cpus("0.01").map(|c| c.quota), Ok(1000));
        for text in ["0", "-1", "0.001", "inf", "nan", "", "two"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn intervals_in_go_notation() {
        for (text, ms) in [("5s", 5000), ("100ms", 100), ("1m30s", 90_000), ("1.5h", 5_400_000), ("1h2m", 3_720_000)] {
            assert_eq!(interval(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "0s", "-1s", "5", "5x", "s", "1..5s", "1e9s"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
