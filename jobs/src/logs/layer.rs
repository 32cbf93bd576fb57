//! From `tracing` to the job's log: an event inside a job's span is a line of that job.

use std::fmt::{self, Write};

use tracing::{
    Event, Span, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer, Registry,
    layer::Context,
    registry::{LookupSpan, SpanData},
};

use super::{JobLog, mask};

/// Stores the handlers' events with their jobs. A layer of a process's subscriber, over a [`Registry`];
/// its filter selects the events that are stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobLogs;

impl<S> Layer<S> for JobLogs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(log) = span.extensions().get::<JobLog>() {
                let mut text = Text::default();
                event.record(&mut text);
                log.write(*event.metadata().level(), &text.whole());
                return;
            }
        }
    }
}

impl JobLog {
    /// Receives the events inside that span. Without a subscriber that keeps spans there are none.
    pub(crate) fn attach(&self, span: &Span) {
        span.with_subscriber(|(id, subscriber)| {
            if let Some(data) = subscriber.downcast_ref::<Registry>().and_then(|spans| spans.span_data(id)) {
                data.extensions_mut().insert(self.clone());
            }
        });
    }
}

/// An event as a line: its message, then its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn whole(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string can't fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name if mask::is_secret(name) => write!(self.fields, " {name}=***"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::{
        JobId,
        logs::{Entry, LogSink},
    };

    #[test]
    fn what_is_said_inside_a_jobs_span_is_a_line_of_its_attempt() {
        let (sender, mut receiver) = mpsc::channel(8);
        let (job, log) = {
            let job = JobId::new();
            (job, LogSink(sender).of(job, 2))
        };
        tracing::subscriber::with_default(Registry::default().with(JobLogs), || {
            let span = tracing::info_span!("job");
            log.attach(&span);
            tracing::info!("outside");
            span.in_scope(|| {
                tracing::info_span!("deeper").in_scope(|| {
                    tracing::warn!(rows = 3, api_key = "mine", name = %"Ada", "half done");
                });
            });
        });
        let Ok(Entry::Line(line)) = receiver.try_recv() else { panic!("a line") };
        assert_eq!((line.job, line.attempt, line.level), (job, 2, "warn"));
        assert_eq!(line.message, "half done rows=3 api_key=*** name=Ada");
        assert!(receiver.try_recv().is_err(), "nothing else was logged there");
    }

    #[test]
    fn lines_that_found_no_room_are_told_by_the_next_one_that_does() {
        let (sender, mut receiver) = mpsc::channel(1);
        let log = LogSink(sender).of(JobId::new(), 1);
        for line in ["first", "second", "third"] {
            log.write(tracing::Level::INFO, line);
        }
        let mut said = || match receiver.try_recv() {
            Ok(Entry::Line(line)) => line.message,
            _ => String::new(),
        };
        assert_eq!(said(), "first");
        log.write(tracing::Level::INFO, "fourth");
        assert_eq!(said(), "2 lines before this one were lost");
    }
}
