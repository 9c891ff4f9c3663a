//! Case `static-model`: short texts a second with a static model, through a whole vectorizer. The
//! model is made here of the word vectors of the local model: good for speed alone.

use std::{fs, path::Path, time::Instant};

use autovector_cluster_tests::{Sql, paths};
use serde_json::{Value, json};

use crate::{
    report::{Bar, Figure},
    workbench::{self, Order},
};

const ROWS: usize = 100_000;
const ROUNDS: usize = 3;
/// Texts a second, on one processor.
const BAR: f64 = 10_000.0;
const WORD_VECTORS: &str = "embeddings.word_embeddings.weight";
/// Some twelve tokens.
const BODY: &str = "'the small house by the river, number ' || i || ' of the old road'";

pub fn run(order: &Order) -> Vec<Figure> {
    let models = tempfile::tempdir().expect("a directory");
    make(&paths::models().join("all-MiniLM-L6-v2"), &models.path().join("words"));
    let settings = workbench::settings()
        .set("autovector.local_model_directory", &models.path().display().to_string())
        .set("autovector.local_threads", "1");
    let mut scene = workbench::scene(settings);
    let rows = order.scaled(ROWS, 2_000);
    workbench::table(&mut scene.db, "docs", rows, BODY);
    let mut rates = Vec::new();
    for _ in 0..order.scaled(ROUNDS, 1) {
        scene.db.batch("checkpoint");
        workbench::vectorize(
            &mut scene.db,
            "docs",
            "ai.embedding_local('words')",
            ", chunking => ai.chunking_none()",
        );
        let started = Instant::now();
        workbench::wait(&mut scene.db, "docs");
        rates.push(rows as f64 / started.elapsed().as_secs_f64());
        workbench::expect_rows(&mut scene.db, "docs_embedding_store", rows);
        scene.db.exec("select ai.drop_vectorizer('docs', drop_all => true)", &[]);
    }
    let what = "short texts, 384 dimensions, one thread";
    vec![Figure::new(order.name, what, "texts/s", rates).bar(Bar::MedianAtLeast(BAR))]
}

/// Writes the word vectors of the model in `from` as a model in model2vec's format.
fn make(from: &Path, to: &Path) {
    let file = fs::read(from.join("model.safetensors")).expect("the local model");
    // safetensors: the length of the header, the header, the values.
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).expect("a header");
    let table = &header[WORD_VECTORS];
    let place = |end: usize| table["data_offsets"][end].as_u64().expect("an offset") as usize;
    let values = &file[8 + length..][place(0)..place(1)];
    let table = json!({"embeddings": {
        "dtype": table["dtype"], "shape": table["shape"], "data_offsets": [0, values.len()],
    }});
    let table = table.to_string();
    let model = [&(table.len() as u64).to_le_bytes()[..], table.as_bytes(), values].concat();
    let config = json!({"model_type": "model2vec", "normalize": true});
    fs::create_dir_all(to).expect("a directory");
    fs::write(to.join("model.safetensors"), model).expect("written");
    fs::write(to.join("config.json"), config.to_string()).expect("written");
    fs::copy(from.join("tokenizer.json"), to.join("tokenizer.json")).expect("copied");
}
