//! Errors of poem and poem-openapi before a handler runs, translated.

use poem::{
    error::{
        MethodNotAllowedError, NotFoundError, ParsePathError as UnreadablePath, ReadBodyError,
        SizedLimitError,
    },
    http::StatusCode,
};
use poem_openapi::error::{
    AuthorizationError, ContentTypeError, ParseMultipartError, ParseParamError, ParsePathError,
    ParseRequestPayloadError,
};

use super::ApiError;

impl ApiError {
    /// Our error for one of the framework's, or the error itself if it is ours already.
    pub(crate) fn of_framework(error: poem::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(ours) => return ours,
            Err(error) => error,
        };
        if error.is::<NotFoundError>() {
            return Self::new(StatusCode::NOT_FOUND, "route_not_found", "the path does not exist");
        }
        if error.is::<MethodNotAllowedError>() {
            // Sections handle their methods themselves; other routes, pages and documents, are read-only.
            return Self::method_not_allowed("GET, HEAD");
        }
        if error.is::<ParsePathError>() || error.is::<UnreadablePath>() {
            // An id in an invalid form, or a path that is no text, names nothing.
            return Self::not_found();
        }
        if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
            return Self::of_value(name, reason);
        }
        if let Some(ParseRequestPayloadError { reason }) = error.downcast_ref() {
            return Self::invalid("body", plain_reason(reason));
        }
        if let Some(ParseMultipartError { reason }) = error.downcast_ref() {
            return Self::of_value("body", reason);
        }
        if error.is::<ContentTypeError>() {
            return Self::unsupported_media_type("the media type that the documentation names");
        }
        if error.is::<AuthorizationError>() {
            return Self::token_missing();
        }
        if matches!(error.downcast_ref(), Some(ReadBodyError::PayloadTooLarge))
            || matches!(error.downcast_ref(), Some(SizedLimitError::PayloadTooLarge))
        {
            return Self::too_large();
        }
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(),
            status if status.is_client_error() => {
                Self::new(status, "bad_request", "the request does not match the documentation")
            }
            _ => Self::internal(error.to_string()),
        }
    }

    /// The error for a parameter or form field that poem-openapi couldn't parse.
    fn of_value(name: &str, reason: &str) -> Self {
        if reason.ends_with("expects an input value.") {
            Self::missing([name])
        } else {
            Self::invalid(name, plain_reason(reason))
        }
    }
}

/// The middle of poem-openapi's `failed to parse "type": reason (occurred while parsing "Outer")`.
pub(crate) fn plain_reason(reason: &str) -> String {
    let reason = reason.split(" (occurred while parsing").next().unwrap_or(reason);
    match reason.strip_prefix("failed to parse \"").and_then(|rest| rest.split_once("\": ")) {
        Some((_, reason)) => reason.to_owned(),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_loses_its_frame() {
        let framed = r#"failed to parse "integer_int32": invalid digit found in string (occurred while parsing "New")"#;
        assert_eq!(plain_reason(framed), "invalid digit found in string");
        assert_eq!(plain_reason("as it is"), "as it is");
    }

    #[test]
    fn an_absent_parameter_is_missing_and_an_unreadable_one_invalid() {
        let absent = ParseParamError { name: "q", reason: r#"Type "string" expects an input value."#.into() };
        assert_eq!(ApiError::of_framework(absent.into()).code(), "parameter_missing");
        let unreadable = ParseParamError { name: "page", reason: r#"failed to parse "integer": no"#.into() };
        assert_eq!(ApiError::of_framework(unreadable.into()).to_string(), "record_invalid: page: no");
    }
}
