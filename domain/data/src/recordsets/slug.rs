//! The name of a recordset in URLs. It never changes, so that bookmarks stay valid.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// Words that are routes beside `/recordsets/{slug}`.
const RESERVED: [&str; 4] = ["export", "geocode", "import", "trash"];

/// Lower-case letters and digits in groups joined by single hyphens, at most 80 characters; neither
/// the name of a route nor an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slug(String);

/// The text is no [`Slug`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 80 lower-case letters, digits and single hyphens, and not a reserved word or an id")]
pub struct InvalidSlug;

impl Slug {
    const MAX_LEN: usize = 80;

    /// The slug that a name suggests: “Sales leads (2026)” becomes `sales-leads-2026`. A name that has
    /// nothing to give becomes `recordset`; one that may not be a slug gets that word before it.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let key = fields::FieldKey::from_label(name);
        // Keys prefix a leading digit, which a slug may have.
        let digits =
            name.trim_start_matches(|c: char| !c.is_alphanumeric()).starts_with(|c: char| c.is_ascii_digit());
        let words = if digits { key.as_str().trim_start_matches("f_") } else { key.as_str() };
        let slug = words.split('_').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
        let nothing = slug == "field" && !name.to_lowercase().contains("field");
        if nothing {
            Self("recordset".to_owned())
        } else {
            slug.parse().unwrap_or_else(|_| Self(format!("recordset-{slug}")))
        }
    }

    /// This slug, or the first of `slug-2`, `slug-3`, … that is not taken.
    #[must_use]
    pub fn unique(self, taken: &[String]) -> Self {
        if !taken.contains(&self.0) {
            return self;
        }
        let mut number = 2_usize;
        loop {
            let suffix = format!("-{number}");
            let stem = &self.0[..self.0.len().min(Self::MAX_LEN - suffix.len())];
            let slug = format!("{}{suffix}", stem.trim_end_matches('-'));
            if !taken.contains(&slug) {
                return Self(slug);
            }
            number += 1;
        }
    }

    /// The slug as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = InvalidSlug;

    fn from_str(text: &str) -> Result<Self, InvalidSlug> {
        let plain = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let good = text.len() <= Self::MAX_LEN
            && text.split('-').all(plain)
            && !RESERVED.contains(&text)
            && Uuid::try_parse(text).is_err();
        good.then(|| Self(text.to_owned())).ok_or(InvalidSlug)
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_derived_from_what_a_name_has_to_give() {
        let slugs = [
            "Sales leads (2026)",
            "2026 leads",
            "Größe",
            "日本",
            "Field",
            "Import",
            "018f4e6c-aaaa-7aaa-8aaa-aaaaaaaaaaaa",
        ];
        assert_eq!(
            slugs.map(|name| Slug::from_name(name).0),
            [
                "sales-leads-2026",
                "2026-leads",
                "grosse",
                "recordset",
                "field",
                "recordset-import",
                "recordset-018f4e6c-aaaa-7aaa-8aaa-aaaaaaaaaaaa"
            ]
        );
    }

    #[test]
    fn a_taken_slug_is_counted_up_and_stays_short_enough() {
        let taken = ["leads".to_owned(), "leads-2".to_owned()];
        assert_eq!(Slug("leads".to_owned()).unique(&taken).0, "leads-3");
        let long = "a".repeat(80);
        assert_eq!(Slug(long.clone()).unique(&[long]).0, format!("{}-2", "a".repeat(78)));
    }

    #[test]
    fn what_is_not_a_slug_is_refused() {
        let texts =
            ["", "-a", "a-", "a--b", "A", "a_b", "trash", "018f4e6c-aaaa-7aaa-8aaa-aaaaaaaaaaaa", "é"];
        for text in texts {
            assert_eq!(text.parse::<Slug>(), Err(InvalidSlug), "{text}");
        }
    }
}
