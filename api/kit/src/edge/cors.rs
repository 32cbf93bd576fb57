//! CORS: browsers on listed origins may call and read; others get no CORS headers.

use poem::{
    IntoResponse, Request, Response,
    http::{HeaderValue, Method, StatusCode, header},
};

use crate::ApiError;

const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
const EXPOSED: &str = "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, Idempotency-Replayed, \
                       Content-Disposition, ETag, Location, Allow, WWW-Authenticate";

/// The request's origin, if it is listed.
pub(super) fn allowed_origin(request: &Request, listed: &[HeaderValue]) -> Option<HeaderValue> {
    request.headers().get(header::ORIGIN).filter(|origin| listed.contains(origin)).cloned()
}

/// Whether the request is a preflight request.
pub(super) fn is_preflight(request: &Request) -> bool {
    *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The refusal for a page on an unlisted origin, which the browser's console and log show.
pub(super) fn refusal(request: &Request) -> ApiError {
    let origin = request.header(header::ORIGIN).unwrap_or_default();
    let detail = format!("CORS: the origin {origin} is not listed in CORS_ORIGINS");
    ApiError::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail)
}

/// Lifetime of a preflight answer in browsers, in seconds. Some browsers use less.
const MAX_AGE: &str = "7200";

/// The answer to a preflight request.
pub(super) fn preflight(request: &Request) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    if let Some(wanted) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

/// Lets that origin read the answer. Credentials are headers here, never cookies.
pub(super) fn allow(response: &mut Response, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}
