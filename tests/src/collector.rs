//! An OpenTelemetry collector of a test's own: takes spans by OTLP over HTTP, and shows them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value},
    resource::v1::Resource,
};
use poem::{
    EndpointExt, IntoResponse, Request, Response, Route, Server, handler,
    http::StatusCode,
    listener::{Acceptor, Listener, TcpListener},
    post,
    web::Data,
};
use prost::Message;
use tokio::sync::Notify;

/// A span that a process has exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The process.
    pub service: String,
    /// What it is.
    pub name: String,
    /// The trace, in hex.
    pub trace: String,
    /// The span, in hex.
    pub id: String,
    /// The span above it, in hex; empty without one.
    pub parent: String,
    /// From when, in nanoseconds since 1970.
    pub start: u64,
    /// Until when.
    pub end: u64,
    /// Its attributes that are texts.
    pub attributes: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Received {
    spans: Arc<Mutex<Vec<Span>>>,
    more: Arc<Notify>,
}

/// The collector, listening.
pub struct Collector {
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
    received: Received,
}

impl Collector {
    /// Starts to listen.
    pub async fn start() -> Self {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a free port");
        let address = acceptor.local_addr().remove(0);
        let endpoint = format!("http://{}", address.as_socket_addr().expect("a TCP address"));
        let received = Received::default();
        let routes = Route::new().at("/v1/traces", post(take)).data(received.clone());
        tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
        Self { endpoint, received }
    }

    /// The span of a trace with that name, as soon as it has come.
    pub async fn span(&self, trace: &str, name: &str) -> Span {
        self.find(trace, name, |span| span.name == name).await
    }

    /// The span of a trace of an SQL statement of that process in which that text is, as soon as it has arrived.
    pub async fn query(&self, trace: &str, service: &str, text: &str) -> Span {
        let has_text =
            |span: &Span| span.attributes.get("db.query.text").is_some_and(|all| all.contains(text));
        self.find(trace, text, |span| span.service == service && has_text(span)).await
    }

    async fn find(&self, trace: &str, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        let found = async {
            loop {
                let more = self.received.more.notified();
                if let Some(span) = self.spans(trace).into_iter().find(&is_it) {
                    return span;
                }
                more.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found)
            .await
            .unwrap_or_else(|_| panic!("no span {what} in {:#?}", self.spans(trace)))
    }

    /// All spans that have arrived, of any trace.
    pub fn all(&self) -> Vec<Span> {
        self.received.spans.lock().unwrap().clone()
    }

    /// What has come of a trace.
    pub fn spans(&self, trace: &str) -> Vec<Span> {
        let spans = self.received.spans.lock().unwrap();
        spans.iter().filter(|span| span.trace == trace).cloned().collect()
    }
}

#[handler]
#[allow(clippy::needless_pass_by_value)] // what a handler is given
fn take(received: Data<&Received>, request: &Request, body: Vec<u8>) -> Response {
    if request.content_type() != Some("application/x-protobuf") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body.as_slice()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut spans = received.spans.lock().unwrap();
    for of_resource in request.resource_spans {
        let service = service(of_resource.resource.as_ref());
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                service: service.clone(),
                name: span.name,
                trace: hex::encode(span.trace_id),
                id: hex::encode(span.span_id),
                parent: hex::encode(span.parent_span_id),
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                attributes: texts(&span.attributes),
            });
        }
    }
    drop(spans);
    received.more.notify_waiters();
    let answer = ExportTraceServiceResponse::default().encode_to_vec();
    Response::builder().content_type("application/x-protobuf").body(answer)
}

fn service(resource: Option<&Resource>) -> String {
    let attributes = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
    texts(attributes).remove("service.name").unwrap_or_default()
}

/// The attributes that are texts.
fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some((attribute.key.clone(), text.clone())),
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}
