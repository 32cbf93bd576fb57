//! URLs in the access log, without secrets.

use url::form_urlencoded;

/// Minimum length of a secret in a path: ids are shorter.
const MIN_SECRET: usize = 40;
/// Words in the names of parameters with secret values.
const SECRET_WORDS: [&str; 10] =
    ["ticket", "sig", "signature", "token", "code", "key", "secret", "password", "auth", "credential"];

/// The path with secrets masked: a sign-up, an invitation or an activation is named by one.
pub(super) fn masked_path(path: &str) -> String {
    path.split('/')
        .map(|segment| if segment.len() >= MIN_SECRET { "***" } else { segment })
        .collect::<Vec<_>>()
        .join("/")
}

/// The query with secret values masked. Names are decoded, as a handler reads them.
pub(super) fn masked_query(query: Option<&str>) -> Option<String> {
    let mask = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=***"),
        _ => pair.to_owned(),
    };
    query.map(|query| query.split('&').map(mask).collect::<Vec<_>>().join("&"))
}

/// Whether a parameter's name marks its value as a secret.
fn is_secret(name: &str) -> bool {
    form_urlencoded::parse(name.as_bytes()).any(|(name, _)| {
        let name = name.to_ascii_lowercase();
        name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| SECRET_WORDS.contains(&word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_a_url_are_struck_out() {
        let (id, secret) = (uuid::Uuid::now_v7(), domain::secret::generate());
        assert_eq!(masked_path(&format!("/jobs/{id}/{secret}/stream")), format!("/jobs/{id}/***/stream"));
        assert_eq!(
            masked_query(Some("since=0&ticket=abc.def&Sig=1")).as_deref(),
            Some("since=0&ticket=***&Sig=***")
        );
    }

    #[test]
    fn a_secret_is_known_by_its_decoded_name_and_by_its_kind() {
        for name in
            ["tok%65n", "refresh_token", "api_key", "invite_code", "API-Key", "%74icket", "client_secret"]
        {
            assert_eq!(masked_query(Some(&format!("{name}=s"))), Some(format!("{name}=***")));
        }
        assert_eq!(
            masked_query(Some("page=2&country=de&keyword=x")).as_deref(),
            Some("page=2&country=de&keyword=x")
        );
    }
}
