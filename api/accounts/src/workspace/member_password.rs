//! Password resets of members, by their admins: W-WS-13 and W-WS-14 of the contract's section
//! "Workspaces".

use api_kit::{Answer, ApiError, Can, permissions};
use chrono::{DateTime, Utc};
use domain::{Acting, UserId, WorkspaceId, callers::Authority};
use domain_accounts::{account_tokens::HANDED_OVER_RESET, users::peers};
use jobs::Tx;
use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use super::workspaces::Tag;

permissions! { ResetPassword = "members:reset_password" }

/// Confirmation that an email was sent.
#[derive(Debug, Object)]
struct ResetMailed {
    /// Message for display.
    message: String,
}

/// A password reset link to hand over.
#[derive(Debug, Object)]
struct ResetLink {
    /// URL of the page to choose a new password. Its holder can sign in as the member: hand it to the member only.
    reset_url: String,
    /// Expiry time of the link.
    expires_at: DateTime<Utc>,
}

/// Routes of the section.
pub struct MemberPasswordApi;

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl MemberPasswordApi {
    /// Send a member an email to reset the password
    ///
    /// For an account that the workspace manages, the email has a link that can be used once and expires in an
    /// hour. For any other account it leads to the page on which its owner requests a link. Links that the
    /// member has requested stay valid. Not for members whose role is above the caller's.
    #[oai(
        path = "/:workspace_id/members/:user_id/password-reset",
        method = "post",
        operation_id = "mail_member_password_reset"
    )]
    async fn mail(
        &self,
        can: Can<ResetPassword>,
        workspace_id: Path<WorkspaceId>,
        user_id: Path<UserId>,
    ) -> Answer<Json<ResetMailed>> {
        let link = can.app().config.app_link("reset-password", &[]);
        let (admin, member) = (admin(&can, workspace_id.0)?, user_id.0);
        can.change_shared(async |tx, _| peers::mail_reset(tx, admin, member, &link, &can.actor()).await)
            .await?;
        Ok(Json(ResetMailed { message: "An email about resetting the password will be sent.".to_owned() }))
    }

    /// Create a password reset link for a member
    ///
    /// To be handed over; no email is sent. The link can be used once and expires in 24 hours. Its holder
    /// controls the whole account, so it is only created for an account that the workspace manages (403
    /// otherwise).
    #[oai(
        path = "/:workspace_id/members/:user_id/password-reset/link",
        method = "post",
        operation_id = "create_member_password_reset_link"
    )]
    async fn link(
        &self,
        can: Can<ResetPassword>,
        workspace_id: Path<WorkspaceId>,
        user_id: Path<UserId>,
    ) -> Answer<Json<ResetLink>> {
        let link = can.app().config.app_link("reset-password", &[]);
        let (admin, member) = (admin(&can, workspace_id.0)?, user_id.0);
        let work = async |tx: &mut Tx, _: &Acting<'_>| {
            peers::hand_over_reset(tx, admin, member, &link, &can.actor()).await
        };
        let reset_url = can.change_shared(work).await?;
        Ok(Json(ResetLink { reset_url, expires_at: jobs::clock::now() + HANDED_OVER_RESET }))
    }
}

/// The caller as an admin of the workspace in the path, which is the one that the caller has entered.
fn admin(can: &Can<ResetPassword>, named: WorkspaceId) -> Answer<&Authority> {
    if can.workspace != named {
        return Err(ApiError::not_found());
    }
    Ok(can.authority())
}
