//! Interleaved rounds, medians with quartiles, ratios taken pair by pair, and a Markdown table.

use std::fmt::Write;

/// Runs `run(case, round)` for every case in every round, in a new order each round so that no case
/// always follows the same neighbour. The first `warm_up` rounds are dropped.
pub fn interleave<T>(
    cases: usize,
    warm_up: usize,
    rounds: usize,
    mut run: impl FnMut(usize, usize) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Vec<Vec<Option<T>>>> {
    let mut results: Vec<Vec<Option<T>>> = (0..cases).map(|_| Vec::new()).collect();
    let mut order: Vec<usize> = (0..cases).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..warm_up + rounds {
        for left in (1..order.len()).rev() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            order.swap(left, (random % (left as u64 + 1)) as usize);
        }
        for &case in &order {
            let result = run(case, round)?;
            if round >= warm_up {
                results[case].push(result);
            }
        }
    }
    Ok(results)
}

/// The median and the quartiles around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

/// `None` if there are no values.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let at = |part| quantile(&values, part);
    Some(Spread { low: at(0.25)?, median: at(0.5)?, high: at(0.75)? })
}

/// The value below which `part` of the sorted values lie, with a straight line between neighbours.
pub fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = part * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor()))
}

/// The spread of `value / base`, each pair taken in the same round.
pub fn ratio(value: &[Option<f64>], base: &[Option<f64>]) -> Option<Spread> {
    spread(value.iter().zip(base).filter_map(|(value, base)| Some((*value)? / (*base)?)))
}

impl Spread {
    /// `median (low–high)` with `digits` behind the point.
    pub fn show(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.low, self.high)
    }
}

/// A cell for a value that may be missing.
pub fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}

/// A Markdown table.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Table { rows: vec![head.iter().map(ToString::to_string).collect()] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Columns as wide as their widest cell; the first to the left, numbers to the right.
    pub fn markdown(&self) -> String {
        let columns = self.rows[0].len();
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = if column == 0 {
                    write!(out, "| {cell:<width$} ")
                } else {
                    write!(out, "| {cell:>width$} ")
                };
            }
            out.push_str("|\n");
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + 1);
                    let _ = if column == 0 { write!(out, "|{dashes}-") } else { write!(out, "|{dashes}:") };
                }
                out.push_str("|\n");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_and_paired_ratios() {
        let got = spread([4.0, 1.0, 3.0, 2.0, 5.0]).unwrap();
        assert_eq!(got, Spread { low: 2.0, median: 3.0, high: 4.0 });
        assert_eq!(spread([]), None);
        let pairs = ratio(&[Some(2.0), None, Some(9.0)], &[Some(1.0), Some(1.0), Some(3.0)]).unwrap();
        assert_eq!(pairs.median, 2.5);
        assert_eq!(quantile(&[1.0, 2.0], 0.99), Some(1.99));
    }

    #[test]
    fn every_case_runs_once_a_round_and_the_warm_up_is_dropped() {
        let mut calls = Vec::new();
        let got = interleave(3, 2, 4, |case, round| {
            calls.push((round, case));
            Ok((case != 1 || round % 2 == 0).then_some(round))
        })
        .unwrap();
        calls.sort_unstable();
        assert_eq!(calls, (0..6).flat_map(|round| (0..3).map(move |case| (round, case))).collect::<Vec<_>>());
        assert_eq!(got[0], [Some(2), Some(3), Some(4), Some(5)]);
        assert_eq!(got[1], [Some(2), None, Some(4), None]);
    }

    #[test]
    fn the_table_is_markdown() {
        let mut table = Table::new(&["program", "ms"]);
        table.row(vec!["a".into(), "1.25".into()]);
        assert_eq!(table.markdown(), "| program |   ms |\n|---------|-----:|\n| a       | 1.25 |\n");
    }
}
