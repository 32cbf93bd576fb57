//! Members: the people of a workspace. Contract section "Members" (W-MEM).

mod me;

use api_kit::{
    App, FileUpload, Limit, MaybeBody, Offset, Part, accept_link, avatar_url, no_deadline, part_request,
    prelude::*,
};
use domain::{MemberId, Name, Text, access::Role};
use domain_accounts::{
    avatars::{self, MAX_BYTES},
    invitations::{self, Invitation, InvitedProfile, NewInvitation},
    workspaces::Host,
};
use domain_people::members::{
    self, DeletionInfo, Holdings, MemberChanges, MemberFilter, MemberPictureOf, MemberProfile, Reassigned,
    TourProgress,
};
use poem_openapi::Object;

use me::{MyMember, TourMap};

permissions! {
    ViewMembers = "members:view",
    InviteMembers = "members:invite",
    EditMembers = "members:edit" or own,
    EditOwnMember = "members:edit_own",
    ReassignMembers = "members:reassign",
    DeleteMembers = "members:delete",
}

/// An invitation of a member, with the role and profile that the member starts with.
#[derive(Debug, Object)]
struct NewMember {
    /// Email address, with or without an account.
    #[oai(validator(max_length = 254))]
    email: String,
    /// Role on acceptance, at most the caller's. Null: `member`, or as before if the address is invited
    /// already.
    role: Option<Role>,
    /// Display name in this workspace; null if the account's name is to be shown.
    display_name: Option<Name<255>>,
    /// Job title; null if the account's is to be shown.
    title: Option<Text<255>>,
    /// Phone number; null if the account's is to be shown.
    phone: Option<Text<50>>,
    /// Short biography; null if the account's is to be shown.
    bio: Option<Text<5000>>,
}

/// Short form of a member.
#[derive(Debug, Object)]
struct MemberBrief {
    /// Member id.
    id: MemberId,
    /// Email address.
    email: String,
    /// Full name of the account.
    full_name: String,
    /// Display name in this workspace; null if the account's name is to be shown.
    display_name: Option<String>,
    /// URL of the avatar image; null if none is set.
    avatar_url: Option<String>,
    /// Role in the workspace.
    role: Role,
}

/// A member as clients see it: with a link to the avatar image.
pub(super) fn shown(app: &App, member: MemberProfile) -> MemberProfile {
    MemberProfile { avatar_url: avatar_url(app, member.avatar_url), ..member }
}

impl MemberBrief {
    fn of(app: &App, member: MemberProfile) -> Self {
        let member = shown(app, member);
        Self {
            id: member.id,
            email: member.email,
            full_name: member.full_name,
            display_name: member.display_name,
            avatar_url: member.avatar_url,
            role: member.role,
        }
    }
}

/// A newly set avatar image.
#[derive(Debug, Object)]
struct MemberPicture {
    /// URL of the avatar image; a link that is valid for one to two days.
    avatar_url: Option<String>,
}

/// Types to reassign, and the member to reassign to.
#[derive(Debug, Object)]
struct Handover {
    /// Id of the member that takes over.
    to_member_id: MemberId,
    /// Types to reassign, named as in `items`; all types if absent.
    types: Option<Vec<String>>,
}

/// Tours to reset.
#[derive(Debug, Object)]
struct TourReset {
    /// Tour id; all tours if absent.
    #[oai(validator(max_length = 100))]
    tour_id: Option<String>,
}

#[derive(Tags)]
enum Tag {
    /// The people of a workspace.
    Members,
}

pub struct MembersApi;

#[OpenApi(prefix_path = "/members", tag = "Tag::Members")]
impl MembersApi {
    /// List members
    ///
    /// Sorted by name; inactive members are included.
    #[oai(path = "/", method = "get", operation_id = "list_members")]
    async fn list(
        &self,
        can: Can<ViewMembers>,
        /// Part of the name, the email address or the job title.
        search: Query<Option<String>>,
        /// Activity filter: true for active members only, false for inactive members only.
        is_active: Query<Option<bool>>,
        /// Number of members to skip.
        #[oai(default)]
        skip: Query<Offset>,
        /// Maximum number of members in the answer.
        #[oai(default)]
        limit: Query<Limit>,
    ) -> Answer<Json<Part<MemberProfile>>> {
        let filter = MemberFilter { search: search.0, is_active: is_active.0, ..MemberFilter::default() };
        let part = part_request(limit.0, skip.0);
        let found = members::list(&mut can.read().await?, filter, part).await?;
        Ok(Json(Part::new(part, found.map(|member| shown(can.app(), member)))))
    }

