//! Numbers and booleans. Decimals never pass through a float on their way from text, and a number whose
//! separators can be read in two ways is refused rather than guessed.

use std::borrow::Cow;

use rust_decimal::{Decimal, prelude::ToPrimitive};

use crate::{Invalid, code, stored::Stored};

/// Digits that always fit an `i64`.
const SAFE_INTEGER_DIGITS: usize = 18;
/// Digits that always fit a [`Decimal`].
const SAFE_DECIMAL_DIGITS: usize = 28;

pub(super) fn integer(text: &str) -> Result<Stored<'_>, Invalid> {
    if is_plain_integer(text) {
        return Ok(Stored::Verbatim(text));
    }
    match parse(text) {
        Ok(number) if number.fract().is_zero() => number.to_i64().map(Stored::Int).ok_or_else(out_of_range),
        Err(Fault::OutOfRange) => Err(out_of_range()),
        Err(Fault::Ambiguous) => Err(ambiguous(code::NOT_AN_INTEGER, text)),
        Ok(_) | Err(Fault::NoNumber) => {
            Err(Invalid::showing(code::NOT_AN_INTEGER, text, "is not a whole number"))
        }
    }
}

pub(super) fn decimal(text: &str) -> Result<Stored<'_>, Invalid> {
    if is_plain_decimal(text) {
        return Ok(Stored::Text(Cow::Borrowed(text)));
    }
    match parse(text) {
        Ok(mut number) => {
            if number.is_zero() {
                number.set_sign_positive(true);
            }
            Ok(Stored::Decimal(number))
        }
        Err(Fault::OutOfRange) => Err(out_of_range()),
        Err(Fault::Ambiguous) => Err(ambiguous(code::NOT_A_DECIMAL, text)),
        Err(Fault::NoNumber) => Err(Invalid::showing(code::NOT_A_DECIMAL, text, "is not a decimal number")),
    }
}

/// A float's shortest spelling is what people saw in the spreadsheet or wrote in the JSON.
pub(super) fn decimal_of_float(float: f64) -> Result<Stored<'static>, Invalid> {
    decimal(&float.to_string()).map(Stored::into_owned)
}

pub(super) fn integer_of_float(float: f64) -> Result<Stored<'static>, Invalid> {
    integer(&float.to_string()).map(Stored::into_owned)
}

pub(super) fn boolean(text: &str) -> Result<Stored<'_>, Invalid> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(&["true", "1", "yes", "y", "on"]) {
        Ok(Stored::Bool(true))
    } else if is_one_of(&["false", "0", "no", "n", "off"]) {
        Ok(Stored::Bool(false))
    } else {
        Err(Invalid::showing(code::NOT_A_BOOLEAN, text, "is neither a yes nor a no"))
    }
}

fn out_of_range() -> Invalid {
    Invalid::new(code::OUT_OF_RANGE, "the number is too large or too exact to be stored")
}

fn ambiguous(code: &'static str, text: &str) -> Invalid {
    Invalid::showing(code, text, "can be read in two ways: the comma may separate thousands or decimals")
}

/// Whether the text is a JSON number of few digits and nothing else, so that it can be stored as it stands.
fn is_plain_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.len() <= SAFE_INTEGER_DIGITS && is_digits(digits) && (!digits.starts_with('0') || text == "0")
}

fn is_plain_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    unsigned.len() <= SAFE_DECIMAL_DIGITS
        && is_digits(whole)
        && is_digits(fraction)
        && (!whole.starts_with('0') || (whole == "0" && unsigned.len() == text.len()))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

enum Fault {
    NoNumber,
    Ambiguous,
    OutOfRange,
}

fn parse(text: &str) -> Result<Decimal, Fault> {
    let (negative, unsigned) = match text.strip_prefix(['-', '−']) {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut number = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => scientific(mantissa, exponent)?,
        None => exact(&without_grouping(unsigned)?)?,
    };
    if negative {
        number.set_sign_negative(true);
    }
    Ok(number)
}

