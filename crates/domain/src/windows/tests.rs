//! Calendar arithmetic against moments written down by hand, in UTC.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn micros(utc: &str) -> i64 {
    utc.parse::<Timestamp>().unwrap_or_else(|error| panic!("{utc}: {error}")).as_microsecond()
}

fn seconds(time: &str) -> u32 {
    let (hours, minutes) = time.split_once(':').expect("hh:mm");
    hours.parse::<u32>().expect("hours") * 3600 + minutes.parse::<u32>().expect("minutes") * 60
}

fn window(start: &str, stop: &str, zone: &str) -> Window {
    Window { start: seconds(start), stop: seconds(stop), days: Days::EVERY, timezone: zone.to_owned() }
}

fn on(days: &[&str], window: Window) -> Window {
    let mut set = Days::none();
    days.iter().for_each(|day| set.add(day).expect("a day"));
    Window { days: set, ..window }
}

/// Open or not, and the next opening, at a moment.
fn seen(windows: &[Window], utc: &str) -> (bool, Option<String>) {
    let state = state(windows, micros(utc));
    let opens = state.opens_at.map(|at| Timestamp::from_microsecond(at).unwrap().to_string());
    (state.open, opens)
}

fn closed(opens: &str) -> (bool, Option<String>) {
    (false, Some(opens.to_owned()))
}

fn open(next: &str) -> (bool, Option<String>) {
    (true, Some(next.to_owned()))
}

#[test]
fn a_night_window_goes_on_past_midnight() {
    // Shanghai is eight hours ahead of UTC and has no summer time.
    let night = [window("22:00", "06:00", "Asia/Shanghai")];
    assert_eq!(seen(&night, "2026-07-01T13:59:59Z"), closed("2026-07-01T14:00:00Z"));
    assert_eq!(seen(&night, "2026-07-01T14:00:00Z"), open("2026-07-02T14:00:00Z"));
    assert_eq!(seen(&night, "2026-07-01T21:59:59Z"), open("2026-07-02T14:00:00Z"));
    assert_eq!(seen(&night, "2026-07-01T22:00:00Z"), closed("2026-07-02T14:00:00Z"));
    let state = state(&night, micros("2026-07-01T20:00:00Z"));
    assert_eq!(state.closes_at, Some(micros("2026-07-01T22:00:00Z")));
}

#[test]
fn a_window_belongs_to_the_day_on_which_it_begins() {
    // 2026-07-03 is a Friday.
    let weekend = [on(&["fri", "Saturday"], window("22:00", "06:00", "UTC"))];
    assert_eq!(seen(&weekend, "2026-07-03T05:00:00Z"), closed("2026-07-03T22:00:00Z"));
    assert_eq!(seen(&weekend, "2026-07-04T05:00:00Z"), open("2026-07-04T22:00:00Z"));
    assert_eq!(seen(&weekend, "2026-07-05T05:59:00Z"), open("2026-07-10T22:00:00Z"));
    assert_eq!(seen(&weekend, "2026-07-05T23:00:00Z"), closed("2026-07-10T22:00:00Z"));
    // Monday just over: the next Monday is a week away.
    let monday = [on(&["MON"], window("00:00", "01:00", "UTC"))];
    assert_eq!(seen(&monday, "2026-07-06T01:00:00Z"), closed("2026-07-13T00:00:00Z"));
}

#[test]
fn several_windows_join_and_overlap() {
    let two = [window("01:00", "03:00", "UTC"), window("12:00", "13:00", "UTC")];
    assert_eq!(seen(&two, "2026-07-01T05:00:00Z"), closed("2026-07-01T12:00:00Z"));
    assert_eq!(seen(&two, "2026-07-01T12:30:00Z"), open("2026-07-02T01:00:00Z"));
    let joined =
        [window("01:00", "03:00", "UTC"), window("02:00", "04:00", "UTC"), window("04:00", "05:00", "UTC")];
    let state = state(&joined, micros("2026-07-01T01:30:00Z"));
    assert_eq!((state.open, state.closes_at), (true, Some(micros("2026-07-01T05:00:00Z"))));
    assert_eq!(state.opens_at, Some(micros("2026-07-02T01:00:00Z")));
}

#[test]
fn a_window_of_the_whole_day_is_open_for_good() {
    let state = state(&[window("00:00", "24:00", "Europe/Berlin")], micros("2026-03-29T00:59:00Z"));
    assert_eq!(state, State { open: true, opens_at: None, closes_at: None });
    // From noon to noon, on every day.
    let halves = [window("12:00", "00:00", "UTC"), window("00:00", "12:00", "UTC")];
    assert_eq!(super::state(&halves, micros("2026-07-01T00:00:00Z")).opens_at, None);
    let week = [on(&["sat", "sun"], window("00:00", "24:00", "UTC"))];
    assert_eq!(seen(&week, "2026-07-04T12:00:00Z"), open("2026-07-11T00:00:00Z"));
    assert_eq!(seen(&week, "2026-07-06T00:00:00Z"), closed("2026-07-11T00:00:00Z"));
}

