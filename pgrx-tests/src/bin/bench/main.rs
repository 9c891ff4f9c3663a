//! How fast is it, and against what? Each case measures one promise of the extension on a real
//! cluster, beside a reference that is measured in turn with it, and says whether the bar is
//! reached. `--list` shows the cases.
//!
//! What is compared is what the extension that is installed does; nothing of it is linked.

mod backup;
mod checkpoints;
mod chunking;
mod documents;
mod drain;
mod end_to_end;
mod latency;
mod local_model;
mod memory;
mod options;
mod peers;
mod plot;
mod python;
mod rebuild;
mod record_status;
mod recovery;
mod report;
mod scale;
mod search;
mod statements;
mod static_model;
mod stats;
mod workbench;
mod write_path;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use autovector_cluster_tests::paths;
use serde_json::json;

use options::Options;
use report::Figure;
use workbench::Order;

struct Case {
    name: &'static str,
    about: &'static str,
    /// Runs without being named.
    usual: bool,
    run: fn(&Order) -> Vec<Figure>,
}

const CASES: &[Case] = &[
    Case {
        name: "write-path",
        about: "writing chunks with vectors, against COPY of the same rows",
        usual: true,
        run: write_path::run,
    },
    Case {
        name: "end-to-end",
        about: "a first pass over HTTP with a provider that takes 50 ms, default settings",
        usual: true,
        run: end_to_end::defaults,
    },
    Case {
        name: "peers",
        about: "the same first pass by pgai's worker at its best settings",
        usual: true,
        run: peers::run,
    },
    Case {
        name: "end-to-end-processing",
        about: "the same with other values of ai.processing_default",
        usual: false,
        run: end_to_end::variants,
    },
    Case {
        name: "end-to-end-shapes",
        about: "the same for 384, 1,536 and 3,072 dimensions and latencies of 0, 50 and 200 ms",
        usual: false,
        run: end_to_end::shapes,
    },
    Case {
        name: "statements",
        about: "what the triggers add to INSERT, UPDATE and DELETE, against a plain table",
        usual: true,
        run: statements::run,
    },
    Case {
        name: "latency",
        about: "from a commit to the row's vector in the store",
        usual: true,
        run: latency::run,
    },
    Case {
        name: "memory",
        about: "the worker's memory during a long first pass",
        usual: true,
        run: memory::run,
    },
    Case {
        name: "local-model",
        about: "texts a second by the local model, against onnxruntime",
        usual: true,
        run: local_model::run,
    },
    Case {
        name: "static-model",
        about: "short texts a second by a static model",
        usual: true,
        run: static_model::run,
    },
    Case {
        name: "backup",
        about: "a million vectors into files and back, against COPY and pg_dump",
        usual: true,
        run: backup::run,
    },
    Case {
        name: "drain",
        about: "200,000 changed rows: is the end as fast as the beginning?",
        usual: true,
        run: drain::run,
    },
    Case {
        name: "scale",
        about: "a million rows in the first pass and 300,000 changed ones",
        usual: false,
        run: scale::run,
    },
    Case {
        name: "rebuild",
        about: "another model while rows are read and written: how long the swap keeps others out",
        usual: true,
        run: rebuild::run,
    },
    Case {
        name: "recovery",
        about: "how soon work goes on after a worker or the server was killed",
        usual: true,
        run: recovery::run,
    },
    Case {
        name: "record-status",
        about: "what a record status rule adds to changes of responses",
        usual: true,
        run: record_status::run,
    },
    Case {
        name: "checkpoints",
        about: "making, keeping and restoring versions, against copies and plain tables",
        usual: true,
        run: checkpoints::run,
    },
    Case {
        name: "documents",
        about: "pages of PDF a minute, from a bytea column to the store",
        usual: true,
        run: documents::run,
    },
    Case {
        name: "chunking",
        about: "cutting 100 MB of text, in process and in SQL, against LangChain's splitters in Python",
        usual: true,
        run: chunking::run,
    },
    Case {
        name: "search",
        about: "ai.search against the query by hand for pgvector",
        usual: true,
        run: search::run,
    },
];

fn main() -> ExitCode {
    let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    let options = match Options::parse(std::env::args().skip(1), &names) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if options.list {
        println!("(sizes at --scale 1; a tenth of them without it, up to ten times as much)");
        for case in CASES {
            let only_named = if case.usual { "" } else { " (only when named)" };
            println!("{:<22} {}{only_named}", case.name, case.about);
        }
        return ExitCode::SUCCESS;
    }
    measure(&options)
}

fn measure(options: &Options) -> ExitCode {
    let started = Instant::now();
    let load_before = load();
    let mut figures = Vec::new();
    let mut broken = Vec::new();
    for case in CASES.iter().filter(|case| options.wants(case.name, case.usual)) {
        let order = Order { name: case.name, options };
        let began = Instant::now();
        order.say(case.about);
        // A case that cannot be measured must not cost the figures of the others.
        match catch_unwind(AssertUnwindSafe(|| (case.run)(&order))) {
            Ok(measured) => figures.extend(measured),
            Err(_) => broken.push(case.name),
        }
        order.say(&format!("{:.0} s", began.elapsed().as_secs_f64()));
    }

    let about = json!({
        "server": paths::ask_pg_config("--version"),
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "load_before": load_before,
        "scale": options.scale,
        "seconds": started.elapsed().as_secs_f64().round(),
        "failed_cases": broken,
    });
    println!("\n{}", report::table(&figures));
    println!(
        "{}, {} processors, load before {}, {} s{}",
        about["server"].as_str().unwrap_or_default(),
        about["processors"],
        about["load_before"],
        about["seconds"],
        if options.scale == 1.0 { String::new() } else { format!(", at {} of the full size", options.scale) },
    );
    for missed in figures.iter().filter(|figure| figure.reached() == Some(false)) {
        println!("bar not reached: {}", missed.name());
    }
    if let Err(error) = write(&results_file(), &report::document(&about, &figures).to_string()) {
        eprintln!("cannot write {}: {error}", results_file().display());
        return ExitCode::FAILURE;
    }
    println!("written to {}", results_file().display());
    let title = format!("ratios to the reference, {}", about["server"].as_str().unwrap_or_default());
    if let Some(picture) = plot::svg(&title, &figures) {
        let file = results_file().with_extension("svg");
        match write(&file, &picture) {
            Ok(()) => println!("drawn in {}", file.display()),
            Err(error) => eprintln!("cannot write {}: {error}", file.display()),
        }
    }
    if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("could not be measured: {}", broken.join(", "));
        ExitCode::FAILURE
    }
}

/// `AUTOVECTOR_BENCH_RESULTS`, or `target/bench/results.json`.
fn results_file() -> PathBuf {
    match std::env::var_os("AUTOVECTOR_BENCH_RESULTS") {
        Some(path) => PathBuf::from(path),
        None => paths::workspace().join("target/bench/results.json"),
    }
}

fn write(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text)
}

/// The load average of the last minute: how busy the machine was with other things.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}
