//! In whose name a mail is written.

use serde::Deserialize;
use serde_json::Value;

/// How a workspace shows itself: the column `branding` of its row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Brand {
    /// What the product or company is called.
    #[serde(rename = "brand_name")]
    pub name: String,
    /// Its logo, at an https address.
    pub logo_url: Option<String>,
    /// Its colour, as `#rrggbb`.
    pub color: Option<String>,
    /// Where its people are asked for help.
    pub support_email: Option<String>,
}

impl Default for Brand {
    fn default() -> Self {
        Self { name: "Millrace".to_owned(), logo_url: None, color: None, support_email: None }
    }
}

impl Brand {
    /// That of a workspace: what its branding says, and else its name.
    #[must_use]
    pub fn of(branding: &Value, workspace_name: &str) -> Self {
        let said: Self = serde_json::from_value(branding.clone()).unwrap_or_default();
        let is_named = branding["brand_name"].as_str().is_some_and(|name| !name.trim().is_empty());
        if is_named { said } else { Self { name: workspace_name.to_owned(), ..said } }
    }
}
