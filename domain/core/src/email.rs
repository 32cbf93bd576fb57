//! An email address, and the key by which addresses are compared.
//!
//! Two spellings are one address exactly if their keys are equal. The key is computed here and nowhere else, is
//! stored beside each address and is unique there; every lookup, counter and limit uses it. Its parts:
//!
//! - The domain in its ASCII form by IDNA (UTS #46, non-transitional, with the STD3 rules), which is the form that DNS
//!   resolves: `Bücher.example` and `xn--bcher-kva.example` are one domain, `İnitech.example` and `initech.example` are
//!   two.
//! - The local part in the form NFKC (UAX #15) with A to Z in lower case. RFC 5321 (2.4) leaves the case of a local
//!   part to its host; in practice no host distinguishes ASCII letters by case. Letters beyond ASCII stay exact: their
//!   case depends on language and version (`İ`, `ı`, `ß`), and programs that fold it differently have handed accounts to
//!   strangers (CVE-2019-19844).
//!
//! Email is sent to the address as it was written, normalised likewise but with its case kept, so that the
//! mailbox that receives a link is the one that the key names.

use std::{fmt, str::FromStr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

/// Maximum number of bytes of an address (RFC 5321, 4.5.3.1.3).
const MAX_LENGTH: usize = 254;
/// Maximum number of bytes of a local part (RFC 5321, 4.5.3.1.1).
const MAX_LOCAL_PART: usize = 64;

/// An email address.
#[derive(Debug, Clone)]
pub struct Email {
    written: String,
    key: String,
}

impl Email {
    /// The address as it was written, normalised.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The key for comparing, counting and finding it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The part before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.written.rsplit_once('@').map_or("", |(local, _)| local)
    }

    /// The key of a text that may be an address: none otherwise, since no account, invitation or counter has it.
    #[must_use]
    pub fn key_of(text: &str) -> Option<String> {
        text.parse::<Self>().ok().map(|email| email.key)
    }
}

impl PartialEq for Email {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Email {}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl FromStr for Email {
    type Err = &'static str;

    /// Accepts what mail servers accept in practice: a dot-atom, an `@`, a domain with a dot in it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const REASON: &str = "must be an email address";
        let (local, domain) = text.trim().rsplit_once('@').ok_or(REASON)?;
        // Before any normalisation, which takes time for long texts.
        if local.len() + domain.len() >= MAX_LENGTH {
            return Err(REASON);
        }
        let local: String = local.nfkc().collect();
        let is_atom = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
        let local_fits = (1..=MAX_LOCAL_PART).contains(&local.len())
            && local.chars().all(is_atom)
            && local.split('.').all(|part| !part.is_empty());
        let ascii = Uts46::new()
            .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
            .map_err(|_| REASON)?;
        let domain = if domain.is_ascii() { domain.to_owned() } else { readable(&ascii) };
        let (written, key) = (format!("{local}@{domain}"), format!("{}@{ascii}", local.to_ascii_lowercase()));
        if local_fits && ascii.contains('.') && written.len().max(key.len()) <= MAX_LENGTH {
            Ok(Self { written, key })
        } else {
            Err(REASON)
        }
    }
}

/// A domain in its original script.
fn readable(ascii: &str) -> String {
    let (domain, _) = Uts46::new().to_unicode(ascii.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast);
    domain.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        Email::key_of(text).unwrap_or_else(|| panic!("{text} is an address"))
    }

    #[test]
    fn addresses_that_people_have_are_taken() {
        for address in ["ada@example.com", "a.b+tag@sub.example.co.uk", "o'neil@example.ie", "ü@müller.de"]
        {
            assert_eq!(address.parse::<Email>().unwrap().as_str(), address);
        }
        assert_eq!(" Ada@Example.com ".parse::<Email>().unwrap().as_str(), "Ada@Example.com");
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
            "ada@example.com.",
            "ada@exa_mple.com",
            ".ada@example.com",
            "ada@example.com\nBcc: eve@example.com",
            "a\0@example.com",
            // A compatibility form of a character that ends a local part.
            "ada＠example.org@example.com",
            "ada․@example.com",
        ] {
            assert!(text.parse::<Email>().is_err(), "{text:?}");
        }
        assert!(format!("{}@example.com", "a".repeat(65)).parse::<Email>().is_err());
        assert!(format!("ada@{}.com", "a".repeat(64)).parse::<Email>().is_err());
    }

    #[test]
    fn spellings_of_one_address_have_one_key() {
        assert_eq!(key(" Ada@Example.COM "), "ada@example.com");
        assert_eq!(key("ada@Bücher.example"), key("ADA@xn--bcher-kva.example"));
        assert_eq!(key("ada@example。com"), "ada@example.com");
        // Fullwidth letters are the same letters; a letter with its accent apart is the letter with it.
        assert_eq!(key("ａｄａ@example.com"), "ada@example.com");
        assert_eq!(key("e\u{301}@example.com"), key("é@example.com"));
        assert_eq!("ａda@ｅxample.com".parse::<Email>().unwrap().as_str(), "ada@example.com");
    }

    #[test]
    fn letters_that_only_look_alike_or_fold_alike_are_other_addresses() {
        assert_ne!(key("mİlİtİbİcİ@example.com"), key("militibici@example.com"));
        assert_ne!(key("mıke@example.com"), key("mike@example.com"));
        assert_ne!(key("groß@example.com"), key("gross@example.com"));
        assert_ne!(key("boss@İnİtech.example"), key("boss@initech.example"));
        assert_ne!(key("Ü@example.com"), key("ü@example.com"));
    }
}
