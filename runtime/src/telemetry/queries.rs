//! A span for each SQL statement, below the span that it is run in, with the standard attributes of OpenTelemetry.
//!
//! sqlx emits an event for each statement when it has ended, with its text and duration. The text has
//! placeholders; bound values are not in it, and are not exported.

use std::{fmt, time::Duration};

use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanKind, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::{self, Layer},
};

/// The target of sqlx's events of statements.
const TARGET: &str = "sqlx::query";
/// The database, as OpenTelemetry names it.
const SYSTEM: &str = "postgresql";
/// Maximum number of exported characters of a statement; a migration has more.
const MAX_TEXT: usize = 4_096;

/// The layer that makes spans of statements; installed only where spans are exported.
pub(crate) struct QuerySpans(pub SdkTracer);

impl QuerySpans {
    /// The filter that it needs: without it, sqlx makes no events for it.
    pub(crate) fn filter() -> Targets {
        // Events of statements have the level `debug`, slow ones `warn`.
        Targets::new().with_target(TARGET, LevelFilter::DEBUG)
    }
}

impl<S: Subscriber> Layer<S> for QuerySpans {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        // The entered span. A process's own statements, such as the dispatcher's passes, are in none.
        let above = Context::current();
        if !above.span().span_context().is_sampled() {
            return;
        }
        let ended = jobs::clock::now();
        let mut statement = Statement::default();
        event.record(&mut statement);
        let operation = statement.operation();
        let mut attributes = vec![
            KeyValue::new("db.system.name", SYSTEM),
            KeyValue::new("db.query.text", statement.text().chars().take(MAX_TEXT).collect::<String>()),
            KeyValue::new("db.operation.name", operation.clone()),
        ];
        if let Some(rows) = statement.rows_returned {
            attributes.push(KeyValue::new("db.response.returned_rows", rows));
        }
        self.0
            .span_builder(operation)
            .with_kind(SpanKind::Client)
            .with_start_time(ended - statement.took)
            .with_attributes(attributes)
            .start_with_context(&self.0, &above)
            .end_with_timestamp(ended.into());
    }
}

/// A statement as sqlx's event describes it.
#[derive(Default)]
struct Statement {
    /// Its first words.
    summary: String,
    /// The whole statement, unless that is the summary.
    whole: String,
    took: Duration,
    rows_returned: Option<i64>,
}

impl Statement {
    fn text(&self) -> &str {
        let whole = self.whole.trim();
        if whole.is_empty() { self.summary.trim() } else { whole }
    }

    /// Its first word behind comments, as `SELECT`; what it is sent to, where there is none.
    fn operation(&self) -> String {
        let mut lines = self.text().lines().map(str::trim_start);
        let begin = lines.find(|line| !line.is_empty() && !line.starts_with("--")).unwrap_or_default();
        match begin.split(|c: char| !c.is_ascii_alphabetic()).next() {
            None | Some("") => SYSTEM.to_owned(),
            Some(word) => word.to_ascii_uppercase(),
        }
    }
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.whole),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.took = Duration::try_from_secs_f64(value).unwrap_or_default();
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "rows_returned" {
            self.rows_returned = i64::try_from(value).ok();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_the_first_word_behind_comments() {
        for (text, operation) in [
            ("select 1", "SELECT"),
            ("\n\n  with gone as (delete from jobs returning id) select 1", "WITH"),
            ("-- Why.\n\n-- How.\n  alter table jobs add a text;", "ALTER"),
            ("COMMIT", "COMMIT"),
            ("-- Nothing.", "postgresql"),
            ("", "postgresql"),
        ] {
            let statement = Statement { whole: text.to_owned(), ..Statement::default() };
            assert_eq!(statement.operation(), operation, "{text}");
        }
    }
}
