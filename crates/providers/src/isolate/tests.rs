use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{Embeddings, Limits};

/// Refuses a request that holds an input which `is_bad`; each vector holds its input.
struct Fake<F> {
    is_bad: F,
    calls: AtomicUsize,
    asked: Mutex<Vec<usize>>,
}

impl<F: Fn(&str) -> Option<Failure> + Send + Sync> Fake<F> {
    fn new(is_bad: F) -> Self {
        Fake { is_bad, calls: AtomicUsize::new(0), asked: Mutex::default() }
    }
}

impl<F: Fn(&str) -> Option<Failure> + Send + Sync> Embedder for Fake<F> {
    fn embed(&self, inputs: &[&str], _: Purpose) -> Result<Embeddings, Failure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.asked.lock().unwrap().push(inputs.len());
        if let Some(failure) = inputs.iter().find_map(|i| (self.is_bad)(i)) {
            return Err(failure);
        }
        let values = inputs.iter().flat_map(|i| [i.parse().unwrap(), 1.0]).collect();
        let cut = (0..inputs.len()).filter(|at| inputs[*at].ends_with("99")).collect();
        Ok(Embeddings { dimensions: 2, values, tokens: inputs.len() as u64, cut })
    }

    fn limits(&self) -> Limits {
        Limits { inputs: usize::MAX, tokens: usize::MAX }
    }

    fn dimensions(&self) -> Option<usize> {
        Some(2)
    }

    fn default_concurrency(&self) -> usize {
        1
    }
}

fn run(count: usize, is_bad: impl Fn(usize) -> Option<Failure> + Send + Sync) -> (Isolated, Vec<usize>) {
    let inputs: Vec<String> = (0..count).map(|i| i.to_string()).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let fake = Fake::new(|input: &str| is_bad(input.parse().unwrap()));
    let isolated = embed_isolating(&fake, &inputs, Purpose::Document);
    assert_eq!(isolated.calls, fake.calls.load(Ordering::SeqCst));
    assert_eq!(isolated.len(), count);
    for (index, outcome) in isolated.iter().enumerate() {
        if let Ok(vector) = outcome {
            assert_eq!(vector, [index as f32, 1.0], "a vector must belong to its input");
        }
    }
    (isolated, fake.asked.into_inner().unwrap())
}

fn bad(index: usize) -> Failure {
    Failure::input(format!("input {index} is refused"))
}

#[test]
fn a_batch_without_fault_is_one_request() {
    let (isolated, _) = run(256, |_| None);
    assert_eq!((isolated.calls, isolated.tokens, isolated.all_refused), (1, 256, false));
    assert!(isolated.iter().all(|o| o.is_ok()));
    assert!(isolated.interruption().is_none());
    let (empty, asked) = run(0, |_| None);
    assert!(empty.is_empty() && asked.is_empty() && !empty.all_refused);
}

#[test]
fn one_bad_input_costs_two_requests_for_each_halving() {
    for poison in [0, 1, 100, 254, 255] {
        let (isolated, asked) = run(256, |i| (i == poison).then(|| bad(i)));
        assert_eq!(isolated.calls, 1 + 2 * 8, "{asked:?}");
        assert_eq!(isolated.cut, [99, 199], "cut inputs under their numbers in the batch");
        for (index, outcome) in isolated.iter().enumerate() {
            match index == poison {
                true => assert_eq!(outcome.unwrap_err(), &bad(poison)),
                false => assert!(outcome.is_ok(), "{index}"),
            }
        }
        assert!(!isolated.all_refused);
    }
    // Halves need not be even.
    for count in [2, 3, 5, 7, 100, 2047] {
        for poison in [0, count / 2, count - 1] {
            let (isolated, _) = run(count, |i| (i == poison).then(|| bad(i)));
            assert_eq!(isolated.iter().filter(|o| o.is_err()).count(), 1);
            assert!(isolated.calls <= 1 + 2 * count.next_power_of_two().ilog2() as usize);
        }
    }
}

#[test]
fn many_bad_inputs_cost_no_more_than_that_each() {
    for poisons in [vec![3, 77, 200], (0..256).step_by(5).collect(), (0..50).collect(), (206..256).collect()]
    {
        let is_poison = |i: usize| poisons.contains(&i);
        let (isolated, _) = run(256, |i| is_poison(i).then(|| bad(i)));
        let refused: Vec<_> = (0..256).filter(|i| isolated.vector(*i).is_err()).collect();
        assert_eq!(refused, poisons);
        assert!(isolated.iter().all(|o| !matches!(o, Err(Failure::Request { .. } | Failure::Config { .. }))));
        assert!(isolated.calls <= 1 + 2 * 8 * poisons.len() + PROBES, "{}", isolated.calls);
        assert!(!isolated.all_refused);
    }
}

#[test]
fn a_single_input_is_refused_for_itself() {
    let (isolated, _) = run(1, |i| Some(bad(i)));
    assert_eq!((isolated.calls, isolated.all_refused), (1, false));
    assert_eq!(isolated.vector(0), Err(&bad(0)));
}

#[test]
fn another_failure_keeps_the_vectors_and_goes_to_the_rest() {
    for failure in [Failure::request("overloaded"), Failure::config("no such model", "mend it")] {
        // 4 is bad, so the batch is halved; 6 fails otherwise when it is asked for.
        let (isolated, asked) = run(8, |i| match i {
            4 => Some(bad(4)),
            6 => Some(failure.clone()),
            _ => None,
        });
        // 0..8, 0..4, 4..8, 4..6, 4, 5, 6..8
        assert_eq!(asked, [8, 4, 4, 2, 1, 1, 2]);
        for index in [0, 1, 2, 3, 5] {
            assert!(isolated.vector(index).is_ok(), "{index}");
        }
        assert_eq!(isolated.vector(4), Err(&bad(4)));
        assert_eq!(isolated.vector(6), Err(&failure));
        assert_eq!(isolated.vector(7), Err(&failure));
        assert_eq!(isolated.interruption(), Some(&failure));
    }
    let (isolated, asked) = run(8, |_| Some(Failure::request("down")));
    assert_eq!(asked, [8]);
    assert!(isolated.iter().all(|o| o == Err(&Failure::request("down"))));
    assert!(!isolated.all_refused);
}

#[test]
fn a_refusal_of_everything_is_told_apart_and_soon_given_up() {
    let (small, asked) = run(4, |i| Some(bad(i)));
    assert_eq!(asked.len(), 7);
    assert!(small.all_refused);
    assert!(small.iter().all(|o| matches!(o, Err(Failure::Input { .. }))));

    let (large, asked) = run(2048, |_| Some(Failure::input("unknown parameter")));
    assert!(large.all_refused);
    assert!(asked.len() < 40, "{}", asked.len());
    match large.interruption() {
        Some(Failure::Config { message, .. }) => assert!(message.contains("unknown parameter"), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_that_differ_or_end_are_looked_into_to_the_end() {
    let words = ["short", "long", "odd"];
    let (isolated, _) = run(64, |i| Some(Failure::input(words[i % 3])));
    assert!(!isolated.all_refused);
    assert!(isolated.iter().all(|o| matches!(o, Err(Failure::Input { .. }))));
    // Only the last of all is good: the probes find it.
    let (isolated, _) = run(1024, |i| (i != 1023).then(|| bad(i)));
    assert!(isolated.vector(1023).is_ok() && !isolated.all_refused);
    assert!(isolated.interruption().is_none());
}
