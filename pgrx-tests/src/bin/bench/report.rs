//! What was measured, as one table for people and one JSON file for programs. Decides whether a
//! bar is reached; measures nothing itself.

use serde_json::{Value, json};

use crate::stats;

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// The ratio to the reference is at least this.
    RatioAtLeast(f64),
    /// The ratio to the reference is at most this.
    RatioAtMost(f64),
    /// The median is at least this.
    MedianAtLeast(f64),
    /// The median is less than this.
    MedianBelow(f64),
}

/// One line of the report.
#[derive(Debug, Clone)]
pub struct Figure {
    case: &'static str,
    what: String,
    unit: &'static str,
    values: Vec<f64>,
    references: Vec<f64>,
    ratio: Option<f64>,
    bar: Option<Bar>,
}

impl Figure {
    /// Values in `unit` without a reference. Panics when there are none.
    pub fn new(case: &'static str, what: impl Into<String>, unit: &'static str, values: Vec<f64>) -> Figure {
        assert!(!values.is_empty(), "{case}: nothing was measured");
        Figure { case, what: what.into(), unit, values, references: Vec::new(), ratio: None, bar: None }
    }

    /// Adds the references: the one at place `i` was measured beside the value at place `i`.
    pub fn beside(mut self, references: Vec<f64>) -> Figure {
        self.ratio = Some(stats::paired_ratio(&self.values, &references));
        self.references = references;
        self
    }

    /// Adds references that have no pairs: the ratio is that of the medians.
    pub fn against(mut self, references: Vec<f64>) -> Figure {
        self.ratio = Some(stats::median(&self.values) / stats::median(&references));
        self.references = references;
        self
    }

    pub fn bar(mut self, bar: Bar) -> Figure {
        self.bar = Some(bar);
        self
    }

    /// Whether the bar is reached; `None` without one. Panics when the bar is for a ratio and
    /// there is no reference.
    pub fn reached(&self) -> Option<bool> {
        let ratio = || self.ratio.expect("a bar for the ratio needs a reference");
        let median = stats::median(&self.values);
        Some(match self.bar? {
            Bar::RatioAtLeast(bar) => ratio() >= bar,
            Bar::RatioAtMost(bar) => ratio() <= bar,
            Bar::MedianAtLeast(bar) => median >= bar,
            Bar::MedianBelow(bar) => median < bar,
        })
    }

    pub fn ratio(&self) -> Option<f64> {
        self.ratio
    }

    /// The ratio that is to be reached, or not to be passed.
    pub fn ratio_bar(&self) -> Option<f64> {
        match self.bar? {
            Bar::RatioAtLeast(bar) | Bar::RatioAtMost(bar) => Some(bar),
            Bar::MedianAtLeast(_) | Bar::MedianBelow(_) => None,
        }
    }

    /// The figure in words, for the line that says that a bar is missed.
    pub fn name(&self) -> String {
        format!("{}: {}", self.case, self.what)
    }

    fn cells(&self) -> [String; COLUMNS] {
        let (low, high) = stats::extremes(&self.values);
        let spread = match self.values.len() {
            1 => "-".to_owned(),
            _ => format!("{}–{}", number(low), number(high)),
        };
        let dash = || "-".to_owned();
        [
            self.case.to_owned(),
            self.what.clone(),
            self.unit.to_owned(),
            number(stats::median(&self.values)),
            spread,
            if self.references.is_empty() { dash() } else { number(stats::median(&self.references)) },
            self.ratio.map_or_else(dash, |ratio| format!("{ratio:.2}")),
            self.bar.map_or_else(dash, |bar| bar.text()),
            match self.reached() {
                None => dash(),
                Some(true) => "yes".to_owned(),
                Some(false) => "NO".to_owned(),
            },
        ]
    }

    fn json(&self) -> Value {
        let (low, high) = stats::extremes(&self.values);
        json!({
            "case": self.case,
            "what": self.what,
            "unit": self.unit,
            "median": stats::median(&self.values),
            "min": low,
            "max": high,
            "reference_median": (!self.references.is_empty()).then(|| stats::median(&self.references)),
            "ratio": self.ratio,
            "bar": self.bar.map(Bar::text),
            "reached": self.reached(),
            "values": self.values,
            "references": self.references,
        })
    }
}

impl Bar {
    fn text(self) -> String {
        match self {
            Bar::RatioAtLeast(bar) => format!("ratio ≥ {bar}"),
            Bar::RatioAtMost(bar) => format!("ratio ≤ {bar}"),
            Bar::MedianAtLeast(bar) => format!("≥ {}", number(bar)),
            Bar::MedianBelow(bar) => format!("< {}", number(bar)),
        }
    }
}

