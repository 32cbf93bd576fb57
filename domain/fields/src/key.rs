//! The name that a field has in stored records, in the API and in mappings.
//! Keys are parsed once, at the edge; every [`FieldKey`] is valid.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A `snake_case` identifier of at most 63 bytes: a letter, then letters, digits and underscores.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldKey(String);

/// The text is no [`FieldKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a field key is 1 to 63 characters: a lower-case letter, then lower-case letters, digits and underscores"
)]
pub struct InvalidKey;

impl FieldKey {
    /// The longest key, in bytes; PostgreSQL's own limit for identifiers.
    pub const MAX_LEN: usize = 63;

    /// Derives a key from a heading that people wrote: “Annual Revenue (€)” becomes `annual_revenue`.
    ///
    /// A heading without a single usable letter or digit becomes `field`; one that begins with a digit gets the
    /// prefix `f_`. Different headings may give the same key: see [`FieldKey::unique`].
    pub fn from_label(label: &str) -> Self {
        let mut key = String::with_capacity(label.len().min(Self::MAX_LEN + 2));
        let mut gap = false;
        let mut lower_before = false;
        for c in label.chars() {
            let plain = plain_letters(c);
            if plain.is_empty() {
                // Inside a word an apostrophe or a combining accent is no break: “Owner’s” → owners.
                gap |= !matches!(c, '\'' | '’' | '\u{300}'..='\u{36f}');
                lower_before = false;
                continue;
            }
            gap |= lower_before && c.is_uppercase();
            lower_before = c.is_lowercase() || c.is_ascii_digit();
            if gap && !key.is_empty() {
                key.push('_');
            }
            gap = false;
            if key.is_empty() && c.is_ascii_digit() {
                key.push_str("f_");
            }
            plain.for_each_char(|plain| key.push(plain));
            if key.len() >= Self::MAX_LEN {
                break;
            }
        }
        key.truncate(Self::MAX_LEN);
        key.truncate(key.trim_end_matches('_').len());
        if key.is_empty() { Self("field".to_owned()) } else { Self(key) }
    }

    /// This key, or the first of `key_2`, `key_3`, … that is not taken.
    #[must_use]
    pub fn unique(self, mut taken: impl FnMut(&Self) -> bool) -> Self {
        if !taken(&self) {
            return self;
        }
        let mut number = 2_u64;
        loop {
            let suffix = format!("_{number}");
            let room = self.0.len().min(Self::MAX_LEN - suffix.len());
            let key = Self(format!("{}{suffix}", self.0[..room].trim_end_matches('_')));
            if !taken(&key) {
                return key;
            }
            number += 1;
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A character's part of a key: up to two lower-case ASCII letters or digits.
struct Plain([Option<char>; 2]);

impl Plain {
    fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    fn for_each_char(self, push: impl FnMut(char)) {
        self.0.into_iter().flatten().for_each(push);
    }
}

/// Latin letters lose their accents; every other script has no letters to give.
fn plain_letters(c: char) -> Plain {
    if c.is_ascii() {
        return Plain([c.is_ascii_alphanumeric().then_some(c.to_ascii_lowercase()), None]);
    }
    let lower = c.to_lowercase().next().unwrap_or(c);
    let (first, second) = match lower {
        'à'..='å' | 'ā' | 'ă' | 'ą' => ('a', None),
        'æ' => ('a', Some('e')),
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => ('c', None),
        'ð' | 'ď' | 'đ' => ('d', None),
        'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => ('e', None),
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => ('g', None),
        'ĥ' | 'ħ' => ('h', None),
        'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => ('i', None),
        'ĵ' => ('j', None),
        'ķ' => ('k', None),
        'ĺ' | 'ļ' | 'ľ' | 'ŀ' | 'ł' => ('l', None),
        'ñ' | 'ń' | 'ņ' | 'ň' => ('n', None),
        'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' => ('o', None),
        'œ' => ('o', Some('e')),
        'ŕ' | 'ŗ' | 'ř' => ('r', None),
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => ('s', None),
        'ß' => ('s', Some('s')),
        'ţ' | 'ť' | 'ŧ' | 'ț' => ('t', None),
        'þ' => ('t', Some('h')),
        'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' => ('u', None),
        'ŵ' => ('w', None),
        'ý' | 'ÿ' | 'ŷ' => ('y', None),
        'ź' | 'ż' | 'ž' => ('z', None),
        _ => return Plain([None, None]),
    };
    Plain([Some(first), second])
}

impl FromStr for FieldKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for FieldKey {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        let valid = text.len() <= Self::MAX_LEN
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if valid { Ok(Self(text)) } else { Err(InvalidKey) }
    }
}

impl From<FieldKey> for String {
    fn from(key: FieldKey) -> Self {
        key.0
    }
}

impl AsRef<str> for FieldKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_heading_becomes_a_readable_key() {
        let cases = [
            ("Annual Revenue (€)", "annual_revenue"),
            ("  First  Name ", "first_name"),
            ("firstName", "first_name"),
            ("userID", "user_id"),
            ("Größe / Straße", "grosse_strasse"),
            ("Owner’s e-mail", "owners_e_mail"),
            ("2026 budget", "f_2026_budget"),
            ("名前", "field"),
            ("", "field"),
            ("__x__", "x"),
        ];
        for (label, key) in cases {
            assert_eq!(FieldKey::from_label(label).as_str(), key, "{label}");
        }
    }

    #[test]
    fn a_taken_key_gets_the_next_free_number_within_the_length() {
        let mut taken: HashSet<FieldKey> = HashSet::new();
        for expected in ["name", "name_2", "name_3"] {
            let key = FieldKey::from_label("Name").unique(|key| taken.contains(key));
            assert_eq!(key.as_str(), expected);
            taken.insert(key);
        }
        let long = FieldKey::from_label(&"x".repeat(80));
        assert_eq!(long.as_str().len(), FieldKey::MAX_LEN);
        let next = long.clone().unique(|key| *key == long);
        assert_eq!(next.as_str(), format!("{}_2", "x".repeat(61)));
    }

    #[test]
    fn a_key_is_refused_when_it_is_no_identifier() {
        for text in ["", "A", "1a", "_a", "a-b", "ä", &"a".repeat(64)] {
            assert_eq!(text.parse::<FieldKey>(), Err(InvalidKey), "{text}");
            assert!(serde_json::from_value::<FieldKey>(text.into()).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn every_label_gives_a_valid_key(label in ".{0,90}") {
            let key = FieldKey::from_label(&label);
            proptest::prop_assert!(key.as_str().parse::<FieldKey>().is_ok(), "{}", key);
        }
    }
}
