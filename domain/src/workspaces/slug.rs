//! Names for URLs, made of names for people.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_letters_digits_and_single_hyphens() {
        assert_eq!(of_name("  Airfield  Atlas, Ltd. "), "airfield-atlas-ltd");
        assert_eq!(of_name("株式会社"), "workspace");
        assert_eq!(of_name(&"x".repeat(100)).len(), 48);
    }
}
