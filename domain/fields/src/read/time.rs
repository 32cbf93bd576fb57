//! Dates and points in time. Formats that can be distinguished are all accepted; an ambiguous one is refused.

use chrono::{Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime};

use crate::{Invalid, code, stored::Stored};

pub(super) fn date(text: &str) -> Result<Stored<'_>, Invalid> {
    let no_date = || Invalid::showing(code::NOT_A_DATE, text, "is not a date; write YYYY-MM-DD");
    let (date, rest) = leading_date(text).map_err(|fault| fault.explain(text, no_date))?;
    // A time of midnight is how many programs export a day; any other time would be lost.
    if rest.is_empty() || matches!(time_of_day(rest), Some(at) if at == Duration::zero()) {
        Ok(Stored::Date(date))
    } else {
        Err(no_date())
    }
}

pub(super) fn datetime(text: &str) -> Result<Stored<'_>, Invalid> {
    let no_datetime =
        || Invalid::showing(code::NOT_A_DATETIME, text, "is not a date and time; write YYYY-MM-DDTHH:MM:SSZ");
    let (date, rest) = leading_date(text).map_err(|fault| fault.explain(text, no_datetime))?;
    let midnight = date.and_time(NaiveTime::MIN);
    if rest.is_empty() {
        return Ok(Stored::Datetime(midnight));
    }
    let after_midnight = time_of_day(rest).ok_or_else(no_datetime)?;
    midnight
        .checked_add_signed(after_midnight)
        .ok_or_else(out_of_range)
        .and_then(checked)
        .map(Stored::Datetime)
}

/// Refuses years that RFC 3339 can't spell.
pub(super) fn checked(at: NaiveDateTime) -> Result<NaiveDateTime, Invalid> {
    if (1..=9999).contains(&at.year()) { Ok(at) } else { Err(out_of_range()) }
}

fn out_of_range() -> Invalid {
    Invalid::new(code::OUT_OF_RANGE, "the year is not between 1 and 9999")
}

enum Fault {
    NoDate,
    Ambiguous,
}

impl Fault {
    fn explain(&self, text: &str, no_date: impl FnOnce() -> Invalid) -> Invalid {
        match self {
            Self::NoDate => no_date(),
            Self::Ambiguous => Invalid::showing(
                code::AMBIGUOUS_DATE,
                text,
                "can be read day first or month first; write YYYY-MM-DD",
            ),
        }
    }
}

/// The date that the text begins with, and what follows it.
fn leading_date(text: &str) -> Result<(NaiveDate, &str), Fault> {
    let (first, first_len, rest) = leading_number(text).ok_or(Fault::NoDate)?;
    let separator = rest.chars().next().filter(|c| matches!(c, '-' | '/' | '.')).ok_or(Fault::NoDate)?;
    let (second, second_len, rest) = leading_number(&rest[1..]).ok_or(Fault::NoDate)?;
    let rest = rest.strip_prefix(separator).ok_or(Fault::NoDate)?;
    let (third, third_len, rest) = leading_number(rest).ok_or(Fault::NoDate)?;
    let (year, month, day) = match (first_len, second_len, third_len) {
        (4, 1 | 2, 1 | 2) => (first, second, third),
        (1 | 2, 1 | 2, 4) if separator == '.' || first > 12 || first == second => (third, second, first),
        (1 | 2, 1 | 2, 4) if second > 12 => (third, first, second),
        (1 | 2, 1 | 2, 4) if first > 0 && second > 0 => return Err(Fault::Ambiguous),
        _ => return Err(Fault::NoDate),
    };
    let date = i32::try_from(year)
        .ok()
        .filter(|year| *year > 0)
        .and_then(|year| NaiveDate::from_ymd_opt(year, month, day))
        .ok_or(Fault::NoDate)?;
    Ok((date, rest))
}

/// The number that the text begins with, its length in digits (at most 9), and the rest.
fn leading_number(text: &str) -> Option<(u32, usize, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let (number, rest) = text.split_at(digits);
    let value = number.bytes().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    Some((value, digits, rest))
}

/// Reads what follows a date: a time of day with an optional zone. Answers the time since midnight UTC,
/// which a zone can make negative or longer than a day.
fn time_of_day(text: &str) -> Option<Duration> {
    let text = text.strip_prefix(['T', 't', ' ']).map(str::trim_start)?;
    let (mut hour, hour_len, rest) = leading_number(text)?;
    let (minute, minute_len, mut rest) = leading_number(rest.strip_prefix(':')?)?;
    let mut second = 0;
    let mut nanos = 0;
    let mut lengths = [hour_len, minute_len, 2];
    if let Some(after) = rest.strip_prefix(':') {
        (second, lengths[2], rest) = leading_number(after)?;
        if let Some(fraction) = rest.strip_prefix(['.', ',']) {
            let len = fraction.bytes().take_while(u8::is_ascii_digit).count();
            let digits = fraction.get(..len.min(9)).filter(|digits| !digits.is_empty())?;
            let (value, len_read, _) = leading_number(digits)?;
            nanos = i64::from(value) * 10_i64.pow(9 - u32::try_from(len_read).ok()?);
            rest = &fraction[len..];
        }
    }
    let mut rest = rest.trim_start();
    if let Some((half, after)) = rest
        .split_at_checked(2)
        .filter(|(half, _)| half.eq_ignore_ascii_case("am") || half.eq_ignore_ascii_case("pm"))
    {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + if half.eq_ignore_ascii_case("pm") { 12 } else { 0 };
        rest = after.trim_start();
    }
    let valid = matches!(lengths, [1 | 2, 2, 2]) && hour < 24 && minute < 60 && second < 60;
    let seconds = i64::from(hour * 3_600 + minute * 60 + second);
    valid.then_some(())?;
    Some(Duration::seconds(seconds) + Duration::nanoseconds(nanos) - offset(rest)?)
}

/// The zone's distance from UTC; none means UTC.
fn offset(text: &str) -> Option<Duration> {
    if text.is_empty() || ["z", "utc", "gmt"].iter().any(|utc| text.eq_ignore_ascii_case(utc)) {
        return Some(Duration::zero());
    }
    let sign = if text.starts_with('+') { 1 } else { -1 };
    let (number, len, rest) = leading_number(text.strip_prefix(['+', '-', '−'])?)?;
    let (hours, minutes, rest) = match (len, rest.strip_prefix(':')) {
        (4, None) => (number / 100, number % 100, rest),
        (1 | 2, None) => (number, 0, rest),
        (1 | 2, Some(minutes)) => {
            let (minutes, 2, rest) = leading_number(minutes)? else {
                return None;
            };
            (number, minutes, rest)
        }
        _ => return None,
    };
    (rest.is_empty() && hours <= 18 && minutes < 60)
        .then(|| Duration::minutes(sign * i64::from(hours * 60 + minutes)))
}
