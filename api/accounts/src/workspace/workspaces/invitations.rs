//! Invitations into a workspace: offering them, withdrawing them, and taking them up.

use api_kit::{ApiError, App, SignedIn, Visitor, prelude::*};
use domain::{
    WorkspaceId,
    access::Role,
    invitations::{self, AcceptedInvitation, Invitation, InvitationPreview, Invitee, Link},
    secret,
};
use poem::web::Data;
use poem_openapi::Object;
use uuid::Uuid;

use super::host;

permissions! { Invite = "members:invite" }

/// Whom to invite.
#[derive(Debug, Object)]
struct NewInvitation {
    /// The address of somebody who is registered.
    email: String,
    /// What they will be: `member` unless said, or as before if they are invited already. At most what the
    /// caller is.
    role: Option<Role>,
}

/// Whom a link is for: somebody who is invited, or by the address anybody who is registered.
#[derive(Debug, Object)]
struct NewInvitationLink {
    /// The invitation, as the roster names it.
    member_id: Option<Uuid>,
    /// The person.
    user_id: Option<Uuid>,
    /// Their address.
    email: Option<String>,
    /// What they will be: as before, and `member` for somebody who wasn't invited. At most what the caller is.
    role: Option<Role>,
}

/// Whose invitation to send again; one of the two is enough.
#[derive(Debug, Object)]
struct ResendInvitation {
    /// The invitation, as the roster names it.
    member_id: Option<Uuid>,
    /// The person.
    user_id: Option<Uuid>,
}

/// Which invitation to withdraw: by its id, or by workspace and person.
#[derive(Debug, Object)]
struct CancelInvitation {
    /// The invitation; the roster calls it `member_id`.
    invitation_id: Option<Uuid>,
    /// Where to, with `user_id` or `email`.
    workspace_id: Option<Uuid>,
    /// Who is invited.
    user_id: Option<Uuid>,
    /// Their address.
    email: Option<String>,
}

/// A token to take up.
#[derive(Object)]
struct AcceptInvitation {
    /// From the link.
    token: String,
    /// For whoever has none yet: at least 10 characters, at most 1024. An invitation never changes a password,
    /// so that this counts for nothing where there is one.
    password: Option<String>,
}

/// An invitation with its link.
#[derive(Object)]
struct InvitationLink {
    /// Lets its reader accept, once. It is shown here and nowhere else.
    invite_url: String,
    /// The token in it.
    token: String,
    /// What it is a link to.
    invitation: Invitation,
}

/// A fresh token, in a link to the page that accepts it.
fn fresh_link(app: &App) -> Link {
    let token = secret::generate();
    Link { url: app.config.app_link("accept-invitation", &[("token", &token)]), token }
}

