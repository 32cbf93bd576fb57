//! What Millrace writes to people: a few lines, mostly with one thing to do, in the name of a workspace.

use jobs::kinds::SendMail;

use super::Brand;

/// A mail to one person, before it is dressed in a workspace's brand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The recipient's address.
    pub to: String,
    /// What they are called.
    pub name: String,
    /// One line.
    pub subject: String,
    /// Paragraphs before what is to be done.
    pub lines: Vec<String>,
    /// What is to be done.
    pub action: Option<Action>,
    /// Paragraphs after it.
    pub after: Vec<String>,
}

/// A link for the reader to follow. It may let them in: jobs keep it sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What it does, as on a button.
    pub label: String,
    /// Where it leads.
    pub url: String,
}

impl Letter {
    /// The job that sends it.
    #[must_use]
    pub fn dressed(self, brand: &Brand) -> SendMail {
        let mut text = format!("Hello {},\n\n", self.name);
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
        SendMail { to: self.to, subject: self.subject, text }
    }
}
