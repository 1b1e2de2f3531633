//! Medians and ratios.

use serde_json::json;

use super::Quantity;
use super::measure::Sample;

/// Ours must reach this much of Miredo's rate.
const GOAL: f64 = 1.0;

/// The samples of both sides: Miredo's first, then ours.
pub(crate) struct Report {
    rows: Vec<Row>,
}

struct Row {
    quantity: Quantity,
    sides: [Vec<Sample>; 2],
}

impl Row {
    fn rate(&self, side: usize) -> Spread {
        Spread::of(self.sides[side].iter().map(|sample| sample.rate))
    }

    fn cpu_ns(&self, side: usize) -> Spread {
        Spread::of(self.sides[side].iter().map(|sample| sample.cpu_ns))
    }

    fn ratio(&self) -> f64 {
        self.rate(1).median / self.rate(0).median
    }
}

impl Report {
    pub(crate) fn new(quantities: &[Quantity]) -> Self {
        let row =
            |quantity: &Quantity| Row { quantity: *quantity, sides: [Vec::new(), Vec::new()] };
        Self { rows: quantities.iter().map(row).collect() }
    }

    pub(crate) fn take(&mut self, quantity: Quantity, side: usize, sample: Sample) {
        let row = self.rows.iter_mut().find(|row| row.quantity == quantity);
        if let Some(row) = row {
            row.sides[side].push(sample);
        }
    }

    /// What does not reach the goal.
    pub(crate) fn slower(&self) -> Vec<String> {
        // A ratio that is no number does not reach the goal either.
        let reaches = |row: &Row| row.ratio() >= GOAL;
        let slower = self.rows.iter().filter(|row| !reaches(row));
        slower.map(|row| format!("{} ({:.2})", row.quantity.name(), row.ratio())).collect()
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<22} {:<7} {:>24} {:>24} {:>6}  CPU of the roles, Miredo / ours",
            "median (min..max)", "", "Miredo", "ours", "ratio"
        );
        for row in &self.rows {
            let (name, unit) = (row.quantity.name(), row.quantity.unit());
            let [theirs, ours] = [0, 1].map(|side| row.rate(side).shown());
            let [cpu, our_cpu] = [0, 1].map(|side| row.cpu_ns(side).median);
            println!(
                "{name:<22} {unit:<7} {theirs:>24} {ours:>24} {:>6.2}  {cpu:.1} / {our_cpu:.1} {}",
                row.ratio(),
                row.quantity.cpu_unit()
            );
        }
    }

    pub(crate) fn print_json(&self) {
        let rows = self.rows.iter().map(|row| {
            let side = |side: usize| {
                let (rate, cpu) = (row.rate(side), row.cpu_ns(side));
                json!({"median": rate.median, "min": rate.min, "max": rate.max,
                       "cpu_ns": cpu.median, "rounds": row.sides[side].len()})
            };
            json!({"name": row.quantity.name(), "unit": row.quantity.unit(),
                   "cpu_unit": row.quantity.cpu_unit(),
                   "miredo": side(0), "ours": side(1), "ratio": row.ratio()})
        });
        println!("{}", json!({"goal": GOAL, "rows": rows.collect::<Vec<_>>()}));
    }
}

struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
        let last = values.len().saturating_sub(1);
        Self { median: f64::midpoint(at(low), at(high)), min: at(0), max: at(last) }
    }

    fn shown(&self) -> String {
        format!("{:.0} ({:.0}..{:.0})", self.median, self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(theirs: &[f64], ours: &[f64]) -> Report {
        let mut report = Report::new(&[Quantity::Answers]);
        for (side, rates) in [theirs, ours].into_iter().enumerate() {
            for rate in rates {
                report.take(Quantity::Answers, side, Sample { rate: *rate, cpu_ns: 1.0 });
            }
        }
        report
    }

    #[test]
    fn medians_decide() {
        assert!(report(&[1.0, 5.0, 9.0], &[5.0, 6.0, 0.0]).slower().is_empty());
        assert_eq!(report(&[4.0, 6.0], &[4.0, 4.0]).slower(), ["server answers (0.80)"]);
        assert_eq!(report(&[4.0], &[]).slower().len(), 1);
    }
}
