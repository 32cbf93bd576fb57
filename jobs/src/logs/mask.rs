//! Masking of secrets in log lines: values with a secret's name, and values in the form of our own secrets.
//!
//! A safety net for the rule that a handler logs no secret, not a reason to break it.

/// Names of secrets, as fields, parameters and members.
const NAMES: [&str; 12] = [
    "password",
    "passwd",
    "secret",
    "token",
    "ticket",
    "sig",
    "signature",
    "authorization",
    "api_key",
    "apikey",
    "private_key",
    "credential",
];
/// The word before a secret, and the one behind `Authorization:`.
const BEARER: &str = "bearer";
const BASIC: &str = "basic";
/// Prefixes of our keys and tokens.
const PREFIXES: [&str; 2] = ["mr_live_", "mr_pat_"];
const STRUCK: &str = "***";

/// Whether a value of that name is a secret: `token`, `access_token`, `x-api-key`.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    NAMES.iter().any(|secret| {
        name.strip_suffix(secret).is_some_and(|before| before.is_empty() || before.ends_with(['_', '.']))
    })
}

/// The text without its secrets.
pub(super) fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut next_is_secret = false;
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        if word.is_empty() {
            masked.push_str(piece);
            continue;
        }
        let is_scheme = is_scheme(word, next_is_secret);
        if next_is_secret && !is_scheme {
            masked.push_str(STRUCK);
        } else {
            masked.push_str(&mask_word(word));
        }
        masked.push_str(&piece[word.len()..]);
        let names_one = word.ends_with([':', '=']) && is_secret(name_before(word, word.len() - 1));
        next_is_secret = is_scheme || names_one;
    }
    masked
}

/// Whether a word precedes a credential.
fn is_scheme(word: &str, of_a_secret: bool) -> bool {
    let lower = word.to_ascii_lowercase();
    let last = lower.rsplit(|c: char| !c.is_ascii_alphanumeric()).find(|part| !part.is_empty());
    match last {
        Some(BEARER) => true,
        Some(BASIC) => of_a_secret || lower.contains("authorization"),
        _ => false,
    }
}

/// One word without spaces: a URL with a password, `name=value&…`, JSON, a token.
fn mask_word(word: &str) -> String {
    let mut word = mask_user_info(word);
    let mut from = 0;
    while let Some(at) = word[from..].find([':', '=']).map(|at| at + from) {
        let mut start = at + 1;
        if is_secret(name_before(&word, at)) {
            start += word[start..].len() - word[start..].trim_start_matches(['"', '\'']).len();
            let rest = &word[start..];
            let length = rest.find(['&', ',', ';', '"', '\'', '}', ')', ']']).unwrap_or(rest.len());
            if length > 0 {
                word.replace_range(start..start + length, STRUCK);
                start += STRUCK.len();
            }
        }
        from = start;
    }
    mask_tokens(word)
}

/// The name that ends at `at`, without quotes.
fn name_before(word: &str, at: usize) -> &str {
    let before = word[..at].trim_end_matches(['"', '\'']);
    let begin = before
        .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.'))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    &before[begin..]
}

/// `scheme://user:password@host` without the user's part.
fn mask_user_info(word: &str) -> String {
    let Some(begin) = word.find("://").map(|at| at + 3) else { return word.to_owned() };
    let end = word[begin..].find(['/', '?', '#']).map_or(word.len(), |at| begin + at);
    match word[begin..end].rfind('@') {
        Some(at) => format!("{}{STRUCK}{}", &word[..begin], &word[begin + at..]),
        None => word.to_owned(),
    }
}

/// Our keys, and JWTs, anywhere.
fn mask_tokens(word: String) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let begin = PREFIXES.iter().filter_map(|prefix| word.find(prefix)).min().or_else(|| {
        let at = word.find("eyJ")?;
        let token = word[at..].split(|c| !is_token(c)).next()?;
        (token.matches('.').count() == 2).then_some(at)
    });
    let Some(begin) = begin else { return word };
    let end = word[begin..].find(|c| !is_token(c)).map_or(word.len(), |at| begin + at);
    let rest = mask_tokens(word[end..].to_owned());
    format!("{}{STRUCK}{rest}", &word[..begin])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_struck_out_of_a_line() {
        for (line, masked) in [
            ("could not reach postgres://ada:hunter2@db:5432/x", "could not reach postgres://***@db:5432/x"),
            ("sent Authorization: Bearer abc.def", "sent Authorization: Bearer ***"),
            ("authorization=Basic YWI6Yw==", "authorization=*** ***"),
            ("Authorization: Basic YWI6Yw==", "Authorization: Basic ***"),
            ("GET /x?ticket=abc&since=0", "GET /x?ticket=***&since=0"),
            (r#"{"access_token":"abc","user":"ada"}"#, r#"{"access_token":"***","user":"ada"}"#),
            ("password: hunter2 is wrong", "password: *** is wrong"),
            ("the key (mr_live_0aZ9-x) and mr_pat_7", "the key (***) and ***"),
            ("eyJhbGciOi.eyJzdWIiOi.c2ln, twice", "***, twice"),
            ("x-api-key=abc;next=1", "x-api-key=***;next=1"),
            ("é:token=abc", "é:token=***"),
        ] {
            assert_eq!(mask(line), masked);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for line in [
            "12 rows of data.csv: 3 failed",
            "tokens=5 signals=2",
            "https://example.com/a?b=c  two spaces\n",
            "a basic\ttext",
        ] {
            assert_eq!(mask(line), line);
        }
    }

    #[test]
    fn a_name_ends_in_what_secrets_are_called() {
        assert!(is_secret("refresh_token") && is_secret("X-Api-Key") && is_secret("smtp.password"));
        assert!(!is_secret("tokens") && !is_secret("design") && !is_secret("mysig"));
    }
}