const COLUMNS: usize = 9;
const HEAD: [&str; COLUMNS] =
    ["case", "what", "unit", "median", "min–max", "reference", "ratio", "bar", "reached"];
/// Columns of words; the others are numbers and stand to the right.
const LEFT: [bool; COLUMNS] = [true, true, true, false, false, false, false, true, true];

/// The table, one line a figure, columns aligned.
pub fn table(figures: &[Figure]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(figures.iter().map(Figure::cells));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        let cells: Vec<String> = (0..COLUMNS)
            .map(|i| match LEFT[i] {
                true => format!("{:<1$}", row[i], widths[i]),
                false => format!("{:>1$}", row[i], widths[i]),
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
        if place == 0 {
            text.push_str(&"-".repeat(widths.iter().sum::<usize>() + 2 * (COLUMNS - 1)));
            text.push('\n');
        }
    }
    text
}

/// The file: `about` says where and how it was measured.
pub fn document(about: &Value, figures: &[Figure]) -> Value {
    json!({"about": about, "figures": figures.iter().map(Figure::json).collect::<Vec<_>>()})
}

/// As many digits as mean something: three, or all of a large number.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => grouped(value),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A whole number in groups of three digits.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(values: &[f64]) -> Figure {
        Figure::new("write-path", "rows", "rows/s", values.to_vec())
    }

    #[test]
    fn numbers_keep_three_digits() {
        let shown = [0.0123, 0.9996, 1.0, 12.345, 99.96, 1234.5, 1_234_567.0, -1000.0].map(number);
        assert_eq!(shown, ["0.012", "1.00", "1.00", "12.3", "100", "1,234", "1,234,567", "-1,000"]);
    }

    #[test]
    fn bars_have_a_side() {
        let two = || figure(&[2.0]).beside(vec![4.0]);
        assert_eq!(two().reached(), None);
        assert_eq!(two().bar(Bar::RatioAtLeast(0.5)).reached(), Some(true));
        assert_eq!(two().bar(Bar::RatioAtLeast(0.51)).reached(), Some(false));
        assert_eq!(two().bar(Bar::RatioAtMost(0.5)).reached(), Some(true));
        assert_eq!(two().bar(Bar::RatioAtMost(0.49)).reached(), Some(false));
        assert_eq!(two().bar(Bar::MedianAtLeast(2.0)).reached(), Some(true));
        assert_eq!(two().bar(Bar::MedianAtLeast(2.1)).reached(), Some(false));
        assert_eq!(two().bar(Bar::MedianBelow(2.0)).reached(), Some(false));
        assert_eq!(two().bar(Bar::MedianBelow(2.1)).reached(), Some(true));
    }

    #[test]
    #[should_panic(expected = "needs a reference")]
    fn a_bar_for_a_ratio_without_a_reference_is_no_figure() {
        figure(&[1.0]).bar(Bar::RatioAtMost(2.0)).reached();
    }

    #[test]
    fn references_with_and_without_pairs_differ() {
        let values = vec![2.0, 20.0, 3.0];
        assert_eq!(figure(&values).beside(vec![1.0, 10.0, 1.0]).ratio, Some(2.0));
        assert_eq!(figure(&values).against(vec![1.0, 10.0, 1.0]).ratio, Some(3.0));
    }

    #[test]
    fn the_table_shows_what_is_missed_in_aligned_columns() {
        let missed = figure(&[1.0, 2.0, 3.0]).beside(vec![10.0, 10.0, 10.0]).bar(Bar::RatioAtLeast(0.5));
        let text = table(&[missed, figure(&[7.0])]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with("case"));
        let cells: Vec<&str> = lines[2].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let expected =
            ["write-path", "rows", "rows/s", "2.00", "1.00–3.00", "10.0", "0.20", "ratio ≥ 0.5", "NO"];
        assert_eq!(cells, expected);
        let place = |line: &str| line.chars().position(|c| c == 'y' || c == 'N').map(|_| line.find("rows/s"));
        assert_eq!(place(lines[2]), Some(lines[3].find("rows/s")));
        assert!(lines[3].ends_with('-'));
    }

    #[test]
    fn the_document_holds_every_value() {
        let text = document(&json!({"scale": 1.0}), &[figure(&[1.0, 3.0]).bar(Bar::MedianAtLeast(2.0))]);
        assert_eq!(text["figures"][0]["values"], json!([1.0, 3.0]));
        assert_eq!(text["figures"][0]["median"], json!(2.0));
        assert_eq!(text["figures"][0]["reached"], json!(true));
        assert_eq!(text["figures"][0]["reference_median"], Value::Null);
        assert_eq!(text["about"]["scale"], json!(1.0));
    }
}
