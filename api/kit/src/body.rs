//! `Body<T>`: a JSON body, read so that every fault has its documented answer: not JSON 400, wrong content type
//! 415, too large 413, absent fields 422 with all of their names, wrong ones and those that are given twice 422
//! by field.

pub(crate) mod diagnosis;
mod maybe;
mod once;

use std::{ops::Deref, sync::Arc};

use bytes::Bytes;
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    payload::{Json, Payload},
    registry::{MetaMediaType, MetaRequest, Registry},
    types::ParseFromJSON,
};
use serde_json::Value;

pub use maybe::MaybeBody;

use crate::{ApiConfig, ApiError, App, strict::Declared};

const JSON: &str = "application/json";

/// A JSON body. Sections take this instead of the framework's `Json` for requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body<T>(pub T);

impl<T> Deref for Body<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }],
            required: T::IS_REQUIRED,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let bytes = read(request, body).await?;
        let value = parse(&bytes)?;
        if let Some(declared) = request.data::<Arc<Declared>>() {
            let unknown = declared.unknown_members(&value);
            if !unknown.is_empty() {
                return Err(ApiError::unknown(unknown).into());
            }
            if declared.has_loose_text(&value) {
                return Err(diagnosis::of::<T>(&value, "must be of the documented types").into());
            }
        }
        match T::parse_from_json(Some(value)) {
            Ok(value) => Ok(Self(value)),
            // Only in the case of an error are the names of the fields needed.
            Err(error) => Err(diagnosis::of::<T>(&parse(&bytes)?, error.message()).into()),
        }
    }
}

/// The bytes of a body that is declared as JSON, up to the limit.
async fn read(request: &Request, body: &mut RequestBody) -> Result<Bytes, ApiError> {
    let is_json = request.content_type().is_some_and(Json::<Value>::check_content_type);
    if !is_json {
        return Err(ApiError::unsupported_media_type(JSON));
    }
    let limit = request
        .data::<App>()
        .map_or_else(|| ApiConfig::default().max_json_bytes, |app| app.config.max_json_bytes);
    let body = body.take().map_err(ApiError::internal)?;
    body.into_bytes_limit(limit).await.map_err(|error| ApiError::of_body(&error))
}

/// JSON that names each member once, without NUL characters, which PostgreSQL can't store.
fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let (value, twice) = once::read(bytes)
        .map_err(|error| ApiError::invalid_json(format!("the body is not valid JSON: {error}")))?;
    if !twice.is_empty() {
        return Err(ApiError::invalid_fields(twice));
    }
    // In JSON a NUL is always escaped, so most bodies need no second pass.
    if bytes.windows(6).any(|window| window == br"\u0000")
        && let Some(field) = with_nul(&value, &mut String::new())
    {
        return Err(ApiError::invalid(field, "must not contain a NUL character"));
    }
    Ok(value)
}

