//! `scheduling_*`: when a vectorizer may work.

use serde_json::{Map, Value, json};

use super::{
    ConfigError,
    fields::{Kind, optional},
};
use crate::windows::{self, DAY, Days, State, Window};

const KIND: Kind = Kind {
    config_type: "scheduling",
    made_by: "ai.scheduling_default(), ai.scheduling_none() or ai.scheduling_window('22:00', '06:00')",
};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scheduling {
    None,
    #[default]
    Default,
    /// At these times only; never empty.
    Windows(Vec<Window>),
    /// pgai's job of TimescaleDB. The workers start by themselves when a row changes, which is never
    /// later than the job; what is heeded is the moment before which nothing is done.
    Timescale(Timescale),
}

/// As it was given, for those who read the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timescale {
    pub schedule_interval: Option<String>,
    /// ISO 8601 with its offset.
    pub initial_start: Option<String>,
    pub fixed_schedule: Option<bool>,
    pub timezone: Option<String>,
}

impl Timescale {
    /// `initial_start` in microseconds since 1970.
    fn begins(&self) -> Option<i64> {
        self.initial_start.as_deref()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
    }
}

impl Scheduling {
    pub const MAX_WINDOWS: usize = 64;

    /// `ai.scheduling_window`: seconds since midnight, days by their English names, every day
    /// when None. A stop that is not later than the start is meant for the next day.
    pub fn window(
        start: u32,
        stop: u32,
        days: Option<&[String]>,
        timezone: &str,
    ) -> Result<Scheduling, ConfigError> {
        if start == stop {
            return Err(ConfigError::new(
                format!("the window from {} to {} has no length", clock(start), clock(stop)),
                "Give a stop other than the start; for the whole day '00:00' to '24:00'.",
            ));
        }
        if start >= DAY || stop == 0 && start == 0 || stop > DAY {
            return Err(ConfigError::new(
                format!("a window cannot go from {} to {}", clock(start), clock(stop)),
                "Give a start from '00:00' to '23:59:59' and a stop up to '24:00'.",
            ));
        }
        let days = days.map_or(Ok(Days::EVERY), read_days)?;
        let timezone = windows::zone_name(timezone).ok_or_else(|| {
            ConfigError::new(
                format!("time zone \"{timezone}\" is not known"),
                "Give the name of a zone, such as 'Asia/Shanghai'; SELECT name FROM pg_timezone_names; lists them.",
            )
        })?;
        Ok(Scheduling::Windows(vec![Window { start, stop, days, timezone }]))
    }

    /// `ai.scheduling_windows`: all windows of several configurations.
    pub fn windows(parts: &[Value]) -> Result<Scheduling, ConfigError> {
        let mut all = Vec::new();
        for part in parts {
            match Scheduling::from_json(part)? {
                Scheduling::Windows(windows) => all.extend(windows),
                _ => {
                    return Err(ConfigError::new(
                        "ai.scheduling_windows takes windows alone",
                        "Give it the results of ai.scheduling_window('22:00', '06:00').",
                    ));
                }
            }
        }
        Scheduling::of(all)
    }

    fn of(windows: Vec<Window>) -> Result<Scheduling, ConfigError> {
        match windows.len() {
            0 => Err(ConfigError::new(
                "there is no window",
                "Give at least one ai.scheduling_window('22:00', '06:00'), or ai.scheduling_default() to work at any time.",
            )),
            1..=Scheduling::MAX_WINDOWS => Ok(Scheduling::Windows(windows)),
            more => Err(ConfigError::new(
                format!("{more} windows are more than {}", Scheduling::MAX_WINDOWS),
                "Give days => ARRAY['mon', 'tue'] to windows that have the same times.",
            )),
        }
    }

    /// Whether work is allowed at `now` (microseconds since 1970); None without windows.
    pub fn state(&self, now: i64) -> Option<State> {
        match self {
            Scheduling::Windows(windows) => Some(windows::state(windows, now)),
            Scheduling::Timescale(job) => job.begins().filter(|begin| now < *begin).map(|begin| State {
                open: false,
                opens_at: Some(begin),
                closes_at: None,
            }),
            Scheduling::None | Scheduling::Default => None,
        }
    }

