//! What was measured, as a table for people and as JSON for machines: medians over the rounds, each life's own figures beside them.

mod targets;
mod text;

use serde::Serialize;

use super::{Contestant, Load, Machine, Plan, Sample};

/// The whole measurement.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) machine: Machine,
    pub(super) cores: String,
    pub(super) plan: Plan,
    pub(super) took_seconds: f64,
    pub(super) lives: Vec<(Contestant, Vec<Sample>)>,
}

/// One contestant's medians.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// Whose.
    pub contestant: Contestant,
    /// Answers a second, the same 100 names again and again.
    pub hot_per_second: f64,
    /// CPU an answer of these.
    pub hot_microseconds: f64,
    /// Answers a second, each name once.
    pub cold_per_second: f64,
    /// CPU an answer of these.
    pub cold_microseconds: f64,
    /// CPU a refusal.
    pub denied_microseconds: Option<f64>,
    /// One question at a time, each name once.
    pub serial_microseconds: Option<f64>,
    /// The same without what a direct question took right before.
    pub added_microseconds: Option<f64>,
    /// Resident memory before the first load.
    pub idle_bytes: f64,
    /// Resident memory after the cold load.
    pub full_bytes: f64,
    /// The fewest addresses that were open in the kernel then.
    pub open: Option<usize>,
    /// Questions of all rounds that were not answered.
    pub lost: u64,
    /// Answers of all rounds that had another code than NOERROR, refusals excepted.
    pub other_codes: u64,
}

impl Report {
    /// The table, the figures that must be reached, and how to read them.
    #[must_use]
    pub fn text(&self) -> String {
        text::draw(self, &self.rows())
    }

    /// Everything, each life's own figures too.
    ///
    /// # Panics
    /// Never: all of it has a JSON form.
    #[must_use]
    pub fn json(&self) -> String {
        let rows = self.rows();
        let contestant =
            |row: &Row, samples: &[Sample]| serde_json::json!({ "name": row.contestant.name(), "median": row, "rounds": samples });
        let contestants: Vec<_> = rows.iter().zip(&self.lives).map(|(row, (_, samples))| contestant(row, samples)).collect();
        let all = serde_json::json!({
            "machine": self.machine, "cores": self.cores, "plan": self.plan, "took_seconds": self.took_seconds,
            "contestants": contestants, "targets": targets::all(self.plan, &rows),
        });
        serde_json::to_string_pretty(&all).expect("JSON")
    }

    fn rows(&self) -> Vec<Row> {
        self.lives.iter().filter_map(|(contestant, samples)| row(*contestant, samples)).collect()
    }
}

fn row(contestant: Contestant, samples: &[Sample]) -> Option<Row> {
    let of = |figure: fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(figure).collect());
    let loads = |sample: &Sample| [Some(sample.hot), Some(sample.cold), sample.denied].into_iter().flatten().collect::<Vec<Load>>();
    Some(Row {
        contestant,
        hot_per_second: of(|sample| Some(sample.hot.per_second))?,
        hot_microseconds: of(|sample| Some(sample.hot.cpu_microseconds))?,
        cold_per_second: of(|sample| Some(sample.cold.per_second))?,
        cold_microseconds: of(|sample| Some(sample.cold.cpu_microseconds))?,
        denied_microseconds: of(|sample| Some(sample.denied?.cpu_microseconds)),
        serial_microseconds: of(|sample| sample.serial_microseconds),
        added_microseconds: of(|sample| Some(sample.serial_microseconds? - sample.direct_microseconds)),
        idle_bytes: of(|sample| Some(sample.idle_bytes as f64))?,
        full_bytes: of(|sample| Some(sample.full_bytes as f64))?,
        open: samples.iter().filter_map(|sample| sample.open).min(),
        lost: samples.iter().flat_map(loads).map(|load| load.lost).sum(),
        other_codes: samples.iter().flat_map(|sample| [sample.hot, sample.cold]).map(|load| load.other_codes).sum(),
    })
}

/// The middle one; of an even number the upper of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
