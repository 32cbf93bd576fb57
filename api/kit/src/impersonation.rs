//! Impersonation tokens: JWTs issued by an operator, with which staff open a session as
//! another user. Signed with a key of their own; single use is enforced at the exchange.

use chrono::{DateTime, Duration};
use domain::{UserId, impersonation::Impersonation};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Signer;

/// Lifetime of a token until its exchange.
const VALID: Duration = Duration::minutes(5);
/// `typ` claim of such a token.
const TYPE: &str = "impersonation";

/// Keys for signing and checking impersonation tokens.
pub(crate) struct ImpersonationKeys {
    sign: EncodingKey,
    check: DecodingKey,
    rules: Validation,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    /// User to act as.
    sub: UserId,
    /// Staff account.
    act: UserId,
    jti: Uuid,
    iat: i64,
    exp: i64,
    typ: String,
}

impl ImpersonationKeys {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.leeway = 0;
        Self { sign: EncodingKey::from_secret(key), check: DecodingKey::from_secret(key), rules }
    }
}

impl Signer {
    /// A token for staff to act as another user, and its claims.
    ///
    /// # Errors
    /// When the claims can't be serialised, which they always can.
    pub fn impersonation_token(
        &self,
        user: UserId,
        staff: UserId,
    ) -> Result<(String, Impersonation), jsonwebtoken::errors::Error> {
        let now = jobs::clock::now();
        let said = Impersonation { id: Uuid::now_v7(), user, staff, expires: now + VALID };
        let claims = Claims {
            sub: user,
            act: staff,
            jti: said.id,
            iat: now.timestamp(),
            exp: said.expires.timestamp(),
            typ: TYPE.to_owned(),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.impersonation.sign)?;
        Ok((token, said))
    }

    /// The claims of a valid impersonation token that has not expired.
    #[must_use]
    pub fn check_impersonation_token(&self, token: &str) -> Option<Impersonation> {
        let keys = &self.impersonation;
        let claims = jsonwebtoken::decode::<Claims>(token, &keys.check, &keys.rules).ok()?.claims;
        if claims.typ != TYPE {
            return None;
        }
        let expires = DateTime::from_timestamp(claims.exp, 0)?;
        Some(Impersonation { id: claims.jti, user: claims.sub, staff: claims.act, expires })
    }
}

#[cfg(test)]
mod tests {
    use domain::SessionId;

    use super::*;

    const SECRET: &str = "a secret of at least thirty-two characters";

    #[test]
    fn a_token_says_who_acts_as_whom_and_is_good_for_nothing_else() {
        let signer = Signer::new(SECRET);
        let (user, staff) = (UserId::new(), UserId::new());
        let (token, said) = signer.impersonation_token(user, staff).unwrap();
        let checked = signer.check_impersonation_token(&token).unwrap();
        assert_eq!((checked.id, checked.user, checked.staff), (said.id, user, staff));
        assert!(signer.check_access_token(&token).is_none());
        assert!(
            Signer::new("another secret of more than 32 characters")
                .check_impersonation_token(&token)
                .is_none()
        );
    }

    #[test]
    fn another_kind_of_token_or_an_expired_one_is_refused() {
        let signer = Signer::new(SECRET);
        let (access, _) =
            signer.access_token(UserId::new(), SessionId::new(), std::time::Duration::from_mins(5)).unwrap();
        assert!(signer.check_impersonation_token(&access).is_none());
        let now = jobs::clock::now().timestamp();
        for (typ, exp, is_good) in
            [(TYPE, now + 60, true), ("access", now + 60, false), (TYPE, now - 1, false)]
        {
            let (sub, act, jti) = (UserId::new(), UserId::new(), Uuid::now_v7());
            let claims = Claims { sub, act, jti, iat: now, exp, typ: typ.to_owned() };
            let token =
                jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &signer.impersonation.sign);
            let checked = signer.check_impersonation_token(&token.unwrap());
            assert_eq!(checked.is_some(), is_good, "{typ} {exp}");
        }
    }
}
