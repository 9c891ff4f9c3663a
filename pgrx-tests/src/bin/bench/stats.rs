//! The arithmetic of the figures: medians, percentiles, ratios pair by pair. Pure.

/// The middle value; of an even number of values the mean of the two in the middle.
/// Panics without values: a figure that was not measured has no median.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The smallest value that is not below `share` (0 to 1) of all, by nearest rank. Panics
/// without values.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Smallest and largest value. Panics without values.
pub fn extremes(values: &[f64]) -> (f64, f64) {
    let sorted = sorted(values);
    (sorted[0], sorted[sorted.len() - 1])
}

/// The median of the ratios of each value to the reference measured beside it. What slows the
/// whole machine for a while slows both of a pair.
pub fn paired_ratio(values: &[f64], references: &[f64]) -> f64 {
    assert_eq!(values.len(), references.len(), "every value has its reference");
    median(&values.iter().zip(references).map(|(value, reference)| value / reference).collect::<Vec<_>>())
}

/// When a count that grows along `curve` (seconds, count) reached `level`, by linear
/// interpolation; `None` when it never did.
pub fn reached_at(curve: &[(f64, f64)], level: f64) -> Option<f64> {
    let after = curve.iter().position(|(_, count)| *count >= level)?;
    let (t1, c1) = curve[after];
    match after.checked_sub(1).map(|before| curve[before]) {
        Some((t0, c0)) if c1 > c0 => Some(t0 + (t1 - t0) * (level - c0) / (c1 - c0)),
        _ => Some(t1),
    }
}

/// Mean growth per second along `curve` while the count went from `from` to `to`; `None` when
/// it never got there.
pub fn rate_between(curve: &[(f64, f64)], from: f64, to: f64) -> Option<f64> {
    Some((to - from) / (reached_at(curve, to)? - reached_at(curve, from)?))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_order_and_outliers() {
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[1000.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    #[should_panic(expected = "nothing was measured")]
    fn no_values_have_no_median() {
        median(&[]);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(percentile(&hundred, 1.0), 100.0);
        assert_eq!(percentile(&hundred, 0.0), 1.0);
        assert_eq!(percentile(&[5.0, 7.0], 0.99), 7.0);
        assert_eq!(percentile(&[5.0, 7.0], 0.5), 5.0);
        assert_eq!(extremes(&hundred), (1.0, 100.0));
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        // The second pair was measured while the machine was ten times slower.
        assert_eq!(paired_ratio(&[2.0, 20.0, 3.0], &[1.0, 10.0, 1.0]), 2.0);
    }

    #[test]
    #[should_panic(expected = "every value has its reference")]
    fn a_value_without_its_reference_is_refused() {
        paired_ratio(&[1.0, 2.0], &[1.0]);
    }

    #[test]
    fn rates_are_read_off_a_curve_between_its_points() {
        let curve = [(0.0, 0.0), (1.0, 100.0), (3.0, 100.0), (5.0, 200.0)];
        assert_eq!(reached_at(&curve, 50.0), Some(0.5));
        assert_eq!(reached_at(&curve, 100.0), Some(1.0));
        assert_eq!(reached_at(&curve, 150.0), Some(4.0));
        assert_eq!(reached_at(&curve, 201.0), None);
        assert_eq!(rate_between(&curve, 0.0, 100.0), Some(100.0));
        assert_eq!(rate_between(&curve, 100.0, 200.0), Some(25.0));
        assert_eq!(rate_between(&curve, 0.0, 300.0), None);
    }
}
