//! `Anyone`: for public routes whose answer has more for authenticated callers.

use std::ops::Deref;

use domain::{Actor, UserId, access::IN_PERSON, callers::Principal};
use poem::{Request, RequestBody, http::StatusCode};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::{ApiError, Caller, Known, Visitor, caller::ANYONE_IN_PERSON};

/// The sender of a request, with the caller if a valid credential was sent. An invalid credential is
/// ignored.
#[derive(Debug, Clone)]
pub struct Anyone {
    /// The request.
    pub visitor: Visitor,
    /// The caller, if a valid credential was sent.
    pub caller: Option<Caller>,
}

impl Anyone {
    /// The actor of the request.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.caller.as_ref().map_or_else(|| self.visitor.actor(), Caller::actor)
    }
}

/// The same for routes that are closed to staff acting as another user.
#[derive(Debug, Clone)]
pub struct AnyoneInPerson {
    /// The signed-in user, if there is one.
    pub user: Option<UserId>,
    anyone: Anyone,
}

impl Deref for AnyoneInPerson {
    type Target = Anyone;

    fn deref(&self) -> &Anyone {
        &self.anyone
    }
}

impl<'a> ApiExtractor<'a> for AnyoneInPerson {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn security_schemes() -> Vec<&'static str> {
        vec![ANYONE_IN_PERSON]
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let anyone = Anyone::from_request(request, body, options).await?;
        let user = match anyone.caller.as_ref().map(|caller| &caller.principal) {
            Some(Principal::Session { impersonator: Some(_), .. }) => {
                return Err(ApiError::forbidden(IN_PERSON).into());
            }
            Some(Principal::Session { user, .. }) => Some(*user),
            _ => None,
        };
        Ok(Self { user, anyone })
    }
}

async fn nobody(request: &Request) -> Result<Anyone, ApiError> {
    let mut visitor = Visitor::of(request);
    visitor.arm(request).await?;
    Ok(Anyone { visitor, caller: None })
}

impl<'a> ApiExtractor<'a> for Anyone {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::PoemExtractor];

    type ParamType = ();
    type ParamRawType = ();

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if request.header("Authorization").is_none() {
            let visitor = Visitor::from_request(request, body, options).await?;
            return Ok(Self { visitor, caller: None });
        }
        match Known::from_request(request, body, options).await {
            Ok(Known(caller)) => Ok(Self { visitor: caller.visitor.clone(), caller: Some(caller) }),
            // The request was counted before the credential was checked.
            Err(error) if matches!(error.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Ok(nobody(request).await?)
            }
            Err(error) => Err(error),
        }
    }
}
