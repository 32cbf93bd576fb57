//! The one error of the API, and the one place that renders it per surface.
//!
//! Handlers use `?`: each [`domain::Error`], and each error that converts into one, becomes an [`ApiError`], the framework's own errors
//! are translated by [`ApiError::of_framework`], and [`crate::Edge`] renders them all.

mod framework;

pub(crate) use framework::plain_reason;

use std::{borrow::Cow, collections::BTreeMap, error::Error as StdError, fmt};

use domain::{DATABASE_UNREACHABLE, ErrorKind, FieldErrors};
use jobs::Surface;
use poem::{
    IntoResponse, Response,
    error::{ReadBodyError, ResponseError},
    http::StatusCode,
    http::header,
};
use poem_openapi::{
    ApiResponse, Object,
    payload::{Json, Payload},
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Type,
};
use serde_json::json;

/// Maximum number of errors of a request that an answer names: writing them must not take longer than reading the
/// request.
pub(crate) const MAX_NAMED: usize = 20;

/// Delay before the retry of a request that needs an unreachable database, which may return at any time.
const RETRY_AFTER_SECONDS: u64 = 2;

/// An error on its way to a client: a status, a code for programs, a message for display.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    fields: FieldErrors,
    retry_after: Option<u32>,
    allow: Option<Box<str>>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// Error of the Workspace API and the operator's routes.
#[derive(Debug, Object)]
#[oai(rename = "Error")]
pub(crate) struct ErrorBody {
    /// Stable error code, for programs.
    pub error: String,
    /// Error message, for display; its wording may change.
    pub detail: String,
    /// Reasons by field; null if the error is not about fields.
    #[oai(skip_serializing_if_is_none)]
    pub fields: Option<BTreeMap<String, Vec<String>>>,
}

