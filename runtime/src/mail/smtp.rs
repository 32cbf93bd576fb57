//! The mailer with a server: SMTP, with TLS from the first byte (`smtps://`), by STARTTLS
//! (`smtp://…?tls=required`) or not at all (`smtp://`, for a server on the same machine).

use std::time::Duration;

use async_trait::async_trait;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor, transport::smtp};
use url::Url;

use super::{Mail, MailError, Mailer, Sender};

/// A mail server.
#[derive(Debug)]
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Sender,
}

impl Smtp {
    /// The server at that URL; connects when there is an email to send.
    pub fn new(url: &Url, from: Sender) -> Result<Self, smtp::Error> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.as_str())?
            .timeout(Some(Duration::from_secs(20)))
            .build();
        Ok(Self { transport, from })
    }
}

#[async_trait]
impl Mailer for Smtp {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = self.from.message(mail)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() && !is_about_us(&error) => {
                Err(MailError::Refused(error.to_string()))
            }
            Err(error) => Err(MailError::NotNow(error.to_string())),
        }
    }
}

/// Whether the server rejects our login, or requires TLS. That is the installation's to fix, and no
/// reason to give up the email.
fn is_about_us(error: &smtp::Error) -> bool {
    error.status().is_some_and(|code| matches!(code.into(), 530 | 534 | 535 | 538))
}
