//! `MaybeBody<T>`: an optional JSON body, for operations that are meaningful without one.

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaRequest, Registry},
    types::ParseFromJSON,
};

use super::Body;

/// A JSON body, or none. A present body is read as [`Body`] reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaybeBody<T>(pub Option<T>);

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for MaybeBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Body::<T>::request_meta().map(|meta| MetaRequest { required: false, ..meta })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        // A client without a body sends no type; one that always sets a type sends a length of zero.
        let says_nothing = request.content_type().is_none() || request.header("Content-Length") == Some("0");
        if says_nothing {
            return Ok(Self(None));
        }
        Body::from_request(request, body, options).await.map(|Body(body)| Self(Some(body)))
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::Object;

    use super::*;
    use crate::ApiError;

    #[derive(Debug, PartialEq, Object)]
    struct Which {
        id: Option<i32>,
    }

    async fn take(content_type: Option<&str>, body: &'static str) -> Result<Option<Which>, String> {
        let request = Request::builder().header("Content-Length", body.len().to_string());
        let request = match content_type {
            Some(content_type) => request.content_type(content_type),
            None => request,
        };
        let (request, mut body) = request.body(body).split();
        let taken = MaybeBody::from_request(&request, &mut body, ExtractParamOptions::default()).await;
        taken.map(|body| body.0).map_err(|error| ApiError::of_framework(error).to_string())
    }

    #[tokio::test]
    async fn no_body_is_none_and_a_body_is_read() {
        assert_eq!(take(None, "").await, Ok(None));
        assert_eq!(take(Some("application/json"), "").await, Ok(None));
        assert_eq!(take(Some("application/json"), r#"{"id": 1}"#).await, Ok(Some(Which { id: Some(1) })));
        let wrong = take(Some("application/json"), r#"{"id": "x"}"#).await.unwrap_err();
        assert!(wrong.starts_with("record_invalid"), "{wrong}");
    }
}