    /// List all active members in short form
    ///
    /// For client-side lists of members to mention or to assign work to.
    #[oai(path = "/all", method = "get", operation_id = "list_all_members")]
    async fn all(&self, can: Can<ViewMembers>) -> Answer<Json<Whole<MemberBrief>>> {
        let all = members::all_active(&mut can.read().await?).await?;
        let all: Vec<_> = all.into_iter().map(|member| MemberBrief::of(can.app(), member)).collect();
        Ok(Json(all.into()))
    }

    /// Show the caller's own member
    #[oai(path = "/me", method = "get", operation_id = "get_my_member")]
    async fn me(&self, can: Can<ViewMembers>) -> Answer<Json<MyMember>> {
        MyMember::load(can.app(), &mut can.read().await?).await.map(Json)
    }

    /// List the caller's tours
    ///
    /// Maps tour ids to true for a completed tour and to false for a skipped one.
    #[oai(path = "/me/tours", method = "get", operation_id = "get_my_tours")]
    async fn tours(&self, can: Can<ViewMembers>) -> Answer<Json<TourMap>> {
        Ok(Json(members::tours(&mut can.read().await?).await?))
    }

    /// Record that the caller has completed or skipped a tour
    #[oai(path = "/me/tours", method = "post", operation_id = "set_my_tour")]
    async fn set_tour(&self, can: Can<EditOwnMember>, tour: Body<TourProgress>) -> Answer<Json<TourMap>> {
        can.change(async |db| members::set_tour(db, tour.0).await).await.map(Json)
    }

    /// Reset the caller's tours
    ///
    /// Resets the tour named in the body, or all tours.
    #[oai(path = "/me/tours", method = "delete", operation_id = "reset_my_tours")]
    async fn reset_tours(
        &self,
        can: Can<EditOwnMember>,
        reset: MaybeBody<TourReset>,
    ) -> Answer<Json<TourMap>> {
        let tour = reset.0.and_then(|reset| reset.tour_id);
        can.change(async |db| members::reset_tours(db, tour.as_deref()).await).await.map(Json)
    }

    /// Invite a member
    ///
    /// Sends an invitation to the address; its owner becomes a member by accepting, with the role and profile
    /// given here. The answer is the invitation, the same whether or not the address has an account. An address
    /// that is invited already receives a new link. A role above the caller's is refused (403).
    #[oai(path = "/", method = "post", operation_id = "create_member", tag = "Fails::AlreadyMember")]
    async fn create(&self, can: Can<InviteMembers>, new: Body<NewMember>) -> Answer<Created<Invitation>> {
        let NewMember { email, role, display_name, title, phone, bio } = new.0;
        let profile = InvitedProfile {
            display_name: display_name.map(String::from),
            title: title.map(String::from),
            phone: phone.map(String::from),
            bio: bio.map(String::from),
        };
        let profile = (profile != InvitedProfile::default()).then_some(profile);
        let (actor, link) = (can.actor(), accept_link(can.app()));
        let host = Host::new(can.authority(), &actor);
        let new = NewInvitation { email, role, profile };
        can.change_shared(async |tx, _| invitations::invite(tx, &host, new, &link).await).await.map(Created)
    }

    /// Show a member
    #[oai(path = "/:member_id", method = "get", operation_id = "get_member")]
    async fn get(&self, can: Can<ViewMembers>, member_id: Path<MemberId>) -> Answer<Json<MemberProfile>> {
        Ok(Json(shown(can.app(), members::get(&mut can.read().await?, member_id.0).await?)))
    }

    /// Change a member
    ///
    /// The caller's own profile or, with `members:edit`, that of any member. The caller can change neither the
    /// role nor the access of a member with a higher role, and cannot grant a role above the caller's own; the
    /// last owner keeps the role (409 `last_owner`).
    #[oai(path = "/:member_id", method = "patch", operation_id = "update_member", tag = "Fails::LastOwner")]
    async fn update(
        &self,
        can: Can<EditMembers>,
        member_id: Path<MemberId>,
        changes: Body<MemberChanges>,
    ) -> Answer<Json<MemberProfile>> {
        let caller = (can.grants(), can.reach());
        let update = async |db: &mut _| members::update(db, caller, member_id.0, changes.0).await;
        Ok(Json(shown(can.app(), can.change(update).await?)))
    }

