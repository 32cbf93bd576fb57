//! An upload's body: `multipart/form-data`, read as it arrives, so that a file is never completely in memory.
//! The framework's own `Multipart` would collect it first.

mod meter;

use std::io;

use bytes::{Bytes, BytesMut};
use domain::NewFile;
use futures::{Stream, TryStreamExt};
use poem::{
    Body, FromRequest, Request, RequestBody,
    error::ParseMultipartError,
    http::{StatusCode, header},
    web::Multipart,
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use tokio_util::io::ReaderStream;

use meter::{MAX_FORM, Meter};

use crate::{ApiError, edge::Pace};

const FORM: &str = "multipart/form-data";
/// The part that holds the file.
const PART: &str = "file";
/// Maximum number of bytes of one chunk of the stream.
const CHUNK: usize = 64 << 10;
/// Maximum number of parts before the file.
const MAX_PARTS_BEFORE: usize = 16;

/// A form with a file, not read yet. Its parser is given at most [`MAX_FORM`] bytes that are not the file's.
pub struct FileUpload {
    form: Multipart,
    meter: Meter,
    length: Option<u64>,
}

impl FileUpload {
    /// The file and its bytes.
    ///
    /// # Errors
    /// `parameter_missing` when the form has no part `file`.
    pub async fn open(mut self) -> Result<(NewFile, impl Stream<Item = io::Result<Bytes>> + Send), ApiError> {
        for _ in 0..=MAX_PARTS_BEFORE {
            let part = self.form.next_field().await.map_err(|error| self.fault(&error))?;
            let Some(part) = part else {
                return Err(ApiError::missing([PART]));
            };
            if part.name() == Some(PART) {
                let new = NewFile {
                    name: part.file_name().unwrap_or_default().to_owned(),
                    content_type: part.content_type().map(str::to_owned),
                };
                self.meter.begin_file();
                return Ok((new, ReaderStream::with_capacity(part.into_async_read(), CHUNK)));
            }
        }
        Err(ApiError::invalid(
            PART,
            format!("must be one of the form's first {} parts", MAX_PARTS_BEFORE + 1),
        ))
    }

    /// The minimum size of the file, by the body's `Content-Length`, less [`MAX_FORM`] bytes that may not be the
    /// file's; none without that header. A file that is announced as too large need not be read.
    #[must_use]
    pub fn least_size(&self) -> Option<u64> {
        self.length.map(|length| length.saturating_sub(MAX_FORM))
    }

    fn fault(&self, error: &ParseMultipartError) -> ApiError {
        if self.meter.is_exceeded() {
            ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                format!(
                    "a form may have {MAX_FORM} bytes that are not the file's, its parts' headers included"
                ),
            )
        } else {
            ApiError::invalid(PART, format!("the form is invalid: {error}"))
        }
    }

    /// The complete bytes of a small file.
    ///
    /// # Errors
    /// 413 as soon as it has more than `most` bytes.
    pub async fn read(self, most: u64) -> Result<Bytes, ApiError> {
        if self.length.is_some_and(|length| length > most + MAX_FORM) {
            return Err(ApiError::too_large());
        }
        let (_, bytes) = self.open().await?;
        let mut bytes = std::pin::pin!(bytes);
        let mut file = BytesMut::new();
        let broken = |error| ApiError::invalid(PART, format!("the upload was aborted: {error}"));
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
        Pace::of(request).is_of_an_upload();
        let meter = Meter::default();
        let metered = meter.of(body.take().map_err(ApiError::internal)?.into_bytes_stream());
        let mut metered = RequestBody::new(Body::from_bytes_stream(metered));
        let length = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        match <Multipart as FromRequest>::from_request(request, &mut metered).await {
            Ok(form) => Ok(Self { form, meter, length }),
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
    async fn a_form_is_given_up_once_too_much_of_it_is_not_the_file() {
        let head = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n";
        let line = format!("X: {}\r\n\r\n", "x".repeat(70 << 10));
        let many = "--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nx\r\n".repeat(17);
        let long = format!("{}{head}\r\n1\r\n--B--\r\n", "x".repeat(70 << 10));
        let whole = [
            (format!("{head}{line}1\r\n--B--\r\n"), "payload_too_large"),
            (format!("{head}X: {}", "x".repeat(5 << 20)), "payload_too_large"),
            (long, "payload_too_large"),
            (format!("{many}{head}\r\n1\r\n--B--\r\n"), "record_invalid"),
        ];
        for (body, code) in whole {
            let error = open("multipart/form-data; boundary=B", body.leak()).await.unwrap_err();
            assert_eq!(error.code(), code, "{error}");
        }
    }

    #[tokio::test]
    async fn a_large_file_is_read_whole_however_it_comes() {
        let file = "x".repeat(3 << 20);
        let body = format!(
            "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n{file}\r\n--B--\r\n"
        );
        let (_, bytes) = open("multipart/form-data; boundary=B", body.leak()).await.unwrap();
        assert_eq!(bytes.len(), file.len());
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