fn exact(plain: &str) -> Result<Decimal, Fault> {
    Decimal::from_str_exact(plain).map_err(|_| Fault::OutOfRange)
}

fn scientific(mantissa: &str, exponent: &str) -> Result<Decimal, Fault> {
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent_digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !is_digits(whole) || !is_digits(fraction) || !is_digits(exponent_digits) {
        return Err(Fault::NoNumber);
    }
    let number = exact(mantissa)?;
    if number.is_zero() {
        return Ok(Decimal::ZERO);
    }
    let exponent: i32 = exponent.parse().map_err(|_| Fault::OutOfRange)?;
    let scale = i64::from(number.scale()) - i64::from(exponent);
    if scale >= 0 {
        let scale = u32::try_from(scale).map_err(|_| Fault::OutOfRange)?;
        return Decimal::try_from_i128_with_scale(number.mantissa(), scale).map_err(|_| Fault::OutOfRange);
    }
    u32::try_from(-scale)
        .ok()
        .and_then(|zeros| 10_i128.checked_pow(zeros))
        .and_then(|power| number.mantissa().checked_mul(power))
        .and_then(|whole| Decimal::try_from_i128_with_scale(whole, 0).ok())
        .ok_or(Fault::OutOfRange)
}

/// Takes grouping separators out and makes the decimal mark a point, if there is only one way to read the number.
///
/// Points and commas may group or mark decimals; spaces and apostrophes only group. `1,234` alone is ambiguous,
/// `1,234.5`, `1.234,5`, `1,234,567`, `1 234,5` and `12,34` are not.
fn without_grouping(text: &str) -> Result<Cow<'_, str>, Fault> {
    let count = |mark: char| text.matches(mark).count();
    let (points, commas) = (count('.'), count(','));
    let grouped_otherwise = text.contains(is_blank_group);
    let decimal_mark = match (points, commas) {
        (1, 0) => Some('.'),
        (0, 1) if grouped_otherwise => Some(','),
        (0, 1) if text.split_once(',').is_some_and(|(whole, rest)| could_group(whole, rest)) => {
            return Err(Fault::Ambiguous);
        }
        (0, 1) => Some(','),
        (_, 0) | (0, _) => None,
        _ if text.rfind('.') > text.rfind(',') => Some('.'),
        _ => Some(','),
    };
    let (whole, fraction) = match decimal_mark.map(|mark| text.split_once(mark)) {
        Some(Some((whole, fraction))) => (whole, Some(fraction)),
        _ => (text, None),
    };
    if fraction.is_some_and(|digits| !is_digits(digits)) {
        return Err(Fault::NoNumber);
    }
    if is_digits(whole) && decimal_mark != Some(',') {
        return Ok(Cow::Borrowed(text));
    }
    if whole.is_empty() && fraction.is_some() {
        return Ok(Cow::Owned(format!("0.{}", fraction.unwrap_or_default())));
    }
    let separator = whole.chars().find(|c| !c.is_ascii_digit());
    let mut groups = whole.split(|c| Some(c) == separator);
    let first = groups.next().unwrap_or_default();
    let mut plain = first.to_owned();
    if !is_digits(first) || separator.is_some_and(|c| first.len() > 3 || !is_group_separator(c)) {
        return Err(Fault::NoNumber);
    }
    for group in groups {
        if group.len() != 3 || !is_digits(group) {
            return Err(Fault::NoNumber);
        }
        plain.push_str(group);
    }
    if let Some(fraction) = fraction {
        plain.push('.');
        plain.push_str(fraction);
    }
    Ok(Cow::Owned(plain))
}

fn is_blank_group(c: char) -> bool {
    matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}' | '\'' | '’')
}

fn is_group_separator(c: char) -> bool {
    matches!(c, '.' | ',') || is_blank_group(c)
}

/// Whether `whole,rest` looks like a thousand and something.
fn could_group(whole: &str, rest: &str) -> bool {
    (1..=3).contains(&whole.len()) && !whole.starts_with('0') && rest.len() == 3
}
