//! Invitations into a workspace: offering them, withdrawing them, and taking them up.

use api_kit::{AnyoneInPerson, ApiError, App, InPerson, SignedIn, accept_link, prelude::*};
use domain::{WorkspaceId, access::Role};
use domain_accounts::invitations::{
    self, AcceptedInvitation, Answering, Came, Invitation, InvitationId, InvitationPreview, Invitee,
    OwnInvitation,
};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::Object;

use super::{Tag, host};

permissions! { Invite = "members:invite" }

/// Whom to invite.
#[derive(Debug, Object)]
struct NewInvitation {
    /// Email address, with or without an account.
    #[oai(validator(max_length = 254))]
    email: String,
    /// Role on acceptance, at most the caller's. Null: `member`, or as before if the address is invited already.
    role: Option<Role>,
}

/// Whom a link is for: an invitation that waits, or an address.
#[derive(Debug, Object)]
struct NewInvitationLink {
    /// Id of the invitation, as the roster names it. This or `email`.
    member_id: Option<InvitationId>,
    /// Email address, with or without an account.
    email: Option<String>,
    /// Role on acceptance, at most the caller's. Null: as before, or `member` for an address that is not invited yet.
    role: Option<Role>,
}

/// Which invitation to send again; one of the two is enough.
#[derive(Debug, Object)]
struct ResendInvitation {
    /// Id of the invitation, as the roster names it.
    member_id: Option<InvitationId>,
    /// Invited email address.
    email: Option<String>,
}

/// Which invitation to withdraw: by its id, or by workspace and address.
#[derive(Debug, Object)]
struct CancelInvitation {
    /// Id of the invitation; the roster calls it `member_id`.
    invitation_id: Option<InvitationId>,
    /// Id of the workspace, with `email`.
    workspace_id: Option<WorkspaceId>,
    /// Invited email address.
    email: Option<String>,
}

/// An invitation to accept: by the token of a link, or signed in by its id.
#[derive(Object)]
struct AcceptInvitation {
    /// Token from the link. This or `invitation_id`.
    token: Option<String>,
    /// Id of an invitation that waits for the caller, as `GET /workspaces/invitations` lists it. Needs a sign-in.
    invitation_id: Option<InvitationId>,
    /// Password to choose, at least 10 characters and at most 1024, where the preview says `requires_password`; ignored
    /// otherwise.
    password: Option<String>,
    /// Name of a new account. Null: the display name that the inviter wrote, or else the part of the address before
    /// the @. Ignored where there is an account.
    name: Option<String>,
}

/// An invitation with its link.
#[derive(Object)]
struct InvitationLink {
    /// Link to the page that accepts the invitation, once. It is shown here and nowhere else.
    invite_url: String,
    /// The token in it.
    token: String,
    /// What it is a link to.
    invitation: Invitation,
}