impl ApiError {
    /// An error with a code of its own.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            fields: FieldErrors::new(),
            retry_after: None,
            allow: None,
            cause: None,
        }
    }

    /// 404: the resource doesn't exist, or the caller may not see it.
    #[must_use]
    pub fn not_found() -> Self {
        domain::Error::not_found().into()
    }

    /// Whether it is a [`Self::not_found`].
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// 422: one field, one reason.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        domain::Error::invalid(field, reason).into()
    }

    /// 422: reasons by field.
    #[must_use]
    pub fn invalid_fields(fields: FieldErrors) -> Self {
        domain::Error::invalid_fields(fields).into()
    }

    /// 422: absent required fields, by name.
    pub fn missing(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        domain::Error::missing(names).into()
    }

    /// 422: unknown parameters or members, with the allowed ones.
    #[must_use]
    pub fn unknown(fields: FieldErrors) -> Self {
        domain::Error::unknown(fields).into()
    }

    /// 405: the methods that the path supports, as `Allow` lists them.
    pub fn method_not_allowed(allow: impl Into<String>) -> Self {
        let detail = "the path does not support this method";
        Self {
            allow: Some(allow.into().into_boxed_str()),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        }
    }

    /// 400: the body is not valid JSON.
    pub fn invalid_json(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", detail)
    }

    /// 401: no credential was sent.
    #[must_use]
    pub fn token_missing() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token_missing", "a bearer token is required")
    }

    /// 401: the credential is invalid or has expired.
    #[must_use]
    pub fn token_invalid() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token_invalid", "the token is invalid or has expired")
    }

    /// 401: the workspace requires a more recent sign-in. A refreshed token belongs to the same sign-in and
    /// doesn't help.
    #[must_use]
    pub fn sign_in_required() -> Self {
        let detail = "the workspace requires a more recent sign-in: sign in again; refreshing does not help";
        Self::new(StatusCode::UNAUTHORIZED, "sign_in_required", detail)
    }

    /// 403: the caller is known and lacks the permission.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 409: not possible in the resource's present state.
    pub fn conflict(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 408: the body paused too long, or was too slow.
    #[must_use]
    pub fn body_too_slow() -> Self {
        let detail = "the body came too slowly: at most 10 s between two pieces, 1 KiB a second, 25 s in all \
                      unless it is an upload";
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
    }

    /// 413: the body is larger than the route accepts.
    #[must_use]
    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "the request body is too large")
    }

    /// The error for an unreadable JSON body.
    pub(crate) fn of_body(error: &ReadBodyError) -> Self {
        match error {
            ReadBodyError::PayloadTooLarge => Self::too_large(),
            ReadBodyError::Io(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Self::too_large(),
            error => Self::invalid_json(format!("the body is incomplete: {error}")),
        }
    }

    /// 415: a content type that the route doesn't accept.
    pub fn unsupported_media_type(expected: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!("send the body with Content-Type: {expected}"),
        )
    }

    /// 429: too many requests; retry after so many seconds.
    pub fn rate_limited(seconds: u64, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(seconds)
    }

    /// 500: an internal error. The cause is logged and never sent.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        domain::Error::internal(cause).into()
    }

    /// 503: not available now.
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// 503: PostgreSQL is unreachable; retry after a short time.
    #[must_use]
    pub fn database_unreachable() -> Self {
        Self::unavailable(DATABASE_UNREACHABLE, "the database is unreachable; try again")
            .retry_after(RETRY_AFTER_SECONDS)
    }

    /// The same with the seconds to wait, kept small.
    fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(u32::try_from(seconds).unwrap_or(u32::MAX)), ..self }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The answer of a surface. The cause of an internal error is logged here, inside the request's
    /// span.
    pub(crate) fn render(&self, surface: Surface, request_id: &str) -> Response {
        if let Some(cause) = &self.cause {
            tracing::error!(error = ?cause, "request failed: {cause}");
        }
        let mut body = match surface {
            Surface::Workspace | Surface::Ops => json!({ "error": self.code, "detail": self.detail }),
            Surface::Platform => json!({
                "success": false,
                "error": { "code": self.code, "message": self.detail },
                "request_id": request_id,
            }),
        };
        let holder = match surface {
            Surface::Workspace | Surface::Ops => &mut body,
            Surface::Platform => &mut body["error"],
        };
        if !self.fields.is_empty() {
            holder["fields"] = json!(self.fields);
        }
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            body["request_id"] = json!(request_id);
        }
        let mut response = poem::web::Json(body).with_status(self.status).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = self.allow.as_deref().and_then(|allow| header::HeaderValue::from_str(allow).ok())
        {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750: a request without a credential is given no error code, and a wrong password concerns no
            // bearer token. RFC 9470: a valid token whose sign-in is not recent enough.
            let challenge = match &*self.code {
                "token_invalid" => r#"Bearer realm="millrace", error="invalid_token""#,
                "sign_in_required" => r#"Bearer realm="millrace", error="insufficient_user_authentication""#,
                _ => r#"Bearer realm="millrace""#,
            };
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static(challenge));
        }
        response
    }
}

