//! The edge: the middleware that every request and every answer passes. Request id,
//! client address, CORS, deadline, panics, errors per surface, security headers, the access log and
//! the HTTP figures.

mod address;
mod charge;
mod cors;
mod deadline;
mod mask;
mod pace;
mod reach;
mod request_id;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use jobs::{Surface, TraceParent, trace};
use poem::{
    Endpoint, IntoResponse, Middleware, PathPattern, Request, Response, Result,
    http::{HeaderName, HeaderValue, Method, StatusCode, Version, header},
};
use runtime::heavy;
use tokio::time::Instant;
use tracing::Instrument;

pub use address::ClientAddress;
pub use deadline::{no_deadline, watching};
pub(crate) use pace::Pace;
pub use request_id::RequestId;

use charge::Charge;
use deadline::Deadline;
use mask::{masked_path, masked_query};

use crate::{ApiConfig, ApiError, App, idempotency, rate_limit::Standing, strict};

/// The edge as a middleware. It goes outside everything else.
#[derive(Debug, Clone)]
pub struct Edge {
    config: ApiConfig,
    app: Option<App>,
}

impl Edge {
    /// An edge with that configuration.
    #[must_use]
    pub fn new(config: ApiConfig) -> Self {
        Self { config, app: None }
    }

    /// The edge of that app.
    #[must_use]
    pub fn of(app: App) -> Self {
        Self { config: app.config.clone(), app: Some(app) }
    }
}

impl<E: Endpoint> Middleware<E> for Edge {
    type Output = EdgeEndpoint<E>;

    fn transform(&self, inner: E) -> EdgeEndpoint<E> {
        EdgeEndpoint { inner, config: self.config.clone(), app: self.app.clone() }
    }
}

/// An endpoint inside the edge. It always answers, never fails.
#[derive(Debug)]
pub struct EdgeEndpoint<E> {
    inner: E,
    config: ApiConfig,
    app: Option<App>,
}

/// Marks a request without exactly one host: proxies in front may have used another one. Inserted by the server.
#[derive(Debug, Clone, Copy)]
pub struct AmbiguousHost;

/// The surface of a path. Paths outside all surfaces are treated as the Platform API's.
fn surface_of(path: &str) -> Surface {
    match path.split('/').nth(1) {
        Some("api") => Surface::Workspace,
        Some("ops") => Surface::Ops,
        _ => Surface::Platform,
    }
}

/// The surface in whose form a path's errors are shown: the Token API has answers and errors of its own form, without
/// the envelope of its surface.
pub(crate) fn form_of(path: &str, surface: Surface) -> Surface {
    if matches!(path, "/v1/me" | "/v1/books") { Surface::Workspace } else { surface }
}

impl<E: Endpoint> Endpoint for EdgeEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let began = Instant::now();
        let id = RequestId::of(&request);
        request.set_data(id.clone());
        if let Some(address) = ClientAddress::of(&request, &self.config.trusted_proxies) {
            request.set_data(address);
        }
        let origin = cors::allowed_origin(&request, &self.config.cors_origins);
        let method = request.method().clone();
        let uri = request.uri().clone();
        let surface = surface_of(uri.path());
        request.set_data(surface);
        let form = form_of(uri.path(), surface);
        let standing = Standing::default();
        request.set_data(standing.clone());
        if let Some(app) = &self.app {
            request.set_data(app.clone());
        }
        // Both periods begin with the head, whatever precedes the handler.
        let deadline = Deadline::new(began, self.config.request_timeout);
        Pace::set(&mut request, deadline.of_body());
        let pace = Pace::of(&request);
        let is_http1 = request.version() == Version::HTTP_11;
        request.set_data(deadline.clone());

        let span =
            tracing::info_span!("request", id = %id.0, trace = tracing::field::Empty, otel.kind = "server");
        let incoming = request.header("traceparent").and_then(|header| header.parse().ok());
        let traceparent = trace::follow(&span, incoming).unwrap_or_else(TraceParent::generate);
        span.record("trace", traceparent.trace_id());
        request.set_data(traceparent);
        // Boxed, so that the futures which wait for it stay small.
        let answered = Box::pin(async {
            let render = |error: ApiError| error.render(form, &id.0);
            let charge = self.app.as_ref().map(|app| Charge::new(app, &request, &standing));
            if let Some(charge) = &charge
                && let Err(refused) = charge.before(&request).await
            {
                return render(refused);
            }
            let answered = if cors::is_preflight(&request) {
                match origin {
                    Some(_) => cors::preflight(&request),
                    None => render(cors::refusal(&request)),
                }
            } else {
                let answer = async |request| self.rendered(request, &deadline, form, &id).await;
                let answered = idempotency::answer(self.app.as_ref(), request, answer).await;
                answered.unwrap_or_else(render)
            };
            match charge {
                Some(charge) => charge.after(answered, render).await,
                None => answered,
            }
        })
        .instrument(span.clone());
        let mut response = tokio::select! {
            biased;
            response = answered => response,
            () = reach::lost(self.app.as_ref(), uri.path()) => {
                ApiError::database_unreachable().render(form, &id.0)
            }
        };

        if let Some(origin) = origin {
            cors::allow(&mut response, origin);
        }
        // The connection can't be reused before all of the body has arrived, and an answer doesn't wait for a
        // long one: without this header, a client sends its next request into a connection that is being
        // closed.
        if is_http1 && !pace.read_rest().await {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        finish(&mut response, &id);
        locate(&mut response).await;
        standing.show(response.headers_mut());
        let pattern = response.data::<PathPattern>().cloned();
        let pattern = pattern.as_ref().map_or("unmatched", |pattern| &pattern.0);
        describe(&span, &method, pattern, response.status());
        let _in_span = span.enter();
        note(&method, &uri, pattern, response.status(), began);
        Ok(response)
    }
}

