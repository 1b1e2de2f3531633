//! What else the machine does: figures taken beside other work say little.

use std::fs;

/// More than this much of a CPU taken by others before the start makes the figures doubtful.
const LOAD_MAX: f64 = 0.5;
/// More than this share of the time taken by a hypervisor's other guests does so too.
const STEAL_MAX: f64 = 0.05;

/// The state of the machine before a run.
pub(crate) struct Machine {
    load: f64,
    before: Times,
}

impl Machine {
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = text.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0.0);
        Self { load, before: Times::now() }
    }

    /// Why the figures taken since then are doubtful, if they are.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let now = Times::now();
        let steal = (now.steal - self.before.steal) / (now.total - self.before.total).max(1.0);
        let mut doubts = Vec::new();
        if self.load > LOAD_MAX {
            doubts.push(format!("the load average was {} before the start", self.load));
        }
        if steal > STEAL_MAX {
            doubts.push(format!("{:.0} % of the CPU time was stolen", steal * 100.0));
        }
        doubts
    }
}

/// Ticks of all CPUs since boot.
struct Times {
    total: f64,
    steal: f64,
}

impl Times {
    fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        let ticks: Vec<f64> =
            first.split_whitespace().skip(1).filter_map(|it| it.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user already.
        let total = ticks.iter().take(8).sum();
        Self { total, steal: ticks.get(7).copied().unwrap_or(0.0) }
    }
}