/// The errors of the domain and of its dependencies.
impl<E: Into<domain::Error>> From<E> for ApiError {
    fn from(error: E) -> Self {
        let (kind, said, cause) = error.into().into_parts();
        if let (ErrorKind::NotFound | ErrorKind::Conflict(_), Some(cause)) = (&kind, &cause) {
            tracing::debug!(error = ?cause, "refused by the database");
        }
        let answer = |status, code| Self::new(status, code, said.clone());
        match kind {
            ErrorKind::NotFound => answer(StatusCode::NOT_FOUND, "record_not_found"),
            ErrorKind::Invalid(fields) => {
                Self { fields, ..answer(StatusCode::UNPROCESSABLE_ENTITY, "record_invalid") }
            }
            ErrorKind::Unknown(fields) => {
                Self { fields, ..answer(StatusCode::UNPROCESSABLE_ENTITY, "parameter_unknown") }
            }
            ErrorKind::Missing(fields) => {
                Self { fields, ..answer(StatusCode::UNPROCESSABLE_ENTITY, "parameter_missing") }
            }
            ErrorKind::Conflict(code) => Self::conflict(code, said),
            ErrorKind::Forbidden => Self::forbidden(said),
            ErrorKind::Unauthenticated => answer(StatusCode::UNAUTHORIZED, "token_invalid"),
            ErrorKind::WrongCredentials => answer(StatusCode::UNAUTHORIZED, "credentials_invalid"),
            ErrorKind::TooMany(code, seconds) => {
                answer(StatusCode::TOO_MANY_REQUESTS, code).retry_after(seconds)
            }
            ErrorKind::PaymentRefused => answer(StatusCode::PAYMENT_REQUIRED, "payment_refused"),
            ErrorKind::LimitExceeded => answer(StatusCode::PAYMENT_REQUIRED, "limit_exceeded"),
            ErrorKind::TooLarge => answer(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            ErrorKind::Gone => answer(StatusCode::GONE, "gone"),
            ErrorKind::Unavailable(DATABASE_UNREACHABLE) => Self { cause, ..Self::database_unreachable() },
            ErrorKind::Unavailable(code) => Self { cause, ..Self::unavailable(code, said) },
            ErrorKind::Overloaded(seconds) => Self::unavailable("overloaded", said).retry_after(seconds),
            ErrorKind::Internal => Self { cause, ..answer(StatusCode::INTERNAL_SERVER_ERROR, "internal") },
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl StdError for ApiError {}

/// Lets poem carry it up to the edge.
impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn as_response(&self) -> Response {
        self.render(Surface::Workspace, "")
    }
}

/// All statuses of errors. [`crate::document`] leaves out, per operation, those that it
/// can't answer with.
pub(crate) const DOCUMENTED: [(StatusCode, &str); 14] = [
    (StatusCode::BAD_REQUEST, "The body is not valid JSON, or the request cannot be read"),
    (StatusCode::UNAUTHORIZED, "No valid credential"),
    (StatusCode::PAYMENT_REQUIRED, "A limit is reached, or the payment was refused"),
    (StatusCode::FORBIDDEN, "The caller lacks the permission"),
    (StatusCode::NOT_FOUND, "The resource does not exist, or the caller may not see it"),
    (StatusCode::REQUEST_TIMEOUT, "The request body arrived too slowly"),
    (StatusCode::CONFLICT, "Not possible in the resource's present state"),
    (StatusCode::GONE, "The resource is no longer valid"),
    (StatusCode::PAYLOAD_TOO_LARGE, "The request body is larger than the route accepts"),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The route requires another content type"),
    (StatusCode::UNPROCESSABLE_ENTITY, "Values are missing or invalid; `fields` has the reasons"),
    (StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded; see `Retry-After`"),
    (StatusCode::INTERNAL_SERVER_ERROR, "Internal error; quote `request_id` when reporting it"),
    (StatusCode::SERVICE_UNAVAILABLE, "Not available at present, or the request took too long"),
];

impl ApiResponse for ApiError {
    fn meta() -> MetaResponses {
        let responses = DOCUMENTED
            .iter()
            .map(|(status, description)| MetaResponse {
                description,
                status: Some(status.as_u16()),
                status_range: None,
                content: vec![MetaMediaType {
                    content_type: Json::<ErrorBody>::CONTENT_TYPE,
                    schema: ErrorBody::schema_ref(),
                }],
                headers: vec![],
            })
            .collect();
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        ErrorBody::register(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rendered(error: ApiError, surface: Surface) -> (u16, serde_json::Value) {
        let response = error.render(surface, "req-1");
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.into_body().into_vec().await.unwrap()).unwrap())
    }

    #[tokio::test]
    async fn each_surface_has_its_own_shape() {
        assert_eq!(
            rendered(ApiError::invalid("name", "is too long"), Surface::Workspace).await,
            (
                422,
                json!({"error": "record_invalid", "detail": "name: is too long",
                       "fields": {"name": ["is too long"]}})
            )
        );
        assert_eq!(
            rendered(ApiError::invalid("name", "is too long"), Surface::Platform).await,
            (
                422,
                json!({"success": false, "request_id": "req-1", "error": {"code": "record_invalid",
                       "message": "name: is too long", "fields": {"name": ["is too long"]}}})
            )
        );
    }

    #[tokio::test]
    async fn an_internal_error_has_no_details() {
        let error = ApiError::internal(std::io::Error::other("select password from users"));
        let (status, body) = rendered(error, Surface::Workspace).await;
        assert_eq!(status, 500);
        assert_eq!(
            body,
            json!({"error": "internal", "detail": "an internal error occurred", "request_id": "req-1"})
        );
    }

    #[test]
    fn a_refused_means_of_payment_is_a_402_on_every_route() {
        let refused = ApiError::from(runtime::stripe::StripeError::Refused("Your card was declined.".into()));
        assert_eq!((refused.status, &*refused.code), (StatusCode::PAYMENT_REQUIRED, "payment_refused"));
    }
}