/// The path of a string or key with a NUL in it.
fn with_nul(value: &Value, path: &mut String) -> Option<String> {
    let mut step = |name: &str, value: &Value| {
        let length = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&name.replace('\0', "\u{fffd}"));
        let found = if name.contains('\0') { Some(path.clone()) } else { with_nul(value, path) };
        path.truncate(length);
        found
    };
    match value {
        Value::String(text) => text.contains('\0').then(|| match path.as_str() {
            "" => "body".to_owned(),
            path => path.to_owned(),
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(i, item)| step(&i.to_string(), item)),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| step(name, value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::Object;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Object)]
    struct NewThing {
        name: String,
        size: i32,
        #[oai(validator(max_length = 3))]
        note: Option<String>,
        parts: Option<Vec<Part>>,
    }

    #[derive(Debug, PartialEq, Object)]
    struct Part {
        id: uuid::Uuid,
    }

    async fn take(content_type: &str, body: impl Into<poem::Body>) -> Result<NewThing, String> {
        let request = Request::builder().content_type(content_type).body(body);
        let (request, mut body) = request.split();
        Body::<NewThing>::from_request(&request, &mut body, ExtractParamOptions::default())
            .await
            .map(|body| body.0)
            .map_err(|error| ApiError::of_framework(error).to_string())
    }

    #[tokio::test]
    async fn a_good_body_is_taken() {
        let thing = take(JSON, json!({"name": "a\\u0000", "size": 1}).to_string()).await.unwrap();
        assert_eq!((thing.name.as_str(), thing.size), ("a\\u0000", 1));
    }

    #[tokio::test]
    async fn every_missing_field_is_named() {
        let error = take(JSON, r#"{"parts": [{"id": null}, {}]}"#).await.unwrap_err();
        assert_eq!(error, "parameter_missing: required and missing: name, parts.0.id, parts.1.id, size");
    }

    #[tokio::test]
    async fn every_field_of_the_wrong_type_is_named() {
        let error = take(JSON, r#"{"name": 1, "size": "x", "parts": [{"id": "y"}]}"#).await.unwrap_err();
        assert_eq!(
            error,
            "record_invalid: name: must be a string; parts.0.id: must be a uuid; size: must be an integer"
        );
    }

    #[tokio::test]
    async fn a_rule_of_the_schema_is_said_with_its_field() {
        let error = take(JSON, r#"{"name": "n", "size": 1, "note": "four"}"#).await.unwrap_err();
        assert_eq!(error, "record_invalid: note: must have at most 3 characters");
    }

    #[tokio::test]
    async fn what_is_not_json_is_said_with_its_position() {
        let error = take(JSON, "{\"name\": ").await.unwrap_err();
        assert_eq!(
            error,
            "invalid_json: the body is not valid JSON: EOF while parsing a value at line 1 column 9"
        );
        assert!(take(JSON, "").await.unwrap_err().starts_with("invalid_json"));
        assert!(take("text/plain", "{}").await.unwrap_err().starts_with("unsupported_media_type"));
        assert_eq!(take(JSON, "[]").await.unwrap_err(), "record_invalid: body: must be an object");
    }

    #[tokio::test]
    async fn a_member_that_is_named_twice_is_refused_with_its_path() {
        let body = r#"{"name": "n", "size": 1, "size": 1, "parts": [{"id": "y", "id": "y"}]}"#;
        let error = take(JSON, body).await.unwrap_err();
        assert_eq!(
            error,
            "record_invalid: parts.0.id: is given more than once; size: is given more than once"
        );
    }

    #[tokio::test]
    async fn of_many_members_that_are_named_twice_the_first_are_named() {
        let members: Vec<_> = (0..1000).map(|n| format!(r#""m{n}": 1, "m{n}": 1,"#)).collect();
        let members = members.concat();
        let error = take(JSON, format!(r#"{{{members} "name": "n"}}"#)).await.unwrap_err();
        assert_eq!(error.matches("is given more than once").count(), 20, "{error}");
    }

    #[tokio::test]
    async fn of_many_members_that_are_missing_the_first_are_named() {
        let parts = vec!["{}"; 1000].join(",");
        let error =
            take(JSON, format!(r#"{{"name": "n", "size": 1, "parts": [{parts}]}}"#)).await.unwrap_err();
        assert!(error.starts_with("parameter_missing"), "{error}");
        assert_eq!(error.matches("parts.").count(), 20, "{error}");
    }

    #[tokio::test]
    async fn a_nul_character_is_refused_with_its_field() {
        let error = take(JSON, r#"{"name": "a\u0000b", "size": 1}"#).await.unwrap_err();
        assert_eq!(error, "record_invalid: name: must not contain a NUL character");
    }

    #[tokio::test]
    async fn a_body_above_the_limit_is_too_large() {
        let error = take(JSON, vec![b' '; (1 << 20) + 1]).await.unwrap_err();
        assert!(error.starts_with("payload_too_large"), "{error}");
    }
}
