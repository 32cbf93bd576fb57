//! The times of a schedule's occurrences: pure functions of the schedule and a given time.
//!
//! A cron pattern is evaluated in the local time of its zone. A pattern with fixed hours keeps to them when
//! the clock changes: a local time that doesn't exist that day is moved to the first instant that does, a time that
//! occurs twice counts once, the first time. One whose hour begins with `*` follows the clock: it
//! has nothing to make up for, and both halves of a repeated hour count.

use std::time::Duration;

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

/// Maximum change of a clock.
const LARGEST_CHANGE: TimeDelta = TimeDelta::hours(26);

/// Number of occurrences of a cron pattern that are compared for the shortest interval.
const OCCURRENCES_COMPARED: usize = 1_000;

/// The timing of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub enum Timing {
    /// By a cron pattern in the local time of a zone.
    Cron(Box<CronTiming>),
    /// After each period, counted from the previous occurrence.
    Every(Duration),
    /// Once.
    Once(DateTime<Utc>),
}

/// The reason why a timing is invalid, for display.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// The pattern.
    #[error("{0}")]
    Cron(String),
    /// The time zone.
    #[error("must be a time zone of the IANA database, such as Europe/Berlin")]
    Zone,
}

/// A cron pattern in a time zone.
#[derive(Debug, Clone)]
pub struct CronTiming {
    /// The pattern as it was written.
    text: String,
    pattern: Cron,
    zone: Tz,
    /// Whether its hour begins with `*`.
    follows_the_clock: bool,
}

impl PartialEq for CronTiming {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl CronTiming {
    /// Parses a pattern of five fields, or one of `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    ///
    /// # Errors
    /// For an invalid pattern, also one that no day ever matches.
    pub fn parse(text: &str, zone: &str) -> Result<Self, TimingError> {
        let zone: Tz = zone.parse().map_err(|_| TimingError::Zone)?;
        let text = text.trim();
        let fields = text.split_whitespace().count();
        if fields != 5 && !text.starts_with('@') {
            return Err(TimingError::Cron(format!(
                "must have five fields (minute, hour, day of month, month, day of week), not {fields}"
            )));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let unreadable = "must be a cron pattern such as \"30 9 * * MON-FRI\", or one of @hourly, @daily, \
                          @weekly, @monthly, @yearly";
        let pattern = parser.parse(text).map_err(|_| TimingError::Cron(unreadable.to_owned()))?;
        let hour = pattern.as_str().split_whitespace().nth(1).unwrap_or_default();
        let timing = Self { text: text.to_owned(), follows_the_clock: hour.starts_with('*'), pattern, zone };
        match timing.matching(DateTime::UNIX_EPOCH.naive_utc(), false) {
            Some(_) => Ok(timing),
            None => Err(TimingError::Cron("never matches: there is no such day".to_owned())),
        }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of the time zone.
    #[must_use]
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// The first local time after (or at) the given one that the pattern matches.
    fn matching(&self, after: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        self.pattern.find_next_occurrence(&after, inclusive).ok()
    }

    /// The shortest interval between two consecutive occurrences, in local time. A clock change may make
    /// one shorter.
    fn shortest_interval(&self) -> Option<TimeDelta> {
        let since = DateTime::UNIX_EPOCH.naive_utc();
        let times = std::iter::successors(self.matching(since, true), |time| self.matching(*time, false));
        let times: Vec<NaiveDateTime> = times.take(OCCURRENCES_COMPARED).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).min()
    }

    fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let clock = after.with_timezone(&self.zone).naive_local();
        let onward = self.onward(clock, after);
        match self.zone.from_local_datetime(&clock) {
            // In the first half of a repeated range, with all of the second still to come.
            LocalResult::Ambiguous(first, _) if first == after && self.follows_the_clock => {
                [onward, self.repeated(clock, after)].into_iter().flatten().min()
            }
            _ => onward,
        }
    }

