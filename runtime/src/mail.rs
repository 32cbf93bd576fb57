//! Email: over SMTP, or into an outbox folder where no server is configured. Sending happens in jobs
//! only; an email that is sent twice has the same Message-ID both times.

mod outbox;
mod smtp;

use std::{fmt::Debug, str::FromStr, sync::Arc};

use async_trait::async_trait;
use lettre::{
    Message,
    message::{Mailbox, MultiPart, SinglePart},
};
use url::Url;
use uuid::Uuid;

use crate::settings::{SettingError, Settings};
pub use outbox::Outbox;
pub use smtp::Smtp;

/// An email to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Permanent id of the email: the same id twice is the same email sent twice.
    pub id: Uuid,
    /// Email address of the recipient.
    pub to: String,
    /// Subject, one line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// The same for readers that show HTML.
    pub html: Option<String>,
}

/// The reason why an email was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// Permanent: an invalid address, or a permanent rejection by the server.
    #[error("the email was rejected: {0}")]
    Refused(String),
    /// Temporary.
    #[error("the email could not be sent now: {0}")]
    NotNow(String),
}

/// The transport of email.
#[async_trait]
pub trait Mailer: Debug + Send + Sync {
    /// Sends an email; when it answers, another server is responsible for the email.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;
}

/// The mailer of the settings: `MAIL_URL` (`smtp://`, `smtps://` or `file:///folder`, by default
/// `.millrace/outbox`) with `MAIL_FROM` as the sender.
pub fn from_settings(settings: &Settings) -> Result<Arc<dyn Mailer>, SettingError> {
    let from = Sender::from_str(settings.get("MAIL_FROM").unwrap_or("Millrace <millrace@localhost>"))
        .map_err(|error| SettingError::malformed("MAIL_FROM", error))?;
    let malformed = |reason: &str| SettingError::malformed("MAIL_URL", reason);
    let Some(text) = settings.get("MAIL_URL") else {
        return Ok(Arc::new(Outbox::new(".millrace/outbox".into(), from)));
    };
    let url = Url::parse(text).map_err(|error| SettingError::malformed("MAIL_URL", error))?;
    match url.scheme() {
        "smtp" | "smtps" => {
            Ok(Arc::new(Smtp::new(&url, from).map_err(|error| SettingError::malformed("MAIL_URL", error))?))
        }
        "file" => {
            let folder =
                url.to_file_path().map_err(|()| malformed("a file URL must name a folder: file:///…"))?;
            Ok(Arc::new(Outbox::new(folder, from)))
        }
        _ => Err(malformed("expected smtp://, smtps:// or file:///")),
    }
}

/// The sender of emails.
#[derive(Debug, Clone)]
pub struct Sender(Mailbox);

impl FromStr for Sender {
    type Err = lettre::address::AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Sender {
    /// The email in its wire format.
    fn message(&self, mail: &Mail) -> Result<Message, MailError> {
        let refused = |error: &dyn std::error::Error| MailError::Refused(error.to_string());
        let to = mail.to.parse().map(|address| Mailbox::new(None, address)).map_err(|e| refused(&e))?;
        let builder = Message::builder()
            .message_id(Some(format!("<{}@{}>", mail.id, self.0.email.domain())))
            .date(jobs::clock::now().into())
            .from(self.0.clone())
            .to(to)
            .subject(literal(&mail.subject));
        let text = SinglePart::plain(mail.text.clone());
        match &mail.html {
            None => builder.singlepart(text),
            // Mail programs show the last part that they support, so the plain one is first.
            Some(html) => builder.multipart(
                MultiPart::alternative().singlepart(text).singlepart(SinglePart::html(html.clone())),
            ),
        }
        .map_err(|e| refused(&e))
    }
}

/// A subject that mail programs show literally: an encoded word (RFC 2047) would be decoded.
fn literal(subject: &str) -> String {
    subject.replace("=?", "= ?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        [("MAIL_URL".to_owned(), url.to_owned())].into_iter().collect()
    }

    fn mail() -> Mail {
        Mail {
            id: Uuid::from_u128(7),
            to: "ada@example.com".into(),
            subject: "Grüße\r\nBcc: eve@example.com".into(),
            text: "Hello".into(),
            html: None,
        }
    }

    #[tokio::test]
    async fn a_url_of_another_kind_is_malformed() {
        assert!(from_settings(&settings("https://example.com")).is_err());
        assert!(from_settings(&settings("nonsense")).is_err());
        assert!(from_settings(&settings("smtps://user:pass@mail.example.com")).is_ok());
    }

    #[tokio::test]
    async fn the_outbox_keeps_one_file_per_mail_however_often_it_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_file_path(folder.path().join("out")).unwrap();
        let mailer = from_settings(&settings(url.as_str())).unwrap();
        mailer.send(&mail()).await.unwrap();
        mailer.send(&mail()).await.unwrap();
        let files: Vec<_> = std::fs::read_dir(folder.path().join("out")).unwrap().collect();
        assert_eq!(files.len(), 1);
        let text = std::fs::read_to_string(files[0].as_ref().unwrap().path()).unwrap();
        assert!(text.contains("Message-ID: <00000000-0000-0000-0000-000000000007@localhost>"), "{text}");
        assert!(text.contains("To: ada@example.com"), "{text}");
    }

    #[tokio::test]
    async fn a_line_break_in_a_subject_makes_no_header() {
        let message = "a@example.com".parse::<Sender>().unwrap().message(&mail()).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("Bcc:")), "{text}");
    }

    #[tokio::test]
    async fn a_subject_that_looks_encoded_is_not_decoded() {
        let mail = Mail { subject: "Join =?utf-8?q?Your=20bank?=".into(), ..mail() };
        let message = "a@example.com".parse::<Sender>().unwrap().message(&mail).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        assert!(text.contains("Subject: Join = ?utf-8?q?Your=20bank?="), "{text}");
    }

    #[test]
    fn a_mail_with_html_offers_the_plain_text_first() {
        let from = "a@example.com".parse::<Sender>().unwrap();
        let mail = Mail { html: Some("<p>Hello</p>".into()), ..mail() };
        let text = String::from_utf8(from.message(&mail).unwrap().formatted()).unwrap();
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
        assert!(at("multipart/alternative") < at("text/plain"));
        assert!(at("text/plain") < at("text/html"));
        assert!(at("text/html") < at("<p>Hello</p>"));
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_for_good() {
        let mailer = from_settings(&settings("smtp://127.0.0.1:1")).unwrap();
        let refused = mailer.send(&Mail { to: "no address".into(), ..mail() }).await;
        assert!(matches!(refused, Err(MailError::Refused(_))), "{refused:?}");
        let not_now = mailer.send(&mail()).await;
        assert!(matches!(not_now, Err(MailError::NotNow(_))), "{not_now:?}");
    }
}