impl<E: Endpoint> EdgeEndpoint<E> {
    /// The answer as the client gets it, for success and error alike.
    async fn rendered(
        &self,
        request: Request,
        deadline: &Deadline,
        form: Surface,
        id: &RequestId,
    ) -> Response {
        let pace = Pace::of(&request);
        let error = match self.answer(request, deadline).await {
            Ok(response) => return response,
            Err(error) => error,
        };
        let pattern = error.data::<PathPattern>().cloned();
        let mut response = if pace.was_too_slow() {
            // Regardless of what the reader of the body made of the abort.
            ApiError::body_too_slow().render(form, &id.0)
        } else if error.is_from_response() {
            error.into_response()
        } else {
            ApiError::of_framework(error).render(form, &id.0)
        };
        if let Some(pattern) = pattern {
            response.set_data(pattern);
        }
        response
    }

    /// Runs the handler under its deadline; a panic in it becomes a 500.
    async fn answer(&self, request: Request, deadline: &Deadline) -> Result<Response> {
        if request.data::<AmbiguousHost>().is_some() {
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_request", "send one Host header").into());
        }
        refuse_unknown_method(&request)?;
        refuse_nul(&request)?;
        refuse_too_large(&request, self.config.max_upload_bytes)?;
        let client = request.data::<ClientAddress>().map(|address| address.0);
        let handler = heavy::for_client(client, self.inner.call(request));
        let handler = AssertUnwindSafe(handler).catch_unwind();
        tokio::select! {
            answer = handler => match answer {
                Ok(answer) => answer.map(IntoResponse::into_response),
                Err(panic) => Err(ApiError::internal(panic_message(&*panic)).into()),
            },
            () = deadline.passed() => Err(ApiError::unavailable("timeout", "the request took too long").into()),
        }
    }
}

/// Unknown methods exist on no path.
fn refuse_unknown_method(request: &Request) -> Result<(), ApiError> {
    if strict::is_known(request.method()) {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "method_unknown", "the method is unknown"))
}

/// PostgreSQL can't store NUL: no id contains one, and a parameter with one is invalid.
fn refuse_nul(request: &Request) -> Result<(), ApiError> {
    let uri = request.uri();
    if uri.path().contains("%00") {
        return Err(ApiError::not_found());
    }
    let Some(pair) = uri.query().unwrap_or_default().split('&').find(|pair| pair.contains("%00")) else {
        return Ok(());
    };
    let name = pair.split('=').next().filter(|name| !name.contains("%00")).unwrap_or("query");
    Err(ApiError::invalid(name, "must not contain a NUL character"))
}

/// A body whose declared size exceeds the largest upload isn't read at all. The form around a file
/// adds some bytes.
fn refuse_too_large(request: &Request, max_upload_bytes: u64) -> Result<(), ApiError> {
    const FORM: u64 = 64 << 10;
    let length = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    match length {
        Some(length) if length > max_upload_bytes.saturating_add(FORM) => Err(ApiError::too_large()),
        _ => Ok(()),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a handler panicked: {}", text.as_deref().unwrap_or("no message"))
}

/// Headers of every answer.
fn finish(response: &mut Response, id: &RequestId) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    // Pages set their own policy; everything else is data, for which a browser needs no active content.
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        const NOTHING: &str =
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(NOTHING));
    }
}

/// Adds `Location` to a 202: the `status_url` of its body, which the Platform API wraps. A repeated answer
/// has it, too.
async fn locate(response: &mut Response) {
    if response.status() != StatusCode::ACCEPTED || response.headers().contains_key(header::LOCATION) {
        return;
    }
    let Ok(bytes) = response.take_body().into_bytes().await else { return };
    let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let links = if body["status_url"].is_string() { &body } else { &body["data"] };
    if let Some(url) = links["status_url"].as_str().and_then(|url| HeaderValue::from_str(url).ok()) {
        response.headers_mut().insert(header::LOCATION, url);
    }
    response.set_body(bytes);
}

/// Attributes of the request's exported span. Actual paths may contain secrets.
fn describe(span: &tracing::Span, method: &Method, pattern: &str, status: StatusCode) {
    if !trace::is_exported(span) {
        return;
    }
    trace::rename(span, format!("{method} {pattern}"));
    trace::annotate(span, "http.request.method", method.to_string());
    trace::annotate(span, "http.route", pattern.to_owned());
    trace::annotate(span, "http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        trace::fail(span, "");
    }
}

