//! What a client says of a file that it uploads.

/// A file about to be uploaded.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// As the client names it; may be a path, or missing.
    pub name: String,
    /// What the client says it is.
    pub content_type: Option<String>,
}
