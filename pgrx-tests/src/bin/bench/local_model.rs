//! Case `local-model`: texts a second of the model that runs inside the worker, through a whole
//! vectorizer, with the default number of threads and with one for each processor.

use std::{thread, time::Instant};

use autovector_cluster_tests::Sql;

use crate::{
    report::Figure,
    workbench::{self, Order},
};

const TEXTS: usize = 320;
const ROUNDS: usize = 2;
const ONE_CHUNK: &str = ", chunking => ai.chunking_none()";

/// Each is one token of BERT's English vocabulary; 126 of them and the two that frame a text
/// make 128.
const WORDS: [&str; 42] = [
    "the", "house", "river", "music", "night", "water", "road", "light", "story", "table", "green", "field",
    "morning", "letter", "winter", "island", "garden", "window", "mountain", "bread", "stone", "paper",
    "horse", "doctor", "market", "school", "summer", "ship", "forest", "engine", "village", "silver",
    "bridge", "king", "song", "small", "old", "walks", "under", "with", "from", "into",
];
const WORDS_A_TEXT: usize = 126;

pub fn run(order: &Order) -> Vec<Figure> {
    let texts = order.scaled(TEXTS, 32);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let defaults = (processors / 2).max(1);
    let mut scene = workbench::scene(workbench::settings());
    scene.db.batch("create table docs (id bigint primary key, body text not null)");
    for id in 0..texts {
        scene.db.exec("insert into docs values ($1, $2)", &[&(id as i64), &text(id)]);
    }
    let mut threads = vec![(0, format!("{defaults} thread(s), the default"))];
    if processors != defaults {
        threads.push((processors, format!("{processors} threads")));
    }
    let mut rates = vec![Vec::new(); threads.len()];
    for _ in 0..order.scaled(ROUNDS, 1) {
        for ((setting, what), rates) in threads.iter().zip(&mut rates) {
            workbench::alter_system(&mut scene.db, "autovector.local_threads", &setting.to_string());
            workbench::vectorize(&mut scene.db, "docs", "ai.embedding_local()", ONE_CHUNK);
            let started = Instant::now();
            workbench::wait(&mut scene.db, "docs");
            rates.push(texts as f64 / started.elapsed().as_secs_f64());
            workbench::expect_rows(&mut scene.db, "docs_embedding_store", texts);
            scene.db.exec("select ai.drop_vectorizer('docs', drop_all => true)", &[]);
            order.say(&format!("{what}: {:.1} texts/s", rates.last().expect("pushed just now")));
        }
    }
    let figures = threads.into_iter().zip(rates);
    figures
        .map(|((_, what), rates)| {
            Figure::new(order.name, format!("texts of 128 tokens, {what}"), "texts/s", rates)
        })
        .collect()
}

/// Text number `seed`, different from all others.
fn text(seed: usize) -> String {
    let mut state = seed as u64;
    let word = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(state >> 33) as usize % WORDS.len()]
    };
    (0..WORDS_A_TEXT).map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn texts_differ_and_have_the_same_number_of_words() {
        let texts: HashSet<String> = (0..1000).map(text).collect();
        assert_eq!(texts.len(), 1000);
        assert!(texts.iter().all(|text| text.split(' ').count() == WORDS_A_TEXT));
    }
}