    /// The next occurrence with a later local time.
    fn onward(&self, clock: NaiveDateTime, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut clock = clock;
        loop {
            clock = self.matching(clock, false)?;
            let instant = match self.zone.from_local_datetime(&clock) {
                LocalResult::Single(instant) => Some(instant.to_utc()),
                LocalResult::Ambiguous(first, second) => {
                    let both =
                        [Some(first.to_utc()), Some(second.to_utc()).filter(|_| self.follows_the_clock)];
                    both.into_iter().flatten().find(|instant| *instant > after)
                }
                LocalResult::None if self.follows_the_clock => None,
                LocalResult::None => self.end_of_gap(clock),
            };
            if let Some(instant) = instant.filter(|instant| *instant > after) {
                return Some(instant);
            }
        }
    }

    /// The next occurrence in the second half of the repeated range that the time is in.
    fn repeated(&self, clock: NaiveDateTime, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut earlier = clock - LARGEST_CHANGE;
        loop {
            earlier = self.matching(earlier, false)?;
            match self.zone.from_local_datetime(&earlier) {
                LocalResult::Ambiguous(_, second) if second > after => return Some(second.to_utc()),
                _ if earlier > clock + LARGEST_CHANGE => return None,
                _ => {}
            }
        }
    }

    /// The first instant whose local time exists again.
    fn end_of_gap(&self, within: NaiveDateTime) -> Option<DateTime<Utc>> {
        let mut clock = within;
        while clock <= within + LARGEST_CHANGE {
            if let Some(instant) = self.zone.from_local_datetime(&clock).earliest() {
                return Some(instant.to_utc());
            }
            clock += TimeDelta::minutes(1);
        }
        None
    }
}

impl Timing {
    /// A cron pattern in the local time of a zone.
    ///
    /// # Errors
    /// See [`CronTiming::parse`].
    pub fn cron(pattern: &str, zone: &str) -> Result<Self, TimingError> {
        CronTiming::parse(pattern, zone).map(Box::new).map(Self::Cron)
    }

    /// The first occurrence after a time. Periods are counted from `anchor`, an occurrence; the others
    /// don't need it.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>, anchor: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Cron(cron) => cron.next_after(after),
            Self::Once(at) => Some(*at).filter(|at| *at > after),
            Self::Every(period) => {
                let period = microseconds(*period);
                let since = (after - anchor).num_microseconds()?;
                let steps = since.div_euclid(period) + 1;
                Some(anchor + TimeDelta::microseconds(steps.checked_mul(period)?))
            }
        }
    }

    /// The shortest interval between two consecutive occurrences; none if there is only one.
    #[must_use]
    pub fn shortest_interval(&self) -> Option<TimeDelta> {
        match self {
            Self::Cron(cron) => cron.shortest_interval(),
            Self::Once(_) => None,
            Self::Every(period) => Some(TimeDelta::microseconds(microseconds(*period))),
        }
    }

    /// The newest `most` of the occurrences from `first`, which is one, until `now`; oldest first.
    #[must_use]
    pub fn newest(&self, first: DateTime<Utc>, now: DateTime<Utc>, most: usize) -> Vec<DateTime<Utc>> {
        if first > now || most == 0 {
            return Vec::new();
        }
        let mut found = Vec::new();
        // Searches back in growing steps, so that a long downtime costs no more than the requested number.
        let mut reach = match self {
            Self::Every(period) => {
                let reach = microseconds(*period).saturating_mul(i64::try_from(most).unwrap_or(i64::MAX));
                TimeDelta::microseconds(
                    reach.min(TimeDelta::days(36_500).num_microseconds().unwrap_or(reach)),
                )
            }
            _ => TimeDelta::hours(1),
        };
        loop {
            let from_the_first = now - first <= reach;
            let mut last = if from_the_first { first } else { now - reach };
            found.clear();
            if from_the_first {
                found.push(first);
            }
            while let Some(next) = self.next_after(last, first).filter(|next| *next <= now) {
                found.push(next);
                last = next;
            }
            if from_the_first || found.len() >= most {
                break;
            }
            reach = reach * 2;
        }
        found.split_off(found.len().saturating_sub(most))
    }
}

/// A period of at least a millisecond, so that counting it ends.
fn microseconds(period: Duration) -> i64 {
    i64::try_from(period.as_micros()).unwrap_or(i64::MAX).max(1_000)
}

#[cfg(test)]
mod tests;
