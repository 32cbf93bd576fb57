use proptest::prelude::*;

use super::*;

fn cron(pattern: &str, zone: &str) -> CronTiming {
    CronTiming::parse(pattern, zone).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The next occurrences after a time, on the zone's clock with its offset.
fn next(pattern: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let timing = cron(pattern, zone);
    let mut last = at(after);
    let mut found = Vec::new();
    for _ in 0..count {
        last = timing.next_after(last).unwrap();
        found.push(last.with_timezone(&timing.zone).format("%m-%d %H:%M %z").to_string());
    }
    found
}

#[test]
fn a_pattern_is_read_on_the_clock_of_its_zone() {
    assert_eq!(
        next("30 9 * * MON-FRI", "Europe/Berlin", "2026-01-02T12:00:00Z", 2),
        ["01-05 09:30 +0100", "01-06 09:30 +0100"]
    );
    assert_eq!(next("@daily", "UTC", "2026-02-27T23:59:59Z", 2), ["02-28 00:00 +0000", "03-01 00:00 +0000"]);
    assert_eq!(next("0 0 L * *", "UTC", "2028-02-01T00:00:00Z", 1), ["02-29 00:00 +0000"]);
}

#[test]
fn a_time_that_does_not_exist_comes_at_the_first_instant_that_does() {
    let berlin = next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
    assert_eq!(berlin, ["03-29 03:00 +0200", "03-30 02:30 +0200"]);
    let new_york = next("15,45 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", 3);
    assert_eq!(new_york, ["03-08 03:00 -0400", "03-09 02:15 -0400", "03-09 02:45 -0400"]);
    // Half an hour is skipped there: 02:00 to 02:30.
    let lord_howe = next("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2);
    assert_eq!(lord_howe, ["10-04 02:30 +1100", "10-05 02:15 +1100"]);
}

#[test]
fn a_time_that_comes_twice_counts_once() {
    let berlin = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
    assert_eq!(berlin, ["10-25 02:30 +0200", "10-26 02:30 +0100"]);
    let new_york = next("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2);
    assert_eq!(new_york, ["11-01 01:30 -0400", "11-02 01:30 -0500"]);
    let lord_howe = next("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2);
    assert_eq!(lord_howe, ["04-05 01:45 +1100", "04-06 01:45 +1030"]);
    // Also for times in between.
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", 1), ["10-26 02:30 +0100"]);
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1), ["10-26 02:30 +0100"]);
}

#[test]
fn a_pattern_for_every_hour_follows_the_clock_through() {
    let spring = next("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3);
    assert_eq!(spring, ["03-29 01:30 +0100", "03-29 03:30 +0200", "03-29 04:30 +0200"]);
    let autumn = next("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3);
    assert_eq!(autumn, ["10-25 02:30 +0200", "10-25 02:30 +0100", "10-25 03:30 +0100"]);
    let half_an_hour = next("*/20 * * * *", "Australia/Lord_Howe", "2026-04-04T14:30:00Z", 4);
    assert_eq!(
        half_an_hour,
        ["04-05 01:40 +1100", "04-05 01:40 +1030", "04-05 02:00 +1030", "04-05 02:20 +1030"]
    );
}

#[test]
fn what_is_no_pattern_is_refused_with_a_reason() {
    let refused = |pattern: &str, zone: &str| CronTiming::parse(pattern, zone).unwrap_err().to_string();
    assert_eq!(
        refused("* * * * * *", "UTC"),
        "must have five fields (minute, hour, day of month, month, day of week), not 6"
    );
    assert!(refused("", "UTC").starts_with("must have five fields"));
    for nonsense in ["61 * * * *", "* 24 * * *", "a b c d e", "@reboot", "@", "*/0 * * * *", "5-1 * * * *"] {
        assert!(refused(nonsense, "UTC").starts_with("must be a cron pattern"), "{nonsense}");
    }
    assert_eq!(refused("0 0 31 2 *", "UTC"), "never matches: there is no such day");
    assert!(refused("* * * * *", "Mars/Olympus").starts_with("must be a time zone"));
}

#[test]
fn a_period_is_counted_from_an_occurrence() {
    let timing = Timing::Every(Duration::from_secs(10));
    let anchor = at("2026-01-01T00:00:03Z");
    assert_eq!(timing.next_after(anchor, anchor), Some(at("2026-01-01T00:00:13Z")));
    assert_eq!(timing.next_after(at("2026-01-01T00:01:00Z"), anchor), Some(at("2026-01-01T00:01:03Z")));
    assert_eq!(timing.next_after(at("2025-12-31T23:59:55Z"), anchor), Some(at("2026-01-01T00:00:03Z")));
}

#[test]
fn the_newest_occurrences_of_a_long_downtime_are_found() {
    let timing = Timing::cron("* * * * *", "UTC").unwrap();
    let newest = timing.newest(at("2020-01-01T00:00:00Z"), at("2026-01-01T00:00:30Z"), 2);
    assert_eq!(newest, [at("2025-12-31T23:59:00Z"), at("2026-01-01T00:00:00Z")]);
    let yearly = Timing::cron("@yearly", "UTC").unwrap();
    let newest = yearly.newest(at("2024-01-01T00:00:00Z"), at("2026-06-01T00:00:00Z"), 10);
    assert_eq!(newest.len(), 3);
    let seconds = Timing::Every(Duration::from_secs(1));
    let (first, now) = (at("2020-01-01T00:00:00.500Z"), at("2026-01-01T00:00:00Z"));
    assert_eq!(seconds.newest(first, now, 1), [at("2025-12-31T23:59:59.500Z")]);
    assert_eq!(Timing::Once(first).newest(first, now, 5), [first]);
    assert_eq!(Timing::Once(now).newest(now, first, 5), Vec::<DateTime<Utc>>::new());
}

#[test]
fn the_shortest_interval_is_found_wherever_two_occurrences_are_close() {
    let minutes = |pattern: &str| {
        let shortest = Timing::cron(pattern, "Europe/Berlin").unwrap().shortest_interval();
        shortest.unwrap().num_minutes()
    };
    assert_eq!(minutes("* * * * *"), 1);
    assert_eq!(minutes("*/15 * * * *"), 15);
    assert_eq!(minutes("0,1 3 * * *"), 1);
    assert_eq!(minutes("50 23,0 1,2 * *"), 60);
    assert_eq!(minutes("59,0 0,23 1,2 * *"), 1, "across midnight");
    assert_eq!(minutes("0,59 12 29 2 *"), 59, "in leap years only");
    assert_eq!(minutes("@hourly"), 60);
    assert_eq!(minutes("@yearly"), 365 * 24 * 60);
    let (ten, once) = (Duration::from_secs(10), Timing::Once(at("2026-01-01T00:00:00Z")));
    assert_eq!(Timing::Every(ten).shortest_interval(), Some(TimeDelta::seconds(10)));
    assert_eq!(once.shortest_interval(), None);
}

const ZONES: [&str; 7] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Antarctica/Troll",
];

fn patterns() -> impl Strategy<Value = String> {
    let minute =
        prop_oneof![Just("*".to_owned()), Just("*/7".to_owned()), (0..60_u8).prop_map(|m: u8| m.to_string())];
    let hour =
        prop_oneof![Just("*".to_owned()), Just("*/5".to_owned()), (0..5_u8).prop_map(|h: u8| h.to_string())];
    (minute, hour).prop_map(|(minute, hour)| format!("{minute} {hour} * * *"))
}

proptest! {
    /// At any time between two occurrences the next one is the same, and later.
    #[test]
    fn the_next_occurrence_is_the_same_for_all_times_before_it(
        pattern in patterns(),
        zone in prop::sample::select(&ZONES[..]),
        start in 1_740_000_000_i64..1_800_000_000,
        share in 0.0..1.0_f64,
    ) {
        let timing = cron(&pattern, zone);
        let mut last = DateTime::from_timestamp(start, 0).unwrap();
        for _ in 0..20 {
            let next = timing.next_after(last).unwrap();
            prop_assert!(next > last);
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
            let between = last + TimeDelta::seconds((share * (next - last).num_seconds() as f64) as i64);
            prop_assert_eq!(timing.next_after(between), if between < next { Some(next) } else { timing.next_after(next) });
            last = next;
        }
    }

    /// A daily time occurs exactly once on each day of the zone, whatever the clock changes.
    #[test]
    fn a_daily_time_comes_once_a_day(
        minute in 0..60,
        hour in 0..24,
        zone in prop::sample::select(&["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"][..]),
        start in 1_740_000_000_i64..1_800_000_000,
    ) {
        let timing = cron(&format!("{minute} {hour} * * *"), zone);
        let mut last = timing.next_after(DateTime::from_timestamp(start, 0).unwrap()).unwrap();
        for _ in 0..400 {
            let next = timing.next_after(last).unwrap();
            let day = |instant: DateTime<Utc>| instant.with_timezone(&timing.zone).date_naive();
            prop_assert_eq!(day(next), day(last).succ_opt().unwrap());
            last = next;
        }
    }

    /// Every minute is every minute.
    #[test]
    fn every_minute_is_a_minute_apart(
        zone in prop::sample::select(&ZONES[..]),
        start in 1_740_000_000_i64..1_800_000_000,
    ) {
        let timing = cron("* * * * *", zone);
        let mut last = timing.next_after(DateTime::from_timestamp(start, 0).unwrap()).unwrap();
        for _ in 0..200 {
            let next = timing.next_after(last).unwrap();
            prop_assert_eq!(next - last, TimeDelta::minutes(1));
            last = next;
        }
    }

    /// The newest of any number are the end of the same list.
    #[test]
    fn the_newest_are_the_end_of_all(
        pattern in patterns(),
        zone in prop::sample::select(&ZONES[..]),
        start in 1_740_000_000_i64..1_800_000_000,
        hours in 0_i64..200,
        most in 1_usize..20,
    ) {
        let timing = Timing::cron(&pattern, zone).unwrap();
        let start = DateTime::from_timestamp(start, 0).unwrap();
        let first = timing.next_after(start, start).unwrap();
        let now = first + TimeDelta::hours(hours);
        let mut all = vec![first];
        while let Some(next) = timing.next_after(all[all.len() - 1], first).filter(|next| *next <= now) {
            all.push(next);
        }
        let newest = timing.newest(first, now, most);
        prop_assert_eq!(&newest[..], &all[all.len().saturating_sub(most)..]);
    }
}
