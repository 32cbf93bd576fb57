//! Throughput: numbers of runs by outcome, over time.

use std::time::Duration;

use api_kit::{Answer, ApiError, Operator};
use chrono::{DateTime, TimeDelta, Utc};
use jobs::{
    Pool, clock,
    throughput::{self, KEPT, Span, Throughput, minute_of},
};
use poem_openapi::{Object, OpenApi, Tags, param::Query, payload::Json};

/// Maximum number of steps in one answer.
const STEPS: i64 = 1440;
/// Maximum length of a step, in seconds.
const LONGEST_STEP: i64 = 86_400;

/// A section of the history.
#[derive(Debug, Clone, Object)]
struct History {
    /// Start of the section, rounded down to a minute.
    from: DateTime<Utc>,
    /// End of the section.
    to: DateTime<Utc>,
    /// Length of a step in seconds.
    step: i64,
    /// Steps, the oldest first, one for each kind that had runs in it.
    items: Vec<Throughput>,
}

#[derive(Tags)]
enum Tag {
    /// Past runs.
    Throughput,
}

pub(crate) struct ThroughputApi;

#[OpenApi(prefix_path = "/throughput", tag = "Tag::Throughput")]
impl ThroughputApi {
    /// Show numbers of runs by outcome, over time
    ///
    /// For the last 14 days. The newest figures are a few seconds old; those of the last seconds of a
    /// killed worker are lost.
    #[oai(path = "/", method = "get", operation_id = "list_throughput")]
    async fn list(
        &self,
        operator: Operator,
        pool: Query<Option<Pool>>,
        kind: Query<Option<String>>,
        /// Start of the section; an hour ago by default.
        from: Query<Option<DateTime<Utc>>>,
        /// End of the section; now by default.
        to: Query<Option<DateTime<Utc>>>,
        /// Length of a step in seconds: 60, or a multiple of it up to a day. An answer has at most 1,440 steps.
        step: Query<Option<i64>>,
    ) -> Answer<Json<History>> {
        let (from, to, step) = checked(from.0, to.0, step.unwrap_or(60), clock::now())?;
        let step_seconds = Duration::from_secs(step.unsigned_abs());
        let span = Span { pool: pool.0, kind: kind.0, from, to, step: step_seconds };
        let items = throughput::history(operator.database(), &span).await?;
        Ok(Json(History { from, to, step, items }))
    }
}

/// A section within the retention, with no more steps than one answer may have.
fn checked(
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    step: i64,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>, i64), ApiError> {
    if !(60..=LONGEST_STEP).contains(&step) || step % 60 != 0 {
        return Err(ApiError::invalid("step", "must be a multiple of 60, up to 86400"));
    }
    let oldest = now - TimeDelta::from_std(KEPT).unwrap_or_default();
    let to = to.unwrap_or(now).clamp(oldest, now + TimeDelta::minutes(1));
    let from = minute_of(from.unwrap_or(to - TimeDelta::hours(1)).max(oldest));
    if to <= oldest {
        return Err(ApiError::invalid("to", "must be within the last 14 days"));
    }
    if from >= to {
        return Err(ApiError::invalid("from", "must be before `to`"));
    }
    if (to - from).num_seconds() / step >= STEPS {
        return Err(ApiError::invalid("step", format!("would make more than {STEPS} steps")));
    }
    Ok((from, to, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(from: Option<&str>, to: Option<&str>, step: i64) -> Result<i64, String> {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        checked(from.map(time), to.map(time), step, time("2026-03-15T12:00:30Z"))
            .map(|(from, to, _)| (to - from).num_seconds())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_span_begins_at_a_minute_and_is_the_last_hour_unless_said_otherwise() {
        assert_eq!(code(None, None, 60), Ok(3630));
        assert_eq!(code(Some("2026-03-15T11:58:59Z"), Some("2026-03-15T12:00:00Z"), 60), Ok(120));
    }

    #[test]
    fn a_span_stays_within_what_is_kept() {
        assert_eq!(code(Some("1970-01-01T00:00:00Z"), None, 3600), Ok(14 * 86_400 + 30));
        assert!(code(Some("2030-01-01T00:00:00Z"), None, 60).unwrap_err().contains("from"));
        assert!(code(None, Some("1999-01-01T00:00:00Z"), 60).unwrap_err().contains("to:"));
    }

    #[test]
    fn steps_that_are_no_minutes_or_too_many_are_refused() {
        for step in [0, -60, 59, 61, 86_460, i64::MIN] {
            assert!(code(None, None, step).unwrap_err().contains("step"), "{step}");
        }
        assert!(code(Some("2026-03-10T00:00:00Z"), None, 60).unwrap_err().contains("1440 steps"));
    }
}
