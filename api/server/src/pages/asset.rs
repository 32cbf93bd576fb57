//! An asset that never changes while the process runs: sent compressed on request, and not at all to a
//! client that has it.

use std::{
    io::Write,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use poem::{
    Request, Response,
    http::{HeaderValue, StatusCode, header},
};
use sha2::{Digest, Sha256};

/// The body of an asset, with the headers of its answers.
#[derive(Clone)]
pub(crate) struct Asset(Arc<Inner>);

struct Inner {
    content_type: &'static str,
    caching: &'static str,
    policy: Option<HeaderValue>,
    plain: Bytes,
    /// Computed at the first request: most processes, in tests at least, never need it.
    tag: OnceLock<String>,
    packed: OnceLock<Bytes>,
}

impl Asset {
    pub(crate) fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self(Arc::new(Inner {
            content_type,
            // Cached, and revalidated each time.
            caching: "no-cache",
            policy: None,
            plain: body.into(),
            tag: OnceLock::new(),
            packed: OnceLock::new(),
        }))
    }

    fn changed(self, change: impl FnOnce(&mut Inner)) -> Self {
        let Inner { content_type, caching, policy, plain, .. } = &*self.0;
        let (plain, policy) = (plain.clone(), policy.clone());
        let mut inner =
            Inner { content_type, caching, policy, plain, tag: OnceLock::new(), packed: OnceLock::new() };
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// For an asset whose URL changes with it: no revalidation is needed.
    pub(crate) fn lasting(self) -> Self {
        self.changed(|inner| inner.caching = "public, max-age=31536000, immutable")
    }

    /// Sets the content security policy.
    pub(crate) fn with_policy(self, policy: String) -> Self {
        self.changed(|inner| inner.policy = HeaderValue::from_maybe_shared(Bytes::from(policy)).ok())
    }

    /// The answer to a request for it.
    pub(crate) fn answer(&self, request: &Request) -> Response {
        let packs = accepts_gzip(request.header(header::ACCEPT_ENCODING).unwrap_or_default());
        let tag = self.tag(packs);
        let response = Response::builder()
            .header(header::ETAG, &tag)
            .header(header::CACHE_CONTROL, self.0.caching)
            .header(header::VARY, "Accept-Encoding");
        let response = match &self.0.policy {
            Some(policy) => response.header(header::CONTENT_SECURITY_POLICY, policy),
            None => response,
        };
        // After the policy: a browser replaces its headers by those of a 304.
        if request.header(header::IF_NONE_MATCH).is_some_and(|known| is_among(&tag, known)) {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        let response = response.content_type(self.0.content_type);
        if packs {
            response.header(header::CONTENT_ENCODING, "gzip").body(self.packed())
        } else {
            response.body(self.0.plain.clone())
        }
    }

    /// Version of the asset, which differs between the forms.
    fn tag(&self, packs: bool) -> String {
        let tag = self.0.tag.get_or_init(|| {
            let hash = Sha256::digest(&self.0.plain);
            hex::encode(&hash[..12])
        });
        if packs { format!("\"{tag}-gzip\"") } else { format!("\"{tag}\"") }
    }

    fn packed(&self) -> Bytes {
        let packed = self.0.packed.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            // Writing to memory can't fail.
            let written = encoder.write_all(&self.0.plain).and_then(|()| encoder.finish());
            written.unwrap_or_default().into()
        });
        packed.clone()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.plain.len()
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0.plain)
    }
}

fn accepts_gzip(header: &str) -> bool {
    header.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip")
            && !matches!(weight.replace(' ', "").as_str(), "q=0" | "q=0.0")
    })
}

/// Whether `If-None-Match` lists a version. A proxy may have made it a weak one.
fn is_among(tag: &str, known: &str) -> bool {
    known.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_packed_where_that_is_asked_for_and_not_sent_to_one_that_has_it() {
        let asset = Asset::new(
            "text/plain",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        );
        let packed = asset.answer(&Request::builder().header("Accept-Encoding", "br, gzip;q=0.8").finish());
        assert_eq!(packed.headers()["content-encoding"], "gzip");
        let tag = packed.headers()["etag"].clone();
        assert!(packed.into_body().into_vec().await.unwrap().len() < 60);
        let again = Request::builder().header("Accept-Encoding", "gzip").header("If-None-Match", tag);
        assert_eq!(asset.answer(&again.finish()).status(), StatusCode::NOT_MODIFIED);
        let plain = asset.answer(&Request::builder().header("Accept-Encoding", "gzip;q=0").finish());
        assert!(!plain.headers().contains_key("content-encoding"));
    }
}
