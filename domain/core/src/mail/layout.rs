//! The one layout of all emails, `templates/mail.html`: inline styles, since many mail programs drop others,
//! and legible in dark modes. All content from users is escaped.

use askama::Template;

use super::{Brand, Letter};

#[derive(Template)]
#[template(path = "mail.html")]
struct Layout<'a> {
    letter: &'a Letter,
    brand: &'a Brand,
}

/// An email as an HTML page in the look of a brand.
pub(super) fn page(letter: &Letter, brand: &Brand) -> String {
    Layout { letter, brand }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Action;

    fn letter() -> Letter {
        Letter {
            to: "ada@example.com".into(),
            name: "Ada".into(),
            subject: "Come in".into(),
            lines: vec!["There is a workspace for you.".into()],
            action: Some(Action {
                label: "Accept the invitation".into(),
                url: "https://app.example.com/invite?token=t0ken&from=ada".into(),
            }),
            after: vec!["This link expires in a week.".into()],
        }
    }

    fn brand() -> Brand {
        Brand {
            name: "Engines & Co".into(),
            logo_url: Some("https://example.com/logo.png?a=1&b=2".parse().unwrap()),
            color: "#ffdd00".parse().unwrap(),
            support_email: Some("help@example.com".parse().unwrap()),
        }
    }

    #[test]
    fn a_page_shows_logo_colour_button_bare_link_and_footer() {
        let page = page(&letter(), &brand());
        let link = "https://app.example.com/invite?token=t0ken&#38;from=ada";
        for part in [
            "<title>Come in</title>",
            r#"src="https://example.com/logo.png?a=1&#38;b=2" alt="Engines &#38; Co""#,
            "background-color: #ffdd00",
            "color: #000000",
            "Accept the invitation",
            "This link expires in a week.",
            &format!(r#"<a href="{link}""#),
            &format!(">{link}</a>"),
            r#"<a href="mailto:help@example.com""#,
            "prefers-color-scheme: dark",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
    }

    #[test]
    fn a_letter_without_an_action_has_no_link_and_a_brand_without_a_logo_its_name() {
        let letter = Letter { action: None, ..letter() };
        let page = page(&letter, &Brand { support_email: None, logo_url: None, ..brand() });
        assert!(!page.contains("<a ") && !page.contains("<img"), "{page}");
        assert_eq!(page.matches("Engines &#38; Co").count(), 2, "{page}");
    }

    #[test]
    fn nothing_that_people_write_becomes_markup() {
        let hostile = r#""><img src=x onerror=alert(1)><a href='//eve'>"#.to_owned();
        let letter = Letter {
            to: hostile.clone(),
            name: hostile.clone(),
            subject: hostile.clone(),
            lines: vec![hostile.clone()],
            action: Some(Action { label: hostile.clone(), url: hostile.clone() }),
            after: vec![hostile.clone()],
        };
        let page = page(&letter, &Brand { name: hostile, ..brand() });
        assert!(!page.contains("<img src=x") && !page.contains("<a href='"), "{page}");
        assert_eq!(page.matches("onerror").count(), page.matches("&#60;img src=x onerror").count());
        assert!(!page.contains(r#""">"#), "no attribute is left early: {page}");
    }
}
