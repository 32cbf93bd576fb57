//! An email address that mail can be sent to. Compared without regard to case, kept as written.

use std::{fmt, str::FromStr};

/// An email address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Email {
    type Err = &'static str;

    /// Takes what mail servers take in practice: a dot-atom, an `@`, a domain with a dot in it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const REASON: &str = "must be an email address";
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@').ok_or(REASON)?;
        let is_atom = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
        let local_fits = (1..=64).contains(&local.len())
            && local.chars().all(is_atom)
            && local.split('.').all(|part| !part.is_empty());
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let domain_fits = domain.contains('.') && domain.split('.').all(is_label);
        if text.len() <= 254 && local_fits && domain_fits { Ok(Self(text.to_owned())) } else { Err(REASON) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_people_have_are_taken() {
        for address in ["ada@example.com", "a.b+tag@sub.example.co.uk", "o'neil@example.ie", "ü@müller.de"]
        {
            assert!(address.parse::<Email>().is_ok(), "{address}");
        }
        assert_eq!(" ada@example.com ".parse::<Email>().unwrap().as_str(), "ada@example.com");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "ada@localhost",
            "a b@example.com",
            "ada@-example.com",
            "ada@example..com",
            ".ada@example.com",
            "ada@example.com\nBcc: eve@example.com",
            "a\0@example.com",
        ] {
            assert!(text.parse::<Email>().is_err(), "{text:?}");
        }
    }
}
