//! The operator: whoever holds the token that the installation was started with. It is nobody's
//! account, sees all workspaces, and is good for the routes below `/ops` only.

use std::fmt;

use jobs::Database;
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    ApiError, App,
    caller::{app, bearer_token},
};

/// The name of the operator's scheme in the documents.
pub(crate) const OPERATOR: &str = "operator";
/// How short the token may be.
const SHORTEST: usize = 32;

/// `OPERATOR_TOKEN`, kept as a digest.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorToken([u8; 32]);

impl OperatorToken {
    fn digest(token: &str) -> [u8; 32] {
        Sha256::digest(token.as_bytes()).into()
    }

    /// Takes as long for a token that is nearly right as for any other.
    fn is(&self, token: &str) -> bool {
        self.0.ct_eq(&Self::digest(token)).into()
    }
}

impl std::str::FromStr for OperatorToken {
    type Err = String;

    fn from_str(token: &str) -> Result<Self, String> {
        if token.chars().count() < SHORTEST {
            return Err(format!("needs {SHORTEST} characters or more"));
        }
        Ok(Self(Self::digest(token)))
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorToken(***)")
    }
}

/// Proof that the caller is an operator.
#[derive(Debug, Clone)]
pub struct Operator(App);

impl Operator {
    /// What the process has.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.0
    }

    /// The database and the bus.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.0.database
    }
}

fn admit(request: &Request) -> Result<Operator, ApiError> {
    let app = app(request)?;
    let token = app.config.operator_token.as_ref().ok_or_else(|| {
        ApiError::unavailable(
            "operator_token_not_set",
            "the operator's routes are closed: the process was started without OPERATOR_TOKEN",
        )
    })?;
    if token.is(bearer_token(request)?) { Ok(Operator(app.clone())) } else { Err(ApiError::token_invalid()) }
}

impl<'a> ApiExtractor<'a> for Operator {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            OPERATOR,
            MetaSecurityScheme {
                ty: "http",
                description: Some("The token in the API process's OPERATOR_TOKEN."),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: None,
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![OPERATOR]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(admit(request)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_and_nothing_else_and_never_shows() {
        let secret = "0123456789abcdef0123456789abcdef";
        let token: OperatorToken = secret.parse().unwrap();
        assert!(token.is(secret));
        assert!(!token.is("0123456789abcdef0123456789abcdeF") && !token.is(""));
        assert!(!format!("{token:?}").contains("0123"));
        assert!("short".parse::<OperatorToken>().is_err());
    }
}
