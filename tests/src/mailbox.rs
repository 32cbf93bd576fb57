//! The mail that people get: files in the outbox of a [`TestApp`].

use std::fs;

use crate::{TestApp, cluster::wait_until};

/// A mail that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub text: String,
}

impl Received {
    /// The only link in it.
    #[track_caller]
    pub fn link(&self) -> reqwest::Url {
        let links: Vec<_> = self.text.lines().filter(|line| line.starts_with("http")).collect();
        let [link] = links[..] else { panic!("one link is expected in {}", self.text) };
        link.trim().parse().unwrap()
    }

    /// A value in its link's query.
    #[track_caller]
    pub fn in_link(&self, name: &str) -> String {
        let link = self.link();
        let value = link.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        value.unwrap_or_else(|| panic!("no {name} in {link}"))
    }
}

impl TestApp {
    /// All mails to an address of that subject, in the order they were asked for.
    pub fn mails(&self, to: &str, subject: &str) -> Vec<Received> {
        let Ok(folder) = fs::read_dir(self.folder.path().join("mail")) else { return Vec::new() };
        let mut files: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
        // Named by their jobs' ids, which are in order.
        files.sort();
        let finished = files.iter().filter(|file| file.extension().is_some_and(|end| end == "eml"));
        let mails = finished.filter_map(|file| read(&fs::read_to_string(file).unwrap(), to));
        mails.filter(|mail| mail.subject == subject).collect()
    }

    /// The newest mail to an address of that subject, once there are as many.
    pub async fn mail(&self, to: &str, subject: &str, count: usize) -> Received {
        wait_until(&format!("{count} mails to {to}: {subject}"), || async {
            self.mails(to, subject).len() >= count
        })
        .await;
        let mut mails = self.mails(to, subject);
        assert_eq!(mails.len(), count, "{mails:#?}");
        mails.remove(count - 1)
    }
}

/// A mail, if it is to that address.
fn read(message: &str, to: &str) -> Option<Received> {
    let (head, _) = message.split_once("\r\n\r\n")?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    (header("To: ") == to)
        .then(|| Received { subject: header("Subject: ").to_owned(), text: decoded(plain(message)) })
}

/// What of a mail is plain text.
fn plain(message: &str) -> &str {
    let part = message.split_once("Content-Type: text/plain").map_or(message, |(_, part)| part);
    let text = part.split_once("\r\n\r\n").map_or(part, |(_, text)| text);
    text.split_once("\r\n--").map_or(text, |(text, _)| text)
}

/// The mails to an address, as soon as there are that many.
pub async fn mails_to(app: &TestApp, address: &str, at_least: usize) -> Vec<String> {
    wait_until("the mail is out", || async { all(app, address).len() >= at_least }).await;
    all(app, address)
}

fn all(app: &TestApp, address: &str) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(app.folder.path().join("mail")) else { return Vec::new() };
    let mails = files.map(|file| file.expect("the outbox can be read").path());
    mails
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .map(|path| std::fs::read_to_string(path).expect("a mail can be read"))
        .filter(|mail| mail.lines().any(|line| line.starts_with("To: ") && line.contains(address)))
        .map(|mail| decoded(plain(&mail)))
        .collect()
}

/// Without the line breaks and the commonest escape of quoted-printable.
fn decoded(mail: &str) -> String {
    mail.replace("=\r\n", "").replace("=3D", "=")
}

/// The value of a parameter in a link of a mail.
pub fn parameter(mail: &str, name: &str) -> String {
    let (_, after) = mail.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("no {name} in {mail}"));
    after.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect()
}
