//! Device tokens: by one, a client that has signed in once proves to be a device of the account's owner, and its
//! attempts to sign in are then counted separately. It gives no access by itself.

use chrono::Duration;
use domain::{UserId, throttle::Device};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Signer;

/// Lifetime of a device token after the last sign-in.
const VALID: Duration = Duration::days(180);
/// `typ` claim of such a token.
const TYPE: &str = "device";

/// Keys for signing and checking device tokens.
pub(crate) struct DeviceKeys {
    sign: EncodingKey,
    check: DecodingKey,
    rules: Validation,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: UserId,
    jti: Uuid,
    exp: i64,
    typ: String,
}

impl DeviceKeys {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.leeway = 0;
        Self { sign: EncodingKey::from_secret(key), check: DecodingKey::from_secret(key), rules }
    }
}

impl Signer {
    /// The token of a device.
    ///
    /// # Errors
    /// When the claims can't be serialised, which they always can.
    pub fn device_token(&self, device: Device) -> Result<String, jsonwebtoken::errors::Error> {
        let exp = (jobs::clock::now() + VALID).timestamp();
        let claims = Claims { sub: device.user, jti: device.id, exp, typ: TYPE.to_owned() };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.devices.sign)
    }

    /// The device of a token that this installation signed, unless the token has expired.
    #[must_use]
    pub fn check_device_token(&self, token: &str) -> Option<Device> {
        let keys = &self.devices;
        let claims = jsonwebtoken::decode::<Claims>(token, &keys.check, &keys.rules).ok()?.claims;
        (claims.typ == TYPE).then_some(Device { user: claims.sub, id: claims.jti })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_the_token_of_this_installation() {
        let signer = |secret: &str| Signer::new(secret);
        let device = Device { user: UserId::new(), id: Uuid::now_v7() };
        let token = signer("a secret").device_token(device).unwrap();
        assert_eq!(signer("a secret").check_device_token(&token), Some(device));
        assert_eq!(signer("another").check_device_token(&token), None);
        assert_eq!(signer("a secret").check_device_token("nonsense"), None);
    }
}
