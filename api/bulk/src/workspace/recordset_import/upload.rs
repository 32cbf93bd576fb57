//! An upload's body: `multipart/form-data`, read as it arrives, so that a file is never in memory as a
//! whole. The framework's own `Multipart` would gather it first.

use api_kit::ApiError;
use bytes::Bytes;
use domain::files::NewFile;
use futures::Stream;
use poem::{FromRequest, Request, RequestBody, web::Multipart};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use tokio_util::io::ReaderStream;

const FORM: &str = "multipart/form-data";
/// The part that holds the file.
const PART: &str = "file";
/// Bytes that one chunk of the stream has at the most.
const CHUNK: usize = 64 << 10;

/// A form with a file in it, not read yet.
pub(super) struct FileUpload(Multipart);

impl FileUpload {
    /// The file and its bytes.
    ///
    /// # Errors
    /// `parameter_missing` when the form has no part `file`.
    pub async fn open(
        mut self,
    ) -> Result<(NewFile, impl Stream<Item = std::io::Result<Bytes>> + Send), ApiError> {
        loop {
            let part = self.0.next_field().await;
            let part =
                part.map_err(|error| ApiError::invalid(PART, format!("the form is broken: {error}")))?;
            let Some(part) = part else {
                return Err(ApiError::missing([PART]));
            };
            if part.name() == Some(PART) {
                let new = NewFile {
                    name: part.file_name().unwrap_or_default().to_owned(),
                    content_type: part.content_type().map(str::to_owned),
                };
                return Ok((new, ReaderStream::with_capacity(part.into_async_read(), CHUNK)));
            }
        }
    }
}

impl<'a> ApiExtractor<'a> for FileUpload {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let file = MetaSchema {
            description: Some("The file; its name says what it is where its content leaves a choice."),
            ..MetaSchema::new_with_format("string", "binary")
        };
        let form = MetaSchema {
            required: vec![PART],
            properties: vec![(PART, MetaSchemaRef::Inline(Box::new(file)))],
            ..MetaSchema::new("object")
        };
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType {
                content_type: FORM,
                schema: MetaSchemaRef::Inline(Box::new(form)),
            }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        match <Multipart as FromRequest>::from_request(request, body).await {
            Ok(form) => Ok(Self(form)),
            Err(_) => Err(ApiError::unsupported_media_type(FORM).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    async fn open(content_type: &str, body: &'static str) -> Result<(NewFile, Vec<u8>), ApiError> {
        let request = Request::builder().content_type(content_type).body(body);
        let (request, mut body) = request.split();
        let form = FileUpload::from_request(&request, &mut body, ExtractParamOptions::default())
            .await
            .map_err(|error| error.downcast::<ApiError>().unwrap())?;
        let (new, bytes) = form.open().await?;
        let bytes: Vec<Bytes> =
            bytes.try_collect().await.map_err(|error| ApiError::invalid(PART, error.to_string()))?;
        Ok((new, bytes.concat()))
    }

    #[tokio::test]
    async fn the_file_is_found_behind_other_parts() {
        let body = "--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nx\r\n\
                    --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\
                    Content-Type: text/csv\r\n\r\na,b\r\n1,2\r\n--B--\r\n";
        let (new, bytes) = open("multipart/form-data; boundary=B", body).await.unwrap();
        assert_eq!((new.name.as_str(), new.content_type.as_deref()), ("a.csv", Some("text/csv")));
        assert_eq!(bytes, b"a,b\r\n1,2");
    }

    #[tokio::test]
    async fn a_form_without_the_file_says_so() {
        let body = "--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nx\r\n--B--\r\n";
        let error = open("multipart/form-data; boundary=B", body).await.unwrap_err();
        assert_eq!(error.code(), "parameter_missing");
    }

    #[tokio::test]
    async fn a_body_that_is_no_form_is_refused_by_its_type() {
        for content_type in ["application/json", "multipart/form-data"] {
            assert_eq!(open(content_type, "{}").await.unwrap_err().code(), "unsupported_media_type");
        }
    }

    #[tokio::test]
    async fn a_form_that_ends_early_is_an_error_and_not_a_short_file() {
        let body =
            "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\na,b\r\n1,";
        assert_eq!(open("multipart/form-data; boundary=B", body).await.unwrap_err().code(), "record_invalid");
    }
}
