//! The mails that a test's Millrace has sent, as their readers see them.

use std::fmt::Write as _;

use crate::{TestApp, cluster::wait_until};

/// The mails to an address, as soon as there are that many.
pub async fn mails_to(app: &TestApp, address: &str, at_least: usize) -> Vec<String> {
    wait_until("the mail is out", || async { read(app, address).len() >= at_least }).await;
    read(app, address)
}

fn read(app: &TestApp, address: &str) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(app.folder.path().join("mail")) else { return Vec::new() };
    let mails = files.map(|file| file.expect("the outbox can be read").path());
    mails
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .map(|path| std::fs::read_to_string(path).expect("a mail can be read"))
        .filter(|mail| mail.lines().any(|line| line.starts_with("To: ") && line.contains(address)))
        .map(|mail| decoded(&mail))
        .collect()
}

/// Without the line breaks and escapes of quoted-printable.
fn decoded(mail: &str) -> String {
    if !mail.to_ascii_lowercase().contains("quoted-printable") {
        return mail.to_owned();
    }
    let joined = mail.replace("=\r\n", "").replace("=\n", "");
    let mut text = String::new();
    let mut rest = joined.as_str();
    while let Some((before, after)) = rest.split_once('=') {
        text.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match byte {
            Some(byte) => {
                write!(text, "{}", char::from(byte)).expect("a string takes all");
                &after[2..]
            }
            None => {
                text.push('=');
                after
            }
        };
    }
    text + rest
}

/// The value of a parameter in a link of a mail.
pub fn parameter(mail: &str, name: &str) -> String {
    let (_, after) = mail.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("no {name} in {mail}"));
    after.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect()
}
