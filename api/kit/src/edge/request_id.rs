//! The id of a request: the client's `X-Request-Id` if valid, otherwise generated.

use std::sync::Arc;

use poem::Request;
use uuid::Uuid;

const LONGEST: usize = 128;

/// A request's id, in its logs, its answer and the jobs it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    pub(super) fn of(request: &Request) -> Self {
        let sent = request.header("X-Request-Id").filter(|id| is_decent(id));
        Self(sent.map_or_else(|| Uuid::now_v7().to_string().into(), Into::into))
    }
}

fn is_decent(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_or_unprintable_id_is_replaced() {
        let of = |id: &str| RequestId::of(&Request::builder().header("X-Request-Id", id).finish());
        assert_eq!(&*of("abc-1").0, "abc-1");
        for bad in ["", "a b", &"x".repeat(129)] {
            assert_ne!(&*of(bad).0, bad);
        }
    }
}
