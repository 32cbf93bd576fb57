//! E-mail addresses, URLs and phone numbers: checks that catch mistakes without refusing what works in practice.

use std::borrow::Cow;

use super::{MAX_SHORT, too_long};
use crate::{Invalid, code, stored::Stored};

pub(super) fn email(text: &str) -> Result<Stored<'_>, Invalid> {
    if is_email(text) {
        Ok(Stored::Text(Cow::Borrowed(text)))
    } else {
        Err(Invalid::showing(code::NOT_AN_EMAIL, text, "is not an e-mail address"))
    }
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let local_ok = (1..=64).contains(&local.len())
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && !local.contains(|c: char| c.is_whitespace() || c.is_control() || "@,;:<>()[]\\\"".contains(c));
    local_ok && is_domain(domain)
}

fn is_domain(domain: &str) -> bool {
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    domain.len() <= 253
        && domain.contains('.')
        && domain.split('.').all(label_ok)
        && !domain.rsplit('.').next().is_some_and(|top| top.bytes().all(|b| b.is_ascii_digit()))
}

pub(super) fn url(text: &str) -> Result<Stored<'_>, Invalid> {
    if text.len() > MAX_SHORT {
        return Err(too_long(&format!("{MAX_SHORT} bytes")));
    }
    if is_plain_url(text) || is_url(text) {
        Ok(Stored::Text(Cow::Borrowed(text)))
    } else {
        Err(Invalid::showing(code::NOT_A_URL, text, "is not an absolute http, https, ftp or mailto URL"))
    }
}

/// The usual kind of URL, recognised without building one.
fn is_plain_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let host_len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')).count();
    let (host, path) = rest.split_at(host_len);
    // A host that ends in a digit may be a broken IP address; the parser proper decides on those.
    host.ends_with(|c: char| c.is_ascii_alphabetic())
        && host.split('.').all(|label| !label.is_empty() && !label.starts_with("xn--"))
        && (path.is_empty() || path.starts_with(['/', '?', '#']))
        && path
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`'))
}

fn is_url(text: &str) -> bool {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return false;
    }
    match url::Url::parse(text) {
        Ok(url) => match url.scheme() {
            "http" | "https" | "ftp" => {
                // The parser mends `https:host`; what is stored should be a URL for everyone.
                url.has_host() && text.get(url.scheme().len()..).is_some_and(|rest| rest.starts_with("://"))
            }
            "mailto" => is_email(url.path()),
            _ => false,
        },
        Err(_) => false,
    }
}

pub(super) fn phone(text: &str) -> Result<Stored<'_>, Invalid> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let allowed = text.char_indices().all(|(at, c)| {
        matches!(c, '0'..='9' | ' ' | '(' | ')' | '-' | '.' | '\u{a0}') || (c == '+' && at == 0)
    });
    if allowed && (5..=15).contains(&digits) && text.len() <= 64 {
        Ok(Stored::Text(Cow::Borrowed(text)))
    } else {
        Err(Invalid::showing(code::NOT_A_PHONE, text, "is not a phone number of 5 to 15 digits"))
    }
}
