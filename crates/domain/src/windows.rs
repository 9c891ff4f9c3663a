//! Windows of time in which a vectorizer may work: pure calendar. The clock is a parameter, in
//! microseconds since 1970, and time zones come from data that is compiled in.
//!
//! Start and stop are times on the wall of the window's zone. Where the clock is put forward and
//! skips one of them, the moment of the skip counts; a window that lies wholly in the skipped
//! hour is moved behind it. Where the clock is put back and shows one of them twice, the first
//! counts.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{Span, Timestamp};

/// Seconds of a day: the stop of a window that ends at midnight.
pub const DAY: u32 = 86_400;

/// Days looked at ahead. A window comes at least once a week, and one that is moved by a change
/// of the clock is still found.
const AHEAD: i32 = 9;
/// An interval that reaches so far is open for good.
const FOR_GOOD: i64 = 8 * DAY as i64 * 1_000_000;

/// Days of the week, as bits, Monday lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    pub const EVERY: Days = Days(0x7F);
    const NAMES: [&'static str; 7] =
        ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

    /// No day; add some.
    pub fn none() -> Days {
        Days(0)
    }

    /// Adds a day by its English name or the first three letters of it, in any case.
    pub fn add(&mut self, name: &str) -> Option<()> {
        let name = name.trim().to_ascii_lowercase();
        let day = Days::NAMES.iter().position(|known| *known == name || known[..3] == name)?;
        self.0 |= 1 << day;
        Some(())
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The first three letters of each day, Monday first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..7).filter(move |day| self.0 & (1 << day) != 0).map(|day| &Days::NAMES[day][..3])
    }

    fn has(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_monday_zero_offset()) != 0
    }
}

/// Work is allowed from `start` on, on the days given, up to `stop`, the next day if that is not
/// later than `start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Seconds since midnight.
    pub start: u32,
    /// Seconds since midnight, up to `DAY`.
    pub stop: u32,
    /// Days on which the window begins.
    pub days: Days,
    /// A name of the time zone database.
    pub timezone: String,
}

/// What the windows say of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub open: bool,
    /// When a window opens next; None when it is open for good.
    pub opens_at: Option<i64>,
    /// When the open window closes; None while closed, and when it is open for good.
    pub closes_at: Option<i64>,
}

/// The state of `windows` together at `now`.
pub fn state(windows: &[Window], now: i64) -> State {
    let mut intervals: Vec<(i64, i64)> = windows.iter().flat_map(|window| window.intervals(now)).collect();
    intervals.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::with_capacity(intervals.len());
    for (open, close) in intervals {
        match merged.last_mut() {
            Some(last) if open <= last.1 => last.1 = last.1.max(close),
            _ => merged.push((open, close)),
        }
    }
    let current = merged.iter().find(|(open, close)| *open <= now && now < *close);
    let next = merged.iter().map(|(open, _)| *open).find(|open| *open > now);
    match current {
        Some((_, close)) if close - now > FOR_GOOD => State { open: true, opens_at: None, closes_at: None },
        Some((_, close)) => State { open: true, opens_at: next, closes_at: Some(*close) },
        None => State { open: false, opens_at: next, closes_at: None },
    }
}

/// The zone's name as the database spells it; None when it has no such zone.
pub fn zone_name(name: &str) -> Option<String> {
    let zone = TimeZone::get(name).ok()?;
    Some(zone.iana_name()?.to_owned())
}

impl Window {
    /// The times around `now` at which the window is open.
    fn intervals(&self, now: i64) -> Vec<(i64, i64)> {
        let (Ok(zone), Ok(now)) = (TimeZone::get(&self.timezone), Timestamp::from_microsecond(now)) else {
            return Vec::new();
        };
        let today = zone.to_datetime(now).date();
        (-2..=AHEAD)
            .filter_map(|days| today.checked_add(Span::new().days(days)).ok())
            .filter(|date| self.days.has(date.weekday()))
            .filter_map(|date| self.on(date, &zone))
            .collect()
    }

    /// The window that begins on `date`.
    fn on(&self, date: Date, zone: &TimeZone) -> Option<(i64, i64)> {
        let start = at(date, self.start)?;
        let stop = at(if self.stop > self.start { date } else { date.tomorrow().ok()? }, self.stop)?;
        let (open, close) = (moment(start, zone, false)?, moment(stop, zone, false)?);
        if open < close {
            return Some((open, close));
        }
        let (open, close) = (moment(start, zone, true)?, moment(stop, zone, true)?);
        (open < close).then_some((open, close))
    }
}

fn at(date: Date, seconds: u32) -> Option<DateTime> {
    date.to_datetime(Time::midnight()).checked_add(Span::new().seconds(i64::from(seconds))).ok()
}

/// When the clock on the wall shows `time` for the first time. Where it never does, the moment
/// at which it is put forward, or (`behind`) as long after that as `time` is into the gap.
fn moment(time: DateTime, zone: &TimeZone, behind: bool) -> Option<i64> {
    let with = |offset: Offset| offset.to_timestamp(time).ok();
    let found = match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => with(offset)?,
        AmbiguousOffset::Fold { before, .. } => with(before)?,
        AmbiguousOffset::Gap { before, .. } if behind => with(before)?,
        AmbiguousOffset::Gap { after, .. } => zone.following(with(after)?).next()?.timestamp(),
    };
    Some(found.as_microsecond())
}

#[cfg(test)]
mod tests;
