//! `Anyone`: for routes that are open to everybody and tell a little more to those who say who they are.

use domain::{UserId, access::IN_PERSON, callers::Principal};
use poem::{Request, RequestBody, http::StatusCode};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::{ApiError, Caller, Known, Visitor, caller::app, idempotency};

/// Whoever sends a request, and who they are, if they show it. A credential that isn't good here counts for
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anyone {
    /// The request.
    pub visitor: Visitor,
    /// Who, if they have shown a good credential.
    pub caller: Option<Caller>,
}

impl Anyone {
    /// The person who has signed in, if one has.
    ///
    /// # Errors
    /// 403 for staff who act as a person.
    pub fn in_person(&self) -> Result<Option<UserId>, ApiError> {
        match self.caller.as_ref().map(|caller| &caller.principal) {
            Some(Principal::Session { impersonator: Some(_), .. }) => Err(ApiError::forbidden(IN_PERSON)),
            Some(Principal::Session { user, .. }) => Ok(Some(*user)),
            _ => Ok(None),
        }
    }
}

async fn nobody(request: &Request) -> Result<Anyone, ApiError> {
    let visitor = Visitor::of(request);
    let who = visitor.ip.map_or_else(String::new, |ip| format!("ip:{ip}"));
    idempotency::arm(request, &app(request)?.database, &who, "", None).await?;
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
            // The request was counted before it was found out.
            Err(error) if matches!(error.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Ok(nobody(request).await?)
            }
            Err(error) => Err(error),
        }
    }
}
