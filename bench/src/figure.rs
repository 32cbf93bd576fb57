//! A figure, as one line of JSON.

use serde_json::json;

/// Prints a figure that stands by itself.
pub fn print(bench: &str, figure: &str, value: f64, unit: &str) {
    line(bench, figure, value, unit, None);
}

/// Prints a figure beside its yardstick, taken in the same run.
pub fn line(bench: &str, figure: &str, value: f64, unit: &str, yardstick: Option<(&str, f64)>) {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    println!(
        "{}",
        json!({
            "bench": bench,
            "figure": figure,
            "value": rounded(value),
            "unit": unit,
            "yardstick": yardstick.map(|(name, _)| name),
            "yardstick_value": yardstick.map(|(_, other)| rounded(other)),
            "ratio": yardstick.map(|(_, other)| rounded(value / other)),
        })
    );
}

/// The value below which the given share of the sorted values lies.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(values, 0.5)
}