/// Writes the access log and the metrics.
fn note(method: &Method, uri: &poem::http::Uri, pattern: &str, status: StatusCode, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    // Known methods only: label cardinality must stay bounded.
    let verb = match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let labels = [("method", verb), ("route", pattern.to_owned()), ("status", status.as_u16().to_string())];
    metrics::counter!("millrace_http_requests_total", &labels).increment(1);
    metrics::histogram!("millrace_http_request_duration_seconds", &labels[..2]).record(seconds);
    tracing::info!(
        %method,
        path = masked_path(uri.path()),
        query = masked_query(uri.query()).as_deref(),
        status = status.as_u16(),
        ms = (seconds * 1000.0).round(),
        "answered"
    );
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use bytes::Bytes;
    use futures::stream;
    use poem::{Body, EndpointExt, Route, get, handler, test::TestClient};
    use serde_json::json;

    use super::*;

    #[handler]
    fn panics() {
        panic!("select password from users");
    }

    #[handler]
    async fn sleeps() {
        tokio::time::sleep(Duration::from_hours(1)).await;
    }

    #[handler]
    async fn naps() {
        tokio::time::sleep(Duration::from_millis(80)).await;
    }

    fn client() -> TestClient<impl Endpoint> {
        let config = ApiConfig {
            cors_origins: vec![HeaderValue::from_static("https://app.example")],
            request_timeout: Duration::from_millis(20),
            max_upload_bytes: 10,
            ..ApiConfig::default()
        };
        let routes = Route::new()
            .at("/api/panics", get(panics))
            .at("/sleeps", get(sleeps))
            .at("/naps", get(no_deadline(naps)))
            .with(Edge::new(config));
        TestClient::new(routes)
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_tells_nothing() {
        let response = client().get("/api/panics").header("X-Request-Id", "mine").send().await;
        response.assert_status(StatusCode::INTERNAL_SERVER_ERROR);
        response.assert_header("X-Request-Id", "mine");
        response
            .assert_json(json!({"error": "internal", "detail": "an internal error occurred",
                                "request_id": "mine"}))
            .await;
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_unless_the_route_takes_its_time() {
        client().get("/sleeps").send().await.assert_status(StatusCode::SERVICE_UNAVAILABLE);
        client().get("/naps").send().await.assert_status_is_ok();
    }

    #[tokio::test]
    async fn an_unknown_path_and_a_wrong_method_have_json_answers() {
        let response = client().get("/nowhere").header("X-Request-Id", "mine").send().await;
        response.assert_status(StatusCode::NOT_FOUND);
        response
            .assert_json(json!({"success": false, "request_id": "mine",
                "error": {"code": "route_not_found", "message": "the path does not exist"}}))
            .await;
        let response = client().post("/api/panics").send().await;
        response.assert_status(StatusCode::METHOD_NOT_ALLOWED);
        response
            .assert_json(json!({"error": "method_not_allowed",
                "detail": "the path does not support this method"}))
            .await;
        let response = client().request(Method::from_bytes(b"BREW").unwrap(), "/naps").send().await;
        response.assert_status(StatusCode::NOT_IMPLEMENTED);
    }

    #[tokio::test]
    async fn a_nul_in_the_url_or_a_body_too_large_never_reaches_a_handler() {
        let response = client().get("/api/panics?name=a%00b").send().await;
        response.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        client().get("/api/%00").send().await.assert_status(StatusCode::NOT_FOUND);
        let response = client().get("/naps").header("Content-Length", "100000").send().await;
        response.assert_status(StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn an_answer_before_a_long_body_has_come_closes_the_connection() {
        let client = client();
        let long = || stream::iter([Ok(Bytes::from(vec![b'x'; 70_000])), Ok::<_, io::Error>(Bytes::new())]);
        for path in ["/nowhere", "/naps"] {
            let body = || Body::from_bytes_stream(long());
            client.get(path).body(body()).send().await.assert_header(header::CONNECTION, "close");
            client.get(path).body("short").send().await.assert_header_is_not_exist(header::CONNECTION);
            client.get(path).send().await.assert_header_is_not_exist(header::CONNECTION);
            // A client that waits for "100 Continue" must not be sent it after the answer.
            let waits = client.get(path).header("Expect", "100-continue").body("short").send().await;
            waits.assert_header(header::CONNECTION, "close");
        }
    }

    #[tokio::test]
    async fn only_listed_origins_may_read_answers() {
        let client = client();
        let ask = |origin: &'static str| {
            client
                .request(Method::OPTIONS, "/naps")
                .header("Origin", origin)
                .header("Access-Control-Request-Method", "GET")
                .send()
        };
        let response = ask("https://app.example").await;
        response.assert_status(StatusCode::NO_CONTENT);
        response.assert_header("Access-Control-Allow-Origin", "https://app.example");
        let response = ask("https://evil.example").await;
        response.assert_status(StatusCode::FORBIDDEN);
        response.assert_header_is_not_exist("Access-Control-Allow-Origin");
    }
}
