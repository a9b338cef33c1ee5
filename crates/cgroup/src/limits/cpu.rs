//! CPU time and CPU placement.

use hull_spec::config::Cpu;

use super::{Place, Setter, Want, v1_only};
use crate::create::State;
use crate::file::read;
use crate::{Error, Result};

/// v1's bounds of `cpu.shares`, which the kernel applies without a word.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;
const DEFAULT_SHARES: u64 = 1024;
const DEFAULT_PERIOD: u64 = 100_000;
const DEFAULT_REALTIME_PERIOD: u64 = 1_000_000;

/// v2's weight for v1's shares: the curve through (2, 1), (1024, 100) and (262144, 10000) whose exponent is quadratic
/// in the logarithm, as the field has agreed on.
pub(super) fn weight(shares: u64) -> u64 {
    if shares <= *SHARES.start() {
        return 1;
    }
    if shares >= *SHARES.end() {
        return 10_000;
    }
    let l = (shares as f64).log2();
    10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64
}

impl Setter<'_> {
    pub(super) fn cpu(&mut self, cpu: &Cpu) -> Result<()> {
        let place = self.place("cpu");
        let v2 = matches!(place, Place::V2(_));
        let mut wants = Vec::new();
        let idle = cpu.idle.map(|n| Want::limit("cpu.idle", "cpu.idle", n).or_default(n == 0));
        // The kernel takes no weight for an idle group: idleness ends first, and begins last.
        wants.extend(idle.clone().filter(|w| w.idle));
        if let Some(shares) = cpu.shares.filter(|n| *n != 0) {
            let default = shares == DEFAULT_SHARES;
            if v2 {
                wants.push(Want::limit("cpu.shares", "cpu.weight", weight(shares)).or_default(default));
            } else {
                if !SHARES.contains(&shares) {
                    let (kind, bound) =
                        if shares < 2 { ("minimum", SHARES.start()) } else { ("maximum", SHARES.end()) };
                    let text = format!("linux.resources.cpu.shares: the {kind} allowed cpu-shares is {bound}");
                    return Err(Error::new(text));
                }
                wants.push(Want::limit("cpu.shares", "cpu.shares", shares).or_default(default));
            }
        }
        let quota = cpu.quota.filter(|n| *n != 0);
        let period = cpu.period.filter(|n| *n != 0);
        let unlimited = quota.is_none_or(|n| n < 0);
        if v2 {
            wants.extend(self.cpu_max(place, quota, period)?);
            let burst = cpu.burst.map(|n| Want::limit("cpu.burst", "cpu.max.burst", n).or_default(n == 0));
            wants.extend(burst);
        } else {
            let period = period.map(|n| {
                // Without a quota a period bounds nothing.
                let want = Want::limit("cpu.period", "cpu.cfs_period_us", n).or_default(n == DEFAULT_PERIOD);
                let idle = want.idle || unlimited;
                want.or_idle(idle)
            });
            wants.extend(period);
            wants.extend(quota.map(|n| Want::limit("cpu.quota", "cpu.cfs_quota_us", n.max(-1)).or_default(n < 0)));
            wants.extend(cpu.burst.map(|n| Want::limit("cpu.burst", "cpu.cfs_burst_us", n).or_default(n == 0)));
        }
        wants.extend(idle.filter(|w| !w.idle));

        let mut realtime = Vec::new();
        realtime.extend(cpu.realtime_period.filter(|n| *n != 0).map(|n| {
            Want::limit("cpu.realtimePeriod", "cpu.rt_period_us", n).or_default(n == DEFAULT_REALTIME_PERIOD)
        }));
        realtime.extend(
            cpu.realtime_runtime
                .filter(|n| *n != 0)
                .map(|n| Want::limit("cpu.realtimeRuntime", "cpu.rt_runtime_us", n)),
        );
        match place {
            Place::V1(dir) => {
                self.settle(dir, wants)?;
                self.settle(dir, realtime)
            }
            Place::V2(dir) => {
                if let Some(want) = realtime.iter().find(|w| !w.idle) {
                    return Err(v1_only(want.field, &want.value));
                }
                realtime.iter().for_each(|want| self.note(want));
                self.settle(dir, wants)
            }
            Place::Nowhere => {
                wants.extend(realtime);
                self.nowhere("cpu", &wants)
            }
        }
    }

    /// v2 has quota and period in one file, where a quota alone leaves the period, but a period needs the quota.
    fn cpu_max(&self, place: Place<'_>, quota: Option<i64>, period: Option<u64>) -> Result<Option<Want>> {
        let word = |quota: i64| if quota < 0 { "max".to_string() } else { quota.to_string() };
        let unlimited = quota.is_none_or(|n| n < 0);
        let default = unlimited && period.is_none_or(|n| n == DEFAULT_PERIOD);
        let (field, value) = match (quota, period) {
            (None, None) => return Ok(None),
            (Some(quota), None) => ("cpu.quota", word(quota)),
            (Some(quota), Some(period)) => ("cpu.quota", format!("{} {period}", word(quota))),
            (None, Some(period)) => {
                let now = match place {
                    Place::V2(dir) if self.state == State::Used => read(dir, "cpu.max").unwrap_or_default(),
                    _ => String::new(),
                };
                ("cpu.period", format!("{} {period}", now.split_whitespace().next().unwrap_or("max")))
            }
        };
        Ok(Some(Want::limit(field, "cpu.max", value).or_default(default).or_idle(unlimited)))
    }

    pub(super) fn cpuset(&mut self, cpu: &Cpu) -> Result<()> {
        let mut wants = Vec::new();
        for (field, file, value) in [("cpu.cpus", "cpuset.cpus", &cpu.cpus), ("cpu.mems", "cpuset.mems", &cpu.mems)] {
            if !value.is_empty() {
                wants.push(Want::limit(field, file, value));
            }
        }
        match self.place("cpuset") {
            Place::V1(dir) | Place::V2(dir) => self.settle(dir, wants),
            Place::Nowhere => self.nowhere("cpuset", &wants),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn weights_fit_the_ends_and_the_default() {
        for (shares, want) in
            [(1, 1), (2, 1), (3, 2), (8, 3), (102, 17), (512, 59), (1024, 100), (2048, 174), (10_240, 639)]
        {
            assert_eq!(weight(shares), want, "shares {shares}");
        }
        assert_eq!(weight(262_143), 10_000);
        assert_eq!(weight(262_144), 10_000);
        assert_eq!(weight(u64::MAX), 10_000);
        assert!((3..262_144).step_by(97).map(weight).is_sorted());
    }
}