/// See the module.
pub struct InvitationsApi;

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl InvitationsApi {
    /// Look at an invitation
    ///
    /// What its token leads to, without accepting it, and whether a password has to be chosen. The token is
    /// the credential. 410 says that the invitation has expired, was withdrawn or has been accepted; a
    /// token that a newer one has replaced is unknown.
    #[oai(path = "/invitations/details", method = "get", operation_id = "get_invitation_details")]
    async fn details(
        &self,
        app: Data<&App>,
        /// From the link.
        token: Query<String>,
    ) -> Answer<Json<InvitationPreview>> {
        Ok(Json(invitations::preview(&app.database, &token).await?))
    }

    /// Accept an invitation
    ///
    /// The token is the credential, good once. Whoever has no password yet chooses one here. Afterwards they
    /// can sign in and work in the workspace.
    #[oai(path = "/invitations/accept", method = "post", operation_id = "accept_invitation")]
    async fn accept(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        accept: Body<AcceptInvitation>,
    ) -> Answer<Json<AcceptedInvitation>> {
        let AcceptInvitation { token, password } = accept.0;
        let hash = invitations::first_password(&app.database, &token, password).await?;
        let mut tx = app.database.begin().await?;
        let accepted = invitations::accept(&mut tx, &token, hash.as_deref(), &visitor.actor()).await?;
        tx.commit().await?;
        Ok(Json(accepted))
    }

    /// Withdraw an invitation
    ///
    /// One that was not accepted yet, to a workspace in which the caller may invite: by `invitation_id`, or
    /// by `workspace_id` with `user_id` or `email`.
    #[oai(path = "/invitations/cancel", method = "post", operation_id = "cancel_invitation")]
    async fn cancel(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        cancel: Body<CancelInvitation>,
    ) -> Answer<Json<Invitation>> {
        let CancelInvitation { invitation_id, workspace_id, user_id, email } = cancel.0;
        if invitation_id.is_none() && workspace_id.is_none() {
            return Err(ApiError::missing(["invitation_id"]));
        }
        let invitee = Invitee { id: invitation_id, user_id, email };
        let entered = caller.authorities(&app, workspace_id.map(WorkspaceId)).await?;
        let mut tx = app.database.begin().await?;
        let cancelled = invitations::cancel(&mut tx, &entered, &caller.actor(), &invitee).await?;
        tx.commit().await?;
        Ok(Json(cancelled))
    }

    /// Invite somebody by mail
    ///
    /// Somebody who is registered; they are mailed a link. Whoever is invited already is sent a new link for
    /// the same invitation, and the one before stops working.
    #[oai(path = "/:workspace_id/invitations", method = "post", operation_id = "invite_member")]
    async fn invite(
        &self,
        can: Can<Invite>,
        workspace_id: Path<Uuid>,
        new: Body<NewInvitation>,
    ) -> Answer<Created<Invitation>> {
        let (actor, link) = (can.actor(), fresh_link(can.app()));
        let mut tx = can.app().database.begin().await?;
        let host = host(&can, workspace_id.0, &actor)?;
        let invitation = invitations::invite(&mut tx, &host, &new.email, new.role, &link).await?;
        tx.commit().await?;
        Ok(Created(invitation))
    }

    /// Make a link to hand over
    ///
    /// Mails nothing. Links that were made or mailed before stop working. For somebody who has not chosen a
    /// password there is none (409 `password_not_chosen`): whoever had it could choose it for them.
    #[oai(path = "/:workspace_id/invitations/link", method = "post", operation_id = "create_invitation_link")]
    async fn link(
        &self,
        can: Can<Invite>,
        workspace_id: Path<Uuid>,
        link_for: Body<NewInvitationLink>,
    ) -> Answer<Json<InvitationLink>> {
        let NewInvitationLink { member_id, user_id, email, role } = link_for.0;
        let invitee = Invitee { id: member_id, user_id, email };
        let (actor, link) = (can.actor(), fresh_link(can.app()));
        let mut tx = can.app().database.begin().await?;
        let host = host(&can, workspace_id.0, &actor)?;
        let invitation = invitations::make_link(&mut tx, &host, &invitee, role, &link).await?;
        tx.commit().await?;
        Ok(Json(InvitationLink { invite_url: link.url, token: link.token, invitation }))
    }

    /// Send an invitation again
    ///
    /// Under a new token, good for another week; the one before stops working.
    #[oai(path = "/:workspace_id/invitations/resend", method = "post", operation_id = "resend_invitation")]
    async fn resend(
        &self,
        can: Can<Invite>,
        workspace_id: Path<Uuid>,
        resend: Body<ResendInvitation>,
    ) -> Answer<Json<Invitation>> {
        let invitee = Invitee { id: resend.member_id, user_id: resend.user_id, email: None };
        let (actor, link) = (can.actor(), fresh_link(can.app()));
        let mut tx = can.app().database.begin().await?;
        let invitation =
            invitations::resend(&mut tx, &host(&can, workspace_id.0, &actor)?, &invitee, &link).await?;
        tx.commit().await?;
        Ok(Json(invitation))
    }
}