    /// Reads the JSON that `to_json` writes.
    pub fn from_json(value: &Value) -> Result<Scheduling, ConfigError> {
        let fields = KIND.read(value)?;
        match fields.implementation {
            "none" => Ok(Scheduling::None),
            "default" => Ok(Scheduling::Default),
            "windows" => {
                let windows = fields.value("windows").and_then(Value::as_array).ok_or_else(|| {
                    ConfigError::new("the scheduling configuration has no windows", MADE_BY_WINDOW)
                })?;
                Scheduling::of(windows.iter().map(read_window).collect::<Result<_, _>>()?)
            }
            "timescaledb" => {
                let text = |key: &str| Ok(fields.text(key)?.map(str::to_owned));
                let job = Timescale {
                    schedule_interval: text("schedule_interval")?,
                    initial_start: text("initial_start")?,
                    fixed_schedule: fields.flag("fixed_schedule")?,
                    timezone: text("timezone")?,
                };
                if let (Some(start), None) = (&job.initial_start, job.begins()) {
                    return Err(ConfigError::new(
                        format!("initial_start \"{start}\" is not a moment"),
                        "Give a time with its zone, such as '2026-01-01 00:00+00'.",
                    ));
                }
                Ok(Scheduling::Timescale(job))
            }
            other => Err(KIND.unknown(other)),
        }
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        match self {
            Scheduling::None => KIND.write("none", []),
            Scheduling::Default => KIND.write("default", []),
            Scheduling::Windows(windows) => {
                KIND.write("windows", [("windows", windows.iter().map(write_window).collect())])
            }
            Scheduling::Timescale(job) => KIND.write(
                "timescaledb",
                [
                    ("schedule_interval", optional(job.schedule_interval.clone())),
                    ("initial_start", optional(job.initial_start.clone())),
                    ("fixed_schedule", optional(job.fixed_schedule)),
                    ("timezone", optional(job.timezone.clone())),
                ],
            ),
        }
    }
}

const MADE_BY_WINDOW: &str = "Make it with ai.scheduling_window('22:00', '06:00').";

fn read_days(names: &[String]) -> Result<Days, ConfigError> {
    const HINT: &str =
        "Give English names such as ARRAY['mon', 'tue', 'wed'], or leave days out for every day.";
    let mut days = Days::none();
    for name in names {
        days.add(name).ok_or_else(|| ConfigError::new(format!("\"{name}\" is no day of the week"), HINT))?;
    }
    if days.is_empty() {
        return Err(ConfigError::new("days is empty: the window would never open", HINT));
    }
    Ok(days)
}

fn write_window(window: &Window) -> Value {
    let mut object = Map::new();
    object.insert("start".to_owned(), clock(window.start).into());
    object.insert("stop".to_owned(), clock(window.stop).into());
    if window.days != Days::EVERY {
        object.insert("days".to_owned(), window.days.names().collect());
    }
    object.insert("timezone".to_owned(), json!(window.timezone));
    Value::Object(object)
}

fn read_window(value: &Value) -> Result<Window, ConfigError> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let time = |key: &str| {
        text(key).and_then(seconds).ok_or_else(|| {
            ConfigError::new(format!("{key} of a window must be a time such as \"22:00:00\""), MADE_BY_WINDOW)
        })
    };
    let days = match value.get("days").filter(|days| !days.is_null()) {
        None => None,
        Some(days) => {
            let names: Option<Vec<String>> = days
                .as_array()
                .and_then(|days| days.iter().map(|day| day.as_str().map(str::to_owned)).collect());
            Some(names.ok_or_else(|| {
                ConfigError::new("days of a window must be an array of strings", MADE_BY_WINDOW)
            })?)
        }
    };
    let timezone =
        text("timezone").ok_or_else(|| ConfigError::new("a window has no timezone", MADE_BY_WINDOW))?;
    match Scheduling::window(time("start")?, time("stop")?, days.as_deref(), timezone)? {
        Scheduling::Windows(mut windows) => Ok(windows.remove(0)),
        _ => unreachable!("a window makes windows"),
    }
}

/// Seconds since midnight as `hh:mm:ss`.
fn clock(seconds: u32) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn seconds(clock: &str) -> Option<u32> {
    let mut parts = clock.split(':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    let total = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?.checked_add(seconds)?;
    (minutes < 60 && seconds < 60 && total <= DAY && parts.next().is_none()).then_some(total)
}