#[test]
fn the_clock_put_forward_shortens_the_night() {
    // Berlin, 2026-03-29: at 01:00 UTC the clock goes from 02:00 to 03:00.
    let night = [window("22:00", "06:00", "Europe/Berlin")];
    assert_eq!(seen(&night, "2026-03-28T21:00:00Z"), open("2026-03-29T20:00:00Z"));
    assert_eq!(seen(&night, "2026-03-29T03:59:59Z"), open("2026-03-29T20:00:00Z"));
    assert_eq!(seen(&night, "2026-03-29T04:00:00Z"), closed("2026-03-29T20:00:00Z"));
    // A start that is skipped: the window opens at the skip.
    let late = [window("02:30", "05:00", "Europe/Berlin")];
    assert_eq!(seen(&late, "2026-03-29T00:59:59Z"), closed("2026-03-29T01:00:00Z"));
    assert!(seen(&late, "2026-03-29T02:59:59Z").0);
    assert_eq!(seen(&late, "2026-03-29T03:00:00Z"), closed("2026-03-30T00:30:00Z"));
    // A stop that is skipped: it closes at the skip.
    let early = [window("01:00", "02:00", "Europe/Berlin"), window("23:00", "02:30", "Europe/Berlin")];
    assert!(seen(&early, "2026-03-29T00:59:59Z").0);
    assert_eq!(seen(&early, "2026-03-29T01:00:00Z"), closed("2026-03-29T21:00:00Z"));
    // A window that is skipped whole comes behind the gap, as long as ever.
    let gone = [window("02:10", "02:50", "Europe/Berlin")];
    assert_eq!(seen(&gone, "2026-03-29T01:00:00Z"), closed("2026-03-29T01:10:00Z"));
    assert_eq!(seen(&gone, "2026-03-29T01:49:59Z"), open("2026-03-30T00:10:00Z"));
    assert_eq!(seen(&gone, "2026-03-29T01:50:00Z"), closed("2026-03-30T00:10:00Z"));
}

#[test]
fn the_clock_put_back_lengthens_the_night() {
    // New York, 2026-11-01: at 06:00 UTC the clock goes from 02:00 back to 01:00.
    let night = [window("22:00", "06:00", "America/New_York")];
    assert_eq!(seen(&night, "2026-11-01T02:00:00Z"), open("2026-11-02T03:00:00Z"));
    assert_eq!(seen(&night, "2026-11-01T10:59:59Z"), open("2026-11-02T03:00:00Z"));
    assert_eq!(seen(&night, "2026-11-01T11:00:00Z"), closed("2026-11-02T03:00:00Z"));
    // 01:30 comes twice; the first counts, for the start and for the stop.
    let from = [window("01:30", "03:00", "America/New_York")];
    assert_eq!(seen(&from, "2026-11-01T05:29:59Z"), closed("2026-11-01T05:30:00Z"));
    assert!(seen(&from, "2026-11-01T06:15:00Z").0);
    assert_eq!(seen(&from, "2026-11-01T08:00:00Z"), closed("2026-11-02T06:30:00Z"));
    let to = [window("00:30", "01:30", "America/New_York")];
    assert!(seen(&to, "2026-11-01T05:29:59Z").0);
    assert_eq!(seen(&to, "2026-11-01T05:30:00Z"), closed("2026-11-02T05:30:00Z"));
    assert!(!seen(&to, "2026-11-01T06:15:00Z").0);
}

#[test]
fn a_day_that_a_place_never_had_costs_no_window() {
    // Samoa went over the date line: there was no 2011-12-30 in Apia.
    let noon = [on(&["fri"], window("12:00", "13:00", "Pacific/Apia"))];
    let state = state(&noon, micros("2011-12-30T00:00:00Z"));
    let opens = state.opens_at.expect("it opens");
    assert!(opens < micros("2012-01-06T00:00:00Z"), "{opens}");
}

#[test]
fn zones_are_known_by_name_alone() {
    assert_eq!(zone_name("asia/shanghai").as_deref(), Some("Asia/Shanghai"));
    assert_eq!(zone_name("UTC").as_deref(), Some("UTC"));
    for unknown in ["", "Mars/Olympus", "../etc/passwd", "+08", "Asia/Shanghai\0"] {
        assert_eq!(zone_name(unknown), None, "{unknown:?}");
    }
}

#[test]
fn moments_beyond_the_calendar_are_no_trouble() {
    let night = [window("22:00", "06:00", "Europe/Berlin")];
    for now in [i64::MIN, i64::MAX, micros("9999-12-30T12:00:00Z"), micros("-009998-01-02T12:00:00Z")] {
        state(&night, now);
    }
}

proptest! {
    /// Away from changes of the clock, a window is open when the clock on the wall says so; what
    /// the state says of the next change is what happens then.
    #[test]
    fn the_state_agrees_with_the_clock_on_the_wall(
        start in 0u32..DAY, stop in 1u32..=DAY, now in 1_767_000_000i64..1_800_000_000, zone in 0usize..4,
    ) {
        prop_assume!(start != stop);
        let zone = ["UTC", "Asia/Shanghai", "America/Phoenix", "Asia/Kolkata"][zone];
        let windows = [Window { start, stop, days: Days::EVERY, timezone: zone.to_owned() }];
        let now = now * 1_000_000;
        let wall = TimeZone::get(zone).unwrap().to_datetime(Timestamp::from_microsecond(now).unwrap());
        let second = wall.hour() as u32 * 3600 + wall.minute() as u32 * 60 + wall.second() as u32;
        let expected = if start < stop { start <= second && second < stop } else { second >= start || second < stop };
        let found = state(&windows, now);
        prop_assert_eq!(found.open, expected);
        if let Some(change) = if found.open { found.closes_at } else { found.opens_at } {
            prop_assert_eq!(state(&windows, change).open, !found.open);
            prop_assert_eq!(state(&windows, change - 1).open, found.open);
        }
    }
}
