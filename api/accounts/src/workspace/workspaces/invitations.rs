//! Invitations to a workspace: sending, withdrawing and accepting them.

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

/// An invitation to send.
#[derive(Debug, Object)]
struct NewInvitation {
    /// Email address, with or without an account.
    #[oai(validator(max_length = 254))]
    email: String,
    /// Role on acceptance, at most the caller's. Null: `member`, or as before if the address is invited already.
    role: Option<Role>,
}

/// The target of a link: a pending invitation, or an address.
#[derive(Debug, Object)]
struct NewInvitationLink {
    /// Id of the invitation, as in the member list. This or `email`.
    member_id: Option<InvitationId>,
    /// Email address, with or without an account.
    email: Option<String>,
    /// Role on acceptance, at most the caller's. Null: as before, or `member` for an address that is not invited yet.
    role: Option<Role>,
}

/// An invitation to send again; one of the two fields is enough.
#[derive(Debug, Object)]
struct ResendInvitation {
    /// Id of the invitation, as in the member list.
    member_id: Option<InvitationId>,
    /// Invited email address.
    email: Option<String>,
}

/// An invitation to withdraw: by its id, or by workspace and address.
#[derive(Debug, Object)]
struct CancelInvitation {
    /// Id of the invitation; the member list calls it `member_id`.
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
    /// Id of a pending invitation to the caller, as `GET /workspaces/invitations` lists it. Needs a sign-in.
    invitation_id: Option<InvitationId>,
    /// Password to choose, at least 10 characters and at most 1024, where the preview says `requires_password`;
    /// ignored otherwise.
    password: Option<String>,
    /// Name of a new account. Null: the display name that the inviter gave, or else the part of the address before
    /// the @. Ignored where an account exists.
    name: Option<String>,
}

/// An invitation with its link.
#[derive(Object)]
struct InvitationLink {
    /// URL of the page that accepts the invitation, valid once. Shown only in this answer.
    invite_url: String,
    /// Token in the URL.
    token: String,
    /// The invitation.
    invitation: Invitation,
}

/// Routes of the section.
pub struct InvitationsApi;

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl InvitationsApi {
    /// List the pending invitations to the caller
    ///
    /// Those to the caller's email address, the newest first; none until that address is verified.
    #[oai(path = "/invitations", method = "get", operation_id = "list_own_invitations")]
    async fn waiting(&self, app: Data<&App>, caller: SignedIn) -> Answer<Json<Whole<OwnInvitation>>> {
        Ok(Json(invitations::waiting_for(&app.database.pool, caller.user).await?.into()))
    }

    /// Show an invitation
    ///
    /// Shows what the token of a link leads to, without accepting it, and what accepting it needs. The token is
    /// the credential. 410 if the invitation has expired, was withdrawn or has been accepted; a token that a
    /// newer one has replaced is unknown.
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
        /// Token of the link.
        token: Query<String>,
    ) -> Answer<Json<InvitationPreview>> {
        Ok(Json(invitations::preview(&app.database, &token).await?))
    }

    /// Accept an invitation
    ///
    /// With the token of an emailed link, valid once; or signed in with the invited address, which must be
    /// verified, by the id of the invitation or the token of a link that was handed over (401 without a
    /// sign-in). With an emailed link, an invitee without an account, or whose account has no password or no
    /// verified address, chooses a password here. Afterwards the invitee can sign in and use the workspace. 403
    /// for an invitation to another address than the caller's, while the address is not verified, and for staff
    /// acting as another user.
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
    /// A pending invitation to a workspace in which the caller may invite: by `invitation_id`, or
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

    /// Invite a member by email
    ///
    /// Sends a link to the address. The answer is the same whether or not the address has an account, and shows
    /// no data of its owner before the invitation is accepted. An address that is invited already receives a
    /// new link for the same invitation, and the one before becomes invalid. 409 `already_member` for the
    /// address of a member.
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

    /// Create an invitation link to hand over
    ///
    /// Sends no email. Links that were created or sent before become invalid. The link names the invitation and
    /// proves no identity: to accept it, its holder signs in with the invited address. The answer is the same
    /// whether or not the address has an account.
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
    /// Under a new token, valid for another week; the one before becomes invalid.
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
