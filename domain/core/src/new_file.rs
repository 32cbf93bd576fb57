//! The description of an uploaded file by its client.

/// A file to be uploaded.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Name given by the client; may be a path, or empty.
    pub name: String,
    /// Content type given by the client.
    pub content_type: Option<String>,
}
