//! Names in emails. Users choose their own name and that of their workspace, and so part of the emails that others
//! receive in the installation's name: a name that could be read as anything but a name is left out.

/// Maximum number of characters of a name in an email.
const MAX_SHOWN: usize = 100;

/// A name in the form for emails; none if it contains a link, or characters that change their surroundings.
#[must_use]
pub fn shown(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let links = lower.contains("://") || lower.contains("www.");
    // RFC 2047 encoded words would be decoded in a header.
    let encodes = name.contains("=?");
    let name = name.trim();
    if links || encodes || name.is_empty() || name.chars().any(|c| c.is_control() || changes_others(c)) {
        return None;
    }
    Some(without_domains(name).chars().take(MAX_SHOWN).collect())
}

/// A name with a space after each dot that mail programs would read as one of a domain, and so make a link of: one
/// between an alphanumeric character and two alphabetic ones.
fn without_domains(name: &str) -> String {
    let is_dot = |c: char| matches!(c, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}');
    let mut shown = String::with_capacity(name.len());
    let mut rest = name.chars();
    let mut before = None;
    while let Some(c) = rest.next() {
        shown.push(c);
        let mut after = rest.clone();
        let is_label = before.is_some_and(char::is_alphanumeric)
            && after.next().is_some_and(char::is_alphabetic)
            && after.next().is_some_and(char::is_alphabetic);
        if is_dot(c) && is_label {
            shown.push(' ');
        }
        before = Some(c);
    }
    shown
}

/// Marks of direction and other invisible characters, line and paragraph separators.
fn changes_others(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_a_name_is_left_out() {
        for name in [
            "",
            "You have won! Claim at https://evil.example/",
            "HTTPS://evil.example",
            "WWW.evil.example",
            "two\nlines",
            "\u{202e}gnp.exe",
            "=?utf-8?q?Payment_overdue?=",
        ] {
            assert_eq!(shown(name), None, "{name:?}");
        }
        assert_eq!(shown(" Räder & <Söhne> ").as_deref(), Some("Räder & <Söhne>"));
        for (name, neutral) in [
            ("Evil.example/x", "Evil. example/x"),
            ("pay@evil.co.uk now", "pay@evil. co. uk now"),
            ("evil\u{3002}example", "evil\u{3002} example"),
            ("Acme Inc.", "Acme Inc."),
            ("U.S. Steel 2.0", "U.S. Steel 2.0"),
        ] {
            assert_eq!(shown(name).as_deref(), Some(neutral));
        }
        assert_eq!(shown(&"n".repeat(200)).unwrap().len(), 100);
    }
}
