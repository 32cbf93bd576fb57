//! The brand of an email, its name and look. It is checked when it is
//! read, too: mail programs protect less against attackers than browsers do.

use std::{fmt, str::FromStr};

use serde_json::Value;
use url::Url;

use crate::Email;

/// A workspace's branding: the column `branding` of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brand {
    /// Name of the product or company.
    pub name: String,
    /// Logo.
    pub logo_url: Option<LogoUrl>,
    /// Brand colour.
    pub color: Color,
    /// Email address for support.
    pub support_email: Option<Email>,
}

impl Default for Brand {
    fn default() -> Self {
        Self { name: "Millrace".to_owned(), logo_url: None, color: Color::default(), support_email: None }
    }
}

impl Brand {
    /// The brand of a workspace: its branding, and else its name. Malformed parts are left out.
    #[must_use]
    pub fn of(branding: &Value, workspace_name: &str) -> Self {
        let said = |key: &str| branding[key].as_str().map(str::trim).filter(|text| !text.is_empty());
        Self {
            name: said("brand_name").unwrap_or(workspace_name).to_owned(),
            logo_url: said("logo_url").and_then(|text| text.parse().ok()),
            color: said("color").and_then(|text| text.parse().ok()).unwrap_or_default(),
            support_email: said("support_email").and_then(|text| text.parse().ok()),
        }
    }
}

/// A colour, shown as `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color([u8; 3]);

impl Default for Color {
    fn default() -> Self {
        Self([0x1f, 0x5f, 0x8b])
    }
}

impl Color {
    /// Black or white, the one with more contrast.
    #[must_use]
    pub fn ink(self) -> Self {
        // WCAG's relative luminance; above this, black has more contrast than white.
        const EVEN: f64 = 0.179;
        let light = |channel: u8| {
            let share = f64::from(channel) / 255.0;
            if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        let [red, green, blue] = self.0.map(light);
        let luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        Self(if luminance > EVEN { [0; 3] } else { [255; 3] })
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl FromStr for Color {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut channels = [0; 3];
        let digits = text.strip_prefix('#').ok_or("must be a colour like #1f5f8b")?;
        hex::decode_to_slice(digits, &mut channels).map_err(|_| "must be a colour like #1f5f8b")?;
        Ok(Self(channels))
    }
}

/// URL of a logo: https, since many mail programs load nothing else, and without a user name or
/// password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoUrl(Url);

impl fmt::Display for LogoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LogoUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Url::parse(text)
            .ok()
            .filter(|url| url.scheme() == "https" && url.username().is_empty() && url.password().is_none())
            .map(Self)
            .ok_or("must be an https URL")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_malformed_in_a_branding_is_left_out_and_the_rest_stays() {
        let branding = json!({
            "brand_name": " Engines ", "logo_url": "http://example.com/logo.png", "color": "red",
            "support_email": "help@example.com", "theme": 7,
        });
        let brand = Brand::of(&branding, "Analytical Engines");
        assert_eq!(
            brand,
            Brand {
                name: "Engines".into(),
                support_email: Some("help@example.com".parse().unwrap()),
                ..Brand::default()
            }
        );
        assert_eq!(Brand::of(&json!({}), "Analytical Engines").name, "Analytical Engines");
        assert_eq!(
            Brand::of(&json!({ "brand_name": null }), "Analytical Engines").name,
            "Analytical Engines"
        );
    }

    #[test]
    fn a_colour_is_six_digits_behind_a_hash() {
        assert_eq!("#1F5f8B".parse::<Color>().unwrap().to_string(), "#1f5f8b");
        for wrong in ["", "#", "1f5f8b", "#1f5f8", "#1f5f8bff", "#gggggg", "red", "#000;x:url(//e)"] {
            assert!(wrong.parse::<Color>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_on_a_colour_can_be_read() {
        for (color, ink) in [("#000000", "#ffffff"), ("#ffffff", "#000000"), ("#ffdd00", "#000000")] {
            assert_eq!(color.parse::<Color>().unwrap().ink().to_string(), ink);
        }
        assert_eq!(Color::default().ink().to_string(), "#ffffff");
    }

    #[test]
    fn a_logo_is_at_an_https_address() {
        assert!("https://example.com/logo.png".parse::<LogoUrl>().is_ok());
        for wrong in
            ["", "/logo.png", "http://example.com/l.png", "javascript:alert(1)", "https://a:b@example.com/"]
        {
            assert!(wrong.parse::<LogoUrl>().is_err(), "{wrong}");
        }
    }
}
