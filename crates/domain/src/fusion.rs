//! Reciprocal rank fusion: one ranking out of several, from the ranks alone, because the scores
//! of different searches cannot be compared.

use std::collections::HashMap;
use std::hash::Hash;

/// The constant of Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and
/// individual Rank Learning Methods" (SIGIR 2009), who found 60 to be near the best for any data.
pub const K: f64 = 60.0;

/// Something that was found: where it stands in each ranking, counted from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Fused<T> {
    pub item: T,
    /// The sum of `1 / (K + rank)` over the rankings that have it.
    pub score: f64,
    pub ranks: Vec<Option<usize>>,
}

/// Fuses rankings, best first. What scores alike keeps the order in which it was first met, going
/// through the rankings one after the other.
pub fn fuse<T: Clone + Eq + Hash>(rankings: &[Vec<T>]) -> Vec<Fused<T>> {
    let mut fused: Vec<Fused<T>> = Vec::new();
    let mut places: HashMap<T, usize> = HashMap::new();
    for (ranking, items) in rankings.iter().enumerate() {
        for (rank, item) in items.iter().enumerate() {
            let place = *places.entry(item.clone()).or_insert_with(|| {
                fused.push(Fused { item: item.clone(), score: 0.0, ranks: vec![None; rankings.len()] });
                fused.len() - 1
            });
            let entry = &mut fused[place];
            if entry.ranks[ranking].is_none() {
                entry.ranks[ranking] = Some(rank + 1);
                entry.score += 1.0 / (K + rank as f64 + 1.0);
            }
        }
    }
    fused.sort_by(|a, b| b.score.total_cmp(&a.score));
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(rankings: &[Vec<&str>]) -> Vec<String> {
        fuse(rankings).into_iter().map(|fused| fused.item.to_owned()).collect()
    }

    #[test]
    fn what_both_found_comes_before_what_one_found() {
        assert_eq!(order(&[vec!["a", "b", "c"], vec!["d", "c"]]), ["c", "a", "d", "b"]);
    }

    #[test]
    fn scores_are_those_of_the_paper() {
        let fused = fuse(&[vec!["a", "b"], vec!["b"]]);
        assert_eq!(fused[0].item, "b");
        assert!((fused[0].score - (1.0 / 62.0 + 1.0 / 61.0)).abs() < 1e-15);
        assert_eq!(fused[0].ranks, [Some(2), Some(1)]);
        assert_eq!(fused[1].ranks, [Some(1), None]);
    }

    #[test]
    fn nothing_and_repetitions_are_harmless() {
        assert!(fuse::<&str>(&[]).is_empty());
        assert!(fuse::<&str>(&[vec![], vec![]]).is_empty());
        let once = fuse(&[vec!["a", "a", "b"]]);
        assert!((once[0].score - 1.0 / 61.0).abs() < 1e-15);
        assert_eq!(once.len(), 2);
    }
}
