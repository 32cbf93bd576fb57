//! An upload's body: `multipart/form-data`, read as it arrives, so that a file is never in memory as a
//! whole. The framework's own `Multipart` would gather it first.

use bytes::{Bytes, BytesMut};
use domain::files::NewFile;
use futures::{Stream, TryStreamExt};
use poem::{FromRequest, Request, RequestBody, web::Multipart};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use tokio_util::io::ReaderStream;

use crate::ApiError;

const FORM: &str = "multipart/form-data";
/// The part that holds the file.
const PART: &str = "file";
/// Bytes that one chunk of the stream has at the most.
const CHUNK: usize = 64 << 10;

/// A form with a file in it, not read yet.
pub struct FileUpload(Multipart);

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

    /// The whole of a small file.
    ///
    /// # Errors
    /// 413 as soon as it has more than `most` bytes.
    pub async fn read(self, most: u64) -> Result<Bytes, ApiError> {
        let (_, bytes) = self.open().await?;
        let mut bytes = std::pin::pin!(bytes);
        let mut file = BytesMut::new();
        let broken = |error| ApiError::invalid(PART, format!("the upload broke off: {error}"));
        while let Some(chunk) = bytes.try_next().await.map_err(broken)? {
            if (file.len() + chunk.len()) as u64 > most {
                return Err(ApiError::too_large());
            }
            file.extend_from_slice(&chunk);
        }
        Ok(file.freeze())
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
    async fn a_small_file_is_read_whole_and_a_larger_one_is_refused() {
        let body =
            "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n12345\r\n--B--\r\n";
        for (most, taken) in [(5, Some(&b"12345"[..])), (4, None)] {
            let request = Request::builder().content_type("multipart/form-data; boundary=B").body(body);
            let (request, mut body) = request.split();
            let form = FileUpload::from_request(&request, &mut body, ExtractParamOptions::default()).await;
            let read = form.unwrap_or_else(|error| panic!("{error}")).read(most).await;
            match taken {
                Some(bytes) => assert_eq!(read.unwrap(), bytes),
                None => assert_eq!(read.unwrap_err().code(), "payload_too_large"),
            }
        }
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
