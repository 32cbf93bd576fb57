//! Links to avatar images. Tables keep references ([`domain::pictures`]); the code that shows a user creates the
//! link here, so that the browser can fetch the image without headers, and only for a limited time.

use chrono::{DateTime, Duration, Utc};
use domain::pictures;

use crate::App;

/// Path prefix of avatar images, before the owner's id and the file's name.
pub const AVATARS: &str = "/api/v1/avatars";

/// URL of an avatar image, for an answer: an external URL unchanged, and for a stored image a signed
/// link that is valid for one to two days. It stays the same for a day, so that browsers can cache the image.
#[must_use]
pub fn avatar_url(app: &App, reference: Option<String>) -> Option<String> {
    let reference = reference?;
    match avatar_path(&reference) {
        Some(path) => Some(app.keys.download_link(&path, expiry(jobs::clock::now()))),
        None => Some(reference),
    }
}

/// The path of a stored image.
#[must_use]
pub fn avatar_path(reference: &str) -> Option<String> {
    let (folder, file) = pictures::key_of(reference)?.split_once("/profile-image/")?;
    Some(format!("{AVATARS}/{folder}/{file}"))
}

/// The end of tomorrow.
fn expiry(now: DateTime<Utc>) -> DateTime<Utc> {
    let tomorrow = now.date_naive() + Duration::days(2);
    tomorrow.and_time(chrono::NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_for_a_day_or_two_and_the_same_all_day() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        for now in ["2026-03-01T00:00:00Z", "2026-03-01T23:59:59Z"] {
            assert_eq!(expiry(at(now)), at("2026-03-03T00:00:00Z"));
        }
    }

    #[test]
    fn only_our_own_pictures_have_a_path() {
        assert_eq!(avatar_path("avatar:f/profile-image/p.webp").unwrap(), "/api/v1/avatars/f/p.webp");
        assert_eq!(avatar_path("https://example.com/a.png"), None);
    }
}
