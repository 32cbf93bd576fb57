//! Slugs from names.

/// A slug of at most 48 characters, from the letters and digits of a name.
pub(super) fn of_name(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == 48 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "workspace".to_owned() } else { slug.to_owned() }
}

/// Whether a text is a valid slug.
pub(super) fn check(slug: &str) -> Result<(), &'static str> {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if slug.len() <= 63 && slug.split('-').all(is_part) {
        Ok(())
    } else {
        Err("must have 1 to 63 characters: lower-case letters, digits and single hyphens between them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_letters_digits_and_single_hyphens() {
        assert_eq!(of_name("  Airfield  Atlas, Ltd. "), "airfield-atlas-ltd");
        assert_eq!(of_name("株式会社"), "workspace");
        assert_eq!(of_name(&"x".repeat(100)).len(), 48);
    }

    #[test]
    fn what_is_made_of_a_name_can_be_chosen_and_other_things_cannot() {
        for slug in ["a", "airfield-atlas-ltd", "workspace-2", of_name("Ünïcode & Söns").as_str()] {
            assert_eq!(check(slug), Ok(()), "{slug}");
        }
        for other in ["", "-a", "a-", "a--b", "A", "a b", "a_b", "ü", &"x".repeat(64)] {
            assert!(check(other).is_err(), "{other}");
        }
    }
}