/// See the module.
pub struct InvitationsApi;

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl InvitationsApi {
    /// List the invitations that wait for the caller
    ///
    /// Those to the caller's email address, the newest first; none until that address is verified.
    #[oai(path = "/invitations", method = "get", operation_id = "list_own_invitations")]
    async fn waiting(&self, app: Data<&App>, caller: SignedIn) -> Answer<Json<Whole<OwnInvitation>>> {
        Ok(Json(invitations::waiting_for(&app.database.pool, caller.user).await?.into()))
    }

    /// Look at an invitation
    ///
    /// What its token leads to, without accepting it, and what accepting takes. The token is the credential. 410 says
    /// that the invitation has expired, was withdrawn or has been accepted; a token that a newer one has replaced is
    /// unknown.
    #[oai(
        path = "/invitations/details",
        method = "get",
        operation_id = "get_invitation_details",
        tag = "Fails::RecordNotFound",
        tag = "Fails::Gone"
    )]
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
    /// With the token of a mailed link, good once; or signed in with the invited address, which has to be verified, by
    /// the id of the invitation or the token of a link that was handed over (401 without a sign-in). With a mailed
    /// link somebody without an account, or whose account has no password or no verified address, chooses a password
    /// here. Afterwards they can sign in and work in the workspace. 403 for an invitation to another address than the
    /// caller's, while the address is not verified, and for staff who act as a person.
    #[oai(
        path = "/invitations/accept",
        method = "post",
        operation_id = "accept_invitation",
        tag = "Fails::TokenInvalid",
        tag = "Fails::Forbidden",
        tag = "Fails::RecordNotFound",
        tag = "Fails::AlreadyMember",
        tag = "Fails::Gone"
    )]
    async fn accept(
        &self,
        app: Data<&App>,
        anyone: AnyoneInPerson,
        accept: Body<AcceptInvitation>,
    ) -> Answer<Json<AcceptedInvitation>> {
        let AcceptInvitation { token, invitation_id, password, name } = accept.0;
        let came = match (token, invitation_id) {
            (Some(token), _) => Came::WithToken(token),
            (None, Some(id)) => Came::ToAccept(id),
            (None, None) => return Err(ApiError::missing(["token"])),
        };
        let answering = Answering { came, signed_in: anyone.user, name };
        let actor = anyone.actor();
        let hash = invitations::password_hash(&app.database, &answering, password).await?;
        let accept = async |tx: &mut Tx| invitations::accept(tx, &answering, hash.as_deref(), &actor).await;
        anyone.change_shared(&app, accept).await.map(Json)
    }

    /// Withdraw an invitation
    ///
    /// One that was not accepted yet, to a workspace in which the caller may invite: by `invitation_id`, or
    /// by `workspace_id` with `email`.
    #[oai(
        path = "/invitations/cancel",
        method = "post",
        operation_id = "cancel_invitation",
        tag = "Fails::RecordNotFound"
    )]
    async fn cancel(
        &self,
        app: Data<&App>,
        caller: InPerson,
        cancel: Body<CancelInvitation>,
    ) -> Answer<Json<Invitation>> {
        let CancelInvitation { invitation_id, workspace_id, email } = cancel.0;
        if invitation_id.is_none() && (workspace_id.is_none() || email.is_none()) {
            return Err(ApiError::missing(["invitation_id"]));
        }
        let invitee = Invitee { id: invitation_id, email };
        let entered = caller.authorities(&app, workspace_id).await?;
        let cancel = async |tx: &mut Tx| invitations::cancel(tx, &entered, &caller.actor(), &invitee).await;
        caller.change_shared(&app, cancel).await.map(Json)
    }

    /// Invite a person by mail
    ///
    /// A link is mailed to the address. The answer is the same whether or not the address has an account, and shows
    /// nothing of its owner before they have accepted. An address that is invited already is sent a new link for the
    /// same invitation, and the one before stops working. 409 `already_member` for the address of a member.
    #[oai(
        path = "/:workspace_id/invitations",
        method = "post",
        operation_id = "invite_member",
        tag = "Fails::AlreadyMember"
    )]
    async fn invite(
        &self,
        can: Can<Invite>,
        workspace_id: Path<WorkspaceId>,
        new: Body<NewInvitation>,
    ) -> Answer<Created<Invitation>> {
        let (actor, link) = (can.actor(), accept_link(can.app()));
        let host = host(&can, workspace_id.0, &actor)?;
        let NewInvitation { email, role } = new.0;
        let new = invitations::NewInvitation { email, role, profile: None };
        can.change_shared(async |tx, _| invitations::invite(tx, &host, new, &link).await).await.map(Created)
    }

    /// Make a link to hand over
    ///
    /// Mails nothing. Links that were made or mailed before stop working. The link shows where to go and not who comes:
    /// to accept, its holder signs in with the invited address. The answer is the same whether or not the address has an
    /// account.
    #[oai(
        path = "/:workspace_id/invitations/link",
        method = "post",
        operation_id = "create_invitation_link",
        tag = "Fails::AlreadyMember"
    )]
    async fn link(
        &self,
        can: Can<Invite>,
        workspace_id: Path<WorkspaceId>,
        link_for: Body<NewInvitationLink>,
    ) -> Answer<Json<InvitationLink>> {
        let NewInvitationLink { member_id, email, role } = link_for.0;
        let invitee = Invitee { id: member_id, email };
        let (actor, link) = (can.actor(), accept_link(can.app()));
        let host = host(&can, workspace_id.0, &actor)?;
        let invitation = can
            .change_shared(async |tx, _| invitations::make_link(tx, &host, &invitee, role, &link).await)
            .await?;
        Ok(Json(InvitationLink { invite_url: link.url, token: link.token, invitation }))
    }

    /// Send an invitation again
    ///
    /// Under a new token, good for another week; the one before stops working.
    #[oai(
        path = "/:workspace_id/invitations/resend",
        method = "post",
        operation_id = "resend_invitation",
        tag = "Fails::AlreadyMember"
    )]
    async fn resend(
        &self,
        can: Can<Invite>,
        workspace_id: Path<WorkspaceId>,
        resend: Body<ResendInvitation>,
    ) -> Answer<Json<Invitation>> {
        let ResendInvitation { member_id, email } = resend.0;
        let invitee = Invitee { id: member_id, email };
        let (actor, link) = (can.actor(), accept_link(can.app()));
        let host = host(&can, workspace_id.0, &actor)?;
        can.change_shared(async |tx, _| invitations::resend(tx, &host, &invitee, &link).await).await.map(Json)
    }
}
