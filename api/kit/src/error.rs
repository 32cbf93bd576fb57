//! The one error of the API, and the one place that renders it per surface.
//!
//! Handlers use `?`: each [`domain::Error`], and what converts into one, becomes an [`ApiError`], the framework's own errors
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

/// Faults of a request that an answer names at the most: writing them must not take longer than reading the request.
pub(crate) const MAX_NAMED: usize = 20;

/// When to try again what needs a database that is unreachable: it may be back at any time.
const RETRY_AFTER_SECONDS: u64 = 2;

/// An error on its way to a client: a status, a code for programs, a sentence for people.
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

/// How the Workspace API and the operator's routes show an error.
#[derive(Debug, Object)]
#[oai(rename = "Error")]
pub(crate) struct ErrorBody {
    /// A code for programs.
    pub error: String,
    /// A sentence for people.
    pub detail: String,
    /// Reasons by field, where fields are to blame.
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

    /// 404: it doesn't exist, or the caller may not see it.
    #[must_use]
    pub fn not_found() -> Self {
        domain::Error::not_found().into()
    }

    /// Whether that is what it says.
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

    /// 422: what is required and absent, by name.
    pub fn missing(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        domain::Error::missing(names).into()
    }

    /// 422: parameters or members that the operation doesn't have, with what it has.
    #[must_use]
    pub fn unknown(fields: FieldErrors) -> Self {
        domain::Error::unknown(fields).into()
    }

    /// 405: the methods that the path has, as `Allow` lists them.
    pub fn method_not_allowed(allow: impl Into<String>) -> Self {
        let detail = "the path exists, but not with this method";
        Self {
            allow: Some(allow.into().into_boxed_str()),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        }
    }

    /// 400: the body is not JSON.
    pub fn invalid_json(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", detail)
    }

    /// 401: no credential came.
    #[must_use]
    pub fn token_missing() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token_missing", "this needs a bearer token")
    }

    /// 401: the credential is not good, or no longer.
    #[must_use]
    pub fn token_invalid() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token_invalid", "the token is not valid, or no longer")
    }

    /// 401: the workspace asks for a more recent sign-in. A refreshed token is of the same sign-in, and of no use.
    #[must_use]
    pub fn sign_in_required() -> Self {
        let detail = "the workspace asks for a more recent sign-in: sign in again; refreshing does not help";
        Self::new(StatusCode::UNAUTHORIZED, "sign_in_required", detail)
    }

    /// 403: the caller is known and may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 409: the state it is in doesn't allow that.
    pub fn conflict(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 408: the body fell silent, or dripped.
    #[must_use]
    pub fn body_too_slow() -> Self {
        let detail = "the body came too slowly: at most 10 s between two pieces, 1 KiB a second, 25 s in all \
                      unless it is an upload";
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
    }

    /// 413: more bytes than the route takes.
    #[must_use]
    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "this is more than the route takes")
    }

    /// What to answer when a JSON body could not be read.
    pub(crate) fn of_body(error: &ReadBodyError) -> Self {
        match error {
            ReadBodyError::PayloadTooLarge => Self::too_large(),
            ReadBodyError::Io(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Self::too_large(),
            error => Self::invalid_json(format!("the body ended early: {error}")),
        }
    }

    /// 415: a content type that the route doesn't take.
    pub fn unsupported_media_type(expected: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!("send the body with Content-Type: {expected}"),
        )
    }

    /// 429: too often; how many seconds to wait.
    pub fn rate_limited(seconds: u64, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(seconds)
    }

    /// 500: a fault of ours. The cause goes to the log and nowhere else.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        domain::Error::internal(cause).into()
    }

    /// 503: not now.
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// 503: PostgreSQL is out of reach; when to try again.
    #[must_use]
    pub fn database_unreachable() -> Self {
        Self::unavailable(DATABASE_UNREACHABLE, "the database is unreachable; try again")
            .retry_after(RETRY_AFTER_SECONDS)
    }

    /// The same, with the seconds to wait, in as little room as an error has.
    fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(u32::try_from(seconds).unwrap_or(u32::MAX)), ..self }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The code for programs.
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
            // RFC 6750: who sent no credential is told no error, and a wrong password is none of a bearer token.
            // RFC 9470: a good token of a sign-in that is not good enough.
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

/// The errors of the domain, and of what the domain works with.
impl<E: Into<domain::Error>> From<E> for ApiError {
    fn from(error: E) -> Self {
        let (kind, said, cause) = error.into().into_parts();
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

/// Every status that an error may have. [`crate::document`] leaves out, per operation, those that it
/// can't answer with.
pub(crate) const DOCUMENTED: [(StatusCode, &str); 14] = [
    (StatusCode::BAD_REQUEST, "The body is not JSON, or the request can't be read"),
    (StatusCode::UNAUTHORIZED, "No credential, or not a good one"),
    (StatusCode::PAYMENT_REQUIRED, "More than the plan allows"),
    (StatusCode::FORBIDDEN, "The caller may not do that"),
    (StatusCode::NOT_FOUND, "There is no such thing, or the caller may not see it"),
    (StatusCode::REQUEST_TIMEOUT, "The body came too slowly"),
    (StatusCode::CONFLICT, "The state it is in doesn't allow that"),
    (StatusCode::GONE, "It was there, and is gone for good"),
    (StatusCode::PAYLOAD_TOO_LARGE, "More bytes than the route takes"),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "A content type that the route doesn't take"),
    (StatusCode::UNPROCESSABLE_ENTITY, "Something is missing or breaks a rule; `fields` says what"),
    (StatusCode::TOO_MANY_REQUESTS, "Too often; `Retry-After` says when to come back"),
    (StatusCode::INTERNAL_SERVER_ERROR, "A fault of ours; the request id helps to find it"),
    (StatusCode::SERVICE_UNAVAILABLE, "Not available just now, or it took too long"),
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
    async fn an_internal_error_tells_nothing() {
        let error = ApiError::internal(std::io::Error::other("select password from users"));
        let (status, body) = rendered(error, Surface::Workspace).await;
        assert_eq!(status, 500);
        assert_eq!(
            body,
            json!({"error": "internal", "detail": "something went wrong on our side", "request_id": "req-1"})
        );
    }

    #[test]
    fn a_refused_means_of_payment_is_a_402_wherever_it_is_told() {
        let refused = ApiError::from(runtime::stripe::StripeError::Refused("Your card was declined.".into()));
        assert_eq!((refused.status, &*refused.code), (StatusCode::PAYMENT_REQUIRED, "payment_refused"));
    }
}
