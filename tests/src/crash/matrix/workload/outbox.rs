//! The emails that were sent: the files of the outbox folder.

use std::collections::HashSet;

use tempfile::TempDir;

/// An email, as its recipient sees it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    pub message_id: String,
    pub to: String,
}

/// The mails to these addresses.
pub fn mails_to(folder: &TempDir, addresses: &[String]) -> Vec<Sent> {
    let addresses: HashSet<&str> = addresses.iter().map(String::as_str).collect();
    let Ok(files) = std::fs::read_dir(folder.path().join("mail")) else { return Vec::new() };
    files
        .map(|file| file.expect("the outbox can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .map(|path| std::fs::read_to_string(path).expect("a mail can be read"))
        .map(|text| Sent { message_id: header(&text, "Message-ID"), to: header(&text, "To") })
        .filter(|sent| addresses.contains(sent.to.as_str()))
        .collect()
}

fn header(mail: &str, name: &str) -> String {
    mail.lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("a mail without {name}: {mail}"))
        .trim_matches(['<', '>'])
        .to_owned()
}
