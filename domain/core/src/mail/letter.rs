//! The emails of Millrace: a few lines, mostly with one action, in the brand of a workspace.

use crate::job_kinds::SendMail;

use super::{Brand, layout, shown};

/// An email to one recipient, before it gets a workspace's brand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Email address of the recipient.
    pub to: String,
    /// Name of the recipient; empty until the recipient has proved to own the address.
    pub name: String,
    /// Subject, one line.
    pub subject: String,
    /// Paragraphs before the action.
    pub lines: Vec<String>,
    /// Action.
    pub action: Option<Action>,
    /// Paragraphs after the action.
    pub after: Vec<String>,
}

/// A link for the reader to follow. It may give access: jobs keep it encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Label, as on a button.
    pub label: String,
    /// URL.
    pub url: String,
}

impl Letter {
    /// The job that sends it, in plain text and as a page in the brand's look.
    #[must_use]
    pub(super) fn dressed(self, brand: &Brand) -> SendMail {
        let letter = Self { name: shown(&self.name).unwrap_or_default(), ..self };
        let brand =
            Brand { name: shown(&brand.name).unwrap_or_else(|| Brand::default().name), ..brand.clone() };
        letter.worn(&brand)
    }

    fn worn(self, brand: &Brand) -> SendMail {
        let (text, html) = (self.text(brand), layout::page(&self, brand));
        SendMail { to: self.to, subject: self.subject, text, html: Some(html) }
    }

    /// The greeting; without a name where none may be shown.
    pub(super) fn greeting(&self) -> String {
        if self.name.is_empty() { "Hello".to_owned() } else { format!("Hello {}", self.name) }
    }

    /// The plain text.
    fn text(&self, brand: &Brand) -> String {
        let mut text = format!("{},\n\n", self.greeting());
        for line in &self.lines {
            text.push_str(&format!("{line}\n\n"));
        }
        if let Some(Action { label, url }) = &self.action {
            text.push_str(&format!("{label}:\n{url}\n\n"));
        }
        for line in &self.after {
            text.push_str(&format!("{line}\n\n"));
        }
        text.push_str(&format!("{}\n", brand.name));
        if let Some(address) = &brand.support_email {
            text.push_str(&format!("Questions? {address}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_text_says_all_by_itself() {
        let letter = Letter {
            to: "ada@example.com".into(),
            name: "Ada".into(),
            subject: "Come in".into(),
            lines: vec!["There is a workspace for you.".into()],
            action: Some(Action { label: "Accept".into(), url: "https://example.com/?a=1&b=2".into() }),
            after: vec!["This link expires in a week.".into()],
        };
        let brand = Brand { support_email: Some("help@example.com".parse().unwrap()), ..Brand::default() };
        let mail = letter.dressed(&brand);
        assert_eq!(
            mail.text,
            "Hello Ada,\n\nThere is a workspace for you.\n\nAccept:\nhttps://example.com/?a=1&b=2\n\n\
             This link expires in a week.\n\nMillrace\nQuestions? help@example.com\n"
        );
        assert!(mail.html.is_some());
    }
}
