//! The mailer without a server: one `.eml` file per email in a folder, which mail programs open.

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::fs;

use super::{Mail, MailError, Mailer, Sender};

/// An outbox folder.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    from: Sender,
}

impl Outbox {
    /// An outbox in that folder, which is created when needed.
    #[must_use]
    pub fn new(folder: PathBuf, from: Sender) -> Self {
        Self { folder, from }
    }
}

#[async_trait]
impl Mailer for Outbox {
    /// Named by its id, so that an email sent twice is one file; moved there when complete.
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = self.from.message(mail)?.formatted();
        let not_now = |error: std::io::Error| MailError::NotNow(error.to_string());
        fs::create_dir_all(&self.folder).await.map_err(not_now)?;
        let unfinished = self.folder.join(format!(".{}.{}", mail.id, uuid::Uuid::now_v7()));
        fs::write(&unfinished, message).await.map_err(not_now)?;
        fs::rename(&unfinished, self.folder.join(format!("{}.eml", mail.id))).await.map_err(not_now)
    }
}