    /// Set a member's avatar image
    ///
    /// The form's part `file`: a PNG, JPEG, WebP or GIF image of at most 5 MiB and 8192 pixels a side. The caller's own image is
    /// set on the account, for all workspaces. With `members:edit`, also that of a member whose role is not above
    /// the caller's: in this workspace only, until that member sets an image of their own; for an account that this
    /// workspace manages, on the account.
    #[oai(
        path = "/:member_id/avatar",
        method = "post",
        operation_id = "set_member_avatar",
        transform = "no_deadline"
    )]
    async fn set_avatar(
        &self,
        can: Can<EditMembers>,
        member_id: Path<MemberId>,
        file: FileUpload,
    ) -> Answer<Json<MemberPicture>> {
        let caller = (can.role, can.reach());
        let whose = members::may_picture(&mut can.read().await?, caller, member_id.0).await?;
        let (app, file, actor) = (can.app(), file.read(MAX_BYTES).await?, can.actor());
        let (database, storage) = (&app.database, &app.storage);
        let picture = match whose {
            MemberPictureOf::Account(user) => {
                avatars::set(database, storage, &actor, user, can.workspace.0, file).await?
            }
            MemberPictureOf::Member(user) => {
                avatars::set_for_member(database, storage, &actor, (can.workspace, user), file).await?
            }
        };
        Ok(Json(MemberPicture { avatar_url: avatar_url(app, Some(picture)) }))
    }

    /// Show the consequences of deleting a member
    #[oai(path = "/:member_id/deletion-info", method = "get", operation_id = "get_member_deletion_info")]
    async fn deletion_info(
        &self,
        can: Can<DeleteMembers>,
        member_id: Path<MemberId>,
    ) -> Answer<Json<DeletionInfo>> {
        Ok(Json(members::deletion_info(&mut can.read().await?, member_id.0).await?))
    }

    /// List what a member is responsible for
    ///
    /// By type: the member's recordsets, imports, exports, scheduled jobs and API keys, and the teams that the
    /// member leads, with the newest 50 of each type. Records are not included: their creator is kept as
    /// history only.
    #[oai(path = "/:member_id/items", method = "get", operation_id = "list_member_items")]
    async fn items(&self, can: Can<ReassignMembers>, member_id: Path<MemberId>) -> Answer<Json<Holdings>> {
        Ok(Json(members::holdings(&mut can.read().await?, member_id.0).await?))
    }

    /// Reassign a member's items to another member
    ///
    /// All items, or only those of some types, in one transaction. API keys get new secrets, which only this
    /// answer shows; the old secrets become invalid; this also needs `api_keys:manage`. Scheduled jobs,
    /// including those that run as these keys, can only be reassigned to a member who has the permissions to
    /// run them (422 otherwise).
    #[oai(path = "/:member_id/reassign", method = "post", operation_id = "reassign_member_items")]
    async fn reassign(
        &self,
        can: Can<ReassignMembers>,
        member_id: Path<MemberId>,
        handover: Body<Handover>,
    ) -> Answer<Json<Reassigned>> {
        let (to, types) = (handover.to_member_id, handover.types.as_deref());
        can.change(async |db| members::reassign(db, can.grants(), member_id.0, to, types).await)
            .await
            .map(Json)
    }

    /// Remove a member
    ///
    /// Takes effect at once. The last owner cannot be removed (409 `last_owner`).
    #[oai(path = "/:member_id", method = "delete", operation_id = "delete_member", tag = "Fails::LastOwner")]
    async fn delete(
        &self,
        can: Can<DeleteMembers>,
        member_id: Path<MemberId>,
        /// Whether the membership is removed as well; true if absent. With false, the membership is kept but
        /// deactivated, and the person becomes the same member again by accepting another invitation.
        remove_from_workspace: Query<Option<bool>>,
    ) -> Answer<NoContent> {
        let for_good = remove_from_workspace.unwrap_or(true);
        can.change(async |db| members::remove(db, can.role, member_id.0, for_good).await)
            .await
            .map(|()| NoContent)
    }

    /// Delete a member and their account permanently
    ///
    /// Only for an account that this workspace manages: one that was created by accepting its invitation (409
    /// `account_not_managed`) and that belongs to no other workspace (409 `in_other_workspaces`).
    #[oai(
        path = "/:member_id/permanent",
        method = "delete",
        operation_id = "erase_member",
        tag = "Fails::LastOwner",
        tag = "Fails::InOtherWorkspaces",
        tag = "Fails::AccountNotManaged"
    )]
    async fn erase(&self, can: Can<DeleteMembers>, member_id: Path<MemberId>) -> Answer<NoContent> {
        can.change(async |db| members::erase(db, can.role, member_id.0).await).await.map(|()| NoContent)
    }
}
