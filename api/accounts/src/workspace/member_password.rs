//! A member's forgotten password, seen from their admin: W-WS-13 and W-WS-14 of the contract's section
//! "Workspaces".

use api_kit::{Answer, ApiError, Can, permissions};
use chrono::{DateTime, Utc};
use domain::{Acting, UserId, WorkspaceId, callers::Authority};
use domain_accounts::{account_tokens::HANDED_OVER_RESET, users::peers};
use jobs::Tx;
use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use super::workspaces::Tag;

permissions! { ResetPassword = "members:reset_password" }

/// That a mail is on its way.
#[derive(Debug, Object)]
struct ResetMailed {
    /// For people.
    message: String,
}

/// A link to hand over.
#[derive(Debug, Object)]
struct ResetLink {
    /// Where the member chooses their new password. Its holder is let in once: hand it to the member only.
    reset_url: String,
    /// Until when it is good.
    expires_at: DateTime<Utc>,
}

/// See the module.
pub struct MemberPasswordApi;

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl MemberPasswordApi {
    /// Ask a member by mail to choose a new password
    ///
    /// For an account that the workspace manages, the mail has a link that is good once, for an hour. For any other
    /// account it leads to the page on which its owner asks for a link. Links that the person has asked for stay valid.
    /// Not for members whose role is above the caller's.
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
        Ok(Json(ResetMailed { message: "A mail about choosing a new password is on its way.".to_owned() }))
    }

    /// Make a link for a member to choose a new password by
    ///
    /// To be handed over; no mail is sent. Good once, for 24 hours. Its holder gets the whole account, so only an
    /// account that the workspace manages has one (403 otherwise).
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

/// The caller as an admin of the workspace in the path, which is the one that they were let into.
fn admin(can: &Can<ResetPassword>, named: WorkspaceId) -> Answer<&Authority> {
    if can.workspace != named {
        return Err(ApiError::not_found());
    }
    Ok(can.authority())
}
