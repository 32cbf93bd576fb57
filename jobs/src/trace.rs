//! Traces: one W3C trace context from the request through enqueue, dispatch and run.
//!
//! A [`TraceParent`] names a trace and a position in it. It is passed from the request to its jobs, and
//! stored with them; code that works on their behalf opens a `tracing` span that [`follow`]s it. Without an
//! exporter, following costs nothing and the trace is only a name that logs and jobs share.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId, global,
    trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt, TraceState, Tracer},
};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The name of Millrace's tracer.
pub const TRACER: &str = "millrace";

/// A position in a trace, in the form of the header `traceparent` (W3C Trace Context, level 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TraceParent {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

/// The text is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct NotATraceParent;

impl TraceParent {
    /// A trace that begins here. Sampling is left to the exporter.
    #[must_use]
    pub fn generate() -> Self {
        let mut random = rand::rng();
        Self {
            trace: TraceId::from(random.random_range(1..=u128::MAX)),
            span: SpanId::from(random.random_range(1..=u64::MAX)),
            flags: TraceFlags::SAMPLED,
        }
    }

    /// The trace's id: 32 hex digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.trace.to_string()
    }

    /// The position of that span, if it is part of a trace that may be exported.
    #[must_use]
    pub fn of(span: &Span) -> Option<Self> {
        let context = span.context();
        let place = context.span().span_context().clone();
        place.is_valid().then(|| Self {
            trace: place.trace_id(),
            span: place.span_id(),
            flags: place.trace_flags(),
        })
    }

    /// The position as a remote parent.
    fn context(self) -> Context {
        Context::new().with_remote_span_context(SpanContext::new(
            self.trace,
            self.span,
            self.flags,
            true,
            TraceState::default(),
        ))
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = NotATraceParent;

    /// An unknown version is read as version 00.
    fn from_str(text: &str) -> Result<Self, NotATraceParent> {
        let mut parts = text.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let is_hex = part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            is_hex.then(|| u128::from_str_radix(part, 16).ok())?
        };
        let (version, trace) = (hex(2).ok_or(NotATraceParent)?, hex(32).ok_or(NotATraceParent)?);
        let (span, flags) = (hex(16).ok_or(NotATraceParent)?, hex(2).ok_or(NotATraceParent)?);
        let goes_on = parts.next().is_some();
        if version == 0xff || (version == 0 && goes_on) || trace == 0 || span == 0 {
            return Err(NotATraceParent);
        }
        let span = u64::try_from(span).map_err(|_| NotATraceParent)?;
        let sampled = flags & 1 == 1;
        Ok(Self {
            trace: TraceId::from(trace),
            span: SpanId::from(span),
            flags: TraceFlags::default().with_sampled(sampled),
        })
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

impl TryFrom<String> for TraceParent {
    type Error = NotATraceParent;

    fn try_from(text: String) -> Result<Self, NotATraceParent> {
        text.parse()
    }
}

/// Makes a new span part of the parent's trace, and answers the parent for further spans: the span
/// itself where spans are exported, else the parent.
pub fn follow(span: &Span, parent: Option<TraceParent>) -> Option<TraceParent> {
    if let Some(parent) = parent {
        // An error only means that no span is created here.
        let _ = span.set_parent(parent.context());
    }
    TraceParent::of(span).or(parent)
}

/// Whether the span goes to a collector.
#[must_use]
pub fn is_exported(span: &Span) -> bool {
    TraceParent::of(span).is_some()
}

/// Gives an exported span its name, when it is known late.
pub fn rename(span: &Span, name: String) {
    span.context().span().update_name(name);
}

/// Adds an attribute to an exported span that logs need not repeat.
pub fn annotate(span: &Span, key: &'static str, value: impl Into<opentelemetry::Value>) {
    span.set_attribute(key, value);
}

/// Marks an exported span as failed.
pub fn fail(span: &Span, reason: impl Into<std::borrow::Cow<'static, str>>) {
    span.set_status(Status::error(reason));
}

/// Records the waiting time of a job from its due time to its claim, as a span of its own.
pub(crate) fn waited(parent: Option<TraceParent>, kind: &str, due: DateTime<Utc>, claimed: DateTime<Utc>) {
    let Some(parent) = parent else { return };
    let tracer = global::tracer(TRACER);
    let mut span = tracer
        .span_builder("dispatch")
        .with_kind(SpanKind::Internal)
        .with_start_time(due.min(claimed))
        .with_attributes([KeyValue::new("kind", kind.to_owned())])
        .start_with_context(&tracer, &parent.context());
    span.end_with_timestamp(claimed.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written_alike() {
        let parent: TraceParent = GOOD.parse().unwrap();
        assert_eq!(parent.to_string(), GOOD);
        assert_eq!(parent.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        let generated = TraceParent::generate();
        assert_eq!(generated.to_string().parse(), Ok(generated));
    }

    #[test]
    fn a_later_version_counts_as_far_as_we_know_it() {
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes";
        assert_eq!(later.parse::<TraceParent>().unwrap().to_string(), GOOD);
    }

    #[test]
    fn what_is_malformed_or_zero_names_no_trace() {
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(NotATraceParent), "{bad}");
        }
    }
}
