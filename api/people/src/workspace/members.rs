//! Members: the people of a workspace. Contract section "Members" (W-MEM).

mod me;

use api_kit::{
    App, FileUpload, Limit, MaybeBody, Offset, Part, accept_link, avatar_url, part_request, prelude::*,
    unhurried,
};
use domain::{MemberId, Name, Text, access::Role};
use domain_accounts::{
    avatars::{self, MOST_BYTES},
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

/// Somebody to invite, and what their member is to begin with.
#[derive(Debug, Object)]
struct NewMember {
    /// Email address, with or without an account.
    #[oai(validator(max_length = 254))]
    email: String,
    /// Role on acceptance, at most the caller's. Null: `member`, or as before if the address is invited already.
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

/// A member, in short.
#[derive(Debug, Object)]
struct MemberBrief {
    /// The member.
    id: MemberId,
    /// Where they are reached.
    email: String,
    /// What they are called.
    full_name: String,
    /// What they want to be called here.
    display_name: Option<String>,
    /// Their picture.
    avatar_url: Option<String>,
    /// What they are here.
    role: Role,
}

/// A member as clients see them: with a link to their picture.
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

/// A picture just taken.
#[derive(Debug, Object)]
struct MemberPicture {
    /// Where it is: a link that is good for a day or two.
    avatar_url: Option<String>,
}

/// To whom, and what.
#[derive(Debug, Object)]
struct Handover {
    /// The member who takes it over.
    to_member_id: MemberId,
    /// Of which types; all of them if absent. They are those that `items` names.
    types: Option<Vec<String>>,
}

/// Which tour to forget.
#[derive(Debug, Object)]
struct TourReset {
    /// The tour; all of them if absent.
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
    /// By name, with those who don't get in any more.
    #[oai(path = "/", method = "get", operation_id = "list_members")]
    async fn list(
        &self,
        can: Can<ViewMembers>,
        /// A part of their name, address or title.
        search: Query<Option<String>>,
        /// Only those who get in, or only those who don't.
        is_active: Query<Option<bool>>,
        /// Members to pass over.
        #[oai(default)]
        skip: Query<Offset>,
        /// Members in the answer.
        #[oai(default)]
        limit: Query<Limit>,
    ) -> Answer<Json<Part<MemberProfile>>> {
        let filter = MemberFilter { search: search.0, is_active: is_active.0, ..MemberFilter::default() };
        let part = part_request(limit.0, skip.0);
        let found = members::list(&mut can.read().await?, filter, part).await?;
        Ok(Json(Part::new(part, found.map(|member| shown(can.app(), member)))))
    }

    /// List all active members, in short
    ///
    /// For browsers to keep: whoever can be mentioned or be given something to do.
    #[oai(path = "/all", method = "get", operation_id = "list_all_members")]
    async fn all(&self, can: Can<ViewMembers>) -> Answer<Json<Whole<MemberBrief>>> {
        let all = members::all_active(&mut can.read().await?).await?;
        let all: Vec<_> = all.into_iter().map(|member| MemberBrief::of(can.app(), member)).collect();
        Ok(Json(all.into()))
    }

    /// Show who the caller is here
    #[oai(path = "/me", method = "get", operation_id = "get_my_member")]
    async fn me(&self, can: Can<ViewMembers>) -> Answer<Json<MyMember>> {
        MyMember::load(can.app(), &mut can.read().await?).await.map(Json)
    }

    /// List the tours that the caller has taken
    ///
    /// By their ids: true for one that was completed, false for one that was skipped.
    #[oai(path = "/me/tours", method = "get", operation_id = "get_my_tours")]
    async fn tours(&self, can: Can<ViewMembers>) -> Answer<Json<TourMap>> {
        Ok(Json(members::tours(&mut can.read().await?).await?))
    }

    /// Note that the caller has completed or skipped a tour
    #[oai(path = "/me/tours", method = "post", operation_id = "set_my_tour")]
    async fn set_tour(&self, can: Can<EditOwnMember>, tour: Body<TourProgress>) -> Answer<Json<TourMap>> {
        can.change(async |db| members::set_tour(db, tour.0).await).await.map(Json)
    }

    /// Forget the caller's tours
    ///
    /// The one that the body names, or all of them.
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
    /// The address is invited, and its owner becomes a member by accepting; then the member begins with what is given
    /// here. The answer is the invitation, the same whether or not the address has an account. An address that is
    /// invited already is sent a new link. A role above the caller's is refused (403).
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
    /// One's own profile, or with `members:edit` anybody's. The caller can't change the role or the
    /// access of someone who is more than they are, nor give a role above their own; the last owner stays
    /// one (409 `last_owner`).
    #[oai(path = "/:member_id", method = "patch", operation_id = "update_member", tag = "Fails::LastOwner")]
    async fn update(
        &self,
        can: Can<EditMembers>,
        member_id: Path<MemberId>,
        changes: Body<MemberChanges>,
    ) -> Answer<Json<MemberProfile>> {
        let caller = (can.held(), can.reach());
        let update = async |db: &mut _| members::update(db, caller, member_id.0, changes.0).await;
        Ok(Json(shown(can.app(), can.change(update).await?)))
    }

    /// Set a member's picture
    ///
    /// The part `file` of the form: a PNG, JPEG, WebP or GIF picture of at most 5 MiB. One's own is the account's, in
    /// all workspaces. With `members:edit` that of somebody who isn't more than the caller: in this workspace, until the
    /// person sets one of their own; of an account that this workspace manages, the account's.
    #[oai(
        path = "/:member_id/avatar",
        method = "post",
        operation_id = "set_member_avatar",
        transform = "unhurried"
    )]
    async fn set_avatar(
        &self,
        can: Can<EditMembers>,
        member_id: Path<MemberId>,
        file: FileUpload,
    ) -> Answer<Json<MemberPicture>> {
        let caller = (can.role, can.reach());
        let whose = members::may_picture(&mut can.read().await?, caller, member_id.0).await?;
        let (app, file, actor) = (can.app(), file.read(MOST_BYTES).await?, can.actor());
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

    /// Show what deleting a member would mean
    #[oai(path = "/:member_id/deletion-info", method = "get", operation_id = "get_member_deletion_info")]
    async fn deletion_info(
        &self,
        can: Can<DeleteMembers>,
        member_id: Path<MemberId>,
    ) -> Answer<Json<DeletionInfo>> {
        Ok(Json(members::deletion_info(&mut can.read().await?, member_id.0).await?))
    }

    /// List what a member holds
    ///
    /// By type: recordsets, imports, exports, scheduled jobs and API keys that are theirs, and teams that
    /// they lead, with the newest 50 of each. Records are nobody's: who created them is only history.
    #[oai(path = "/:member_id/items", method = "get", operation_id = "list_member_items")]
    async fn items(&self, can: Can<ReassignMembers>, member_id: Path<MemberId>) -> Answer<Json<Holdings>> {
        Ok(Json(members::holdings(&mut can.read().await?, member_id.0).await?))
    }

    /// Hand what a member holds to another
    ///
    /// All of it, or only some types, at once or not at all. API keys get new secrets, shown in the answer and never again;
    /// the old ones end; this needs `api_keys:manage`, too. Scheduled jobs, also those that run as these keys, are only for a
    /// member who may have them run (422).
    #[oai(path = "/:member_id/reassign", method = "post", operation_id = "reassign_member_items")]
    async fn reassign(
        &self,
        can: Can<ReassignMembers>,
        member_id: Path<MemberId>,
        handover: Body<Handover>,
    ) -> Answer<Json<Reassigned>> {
        let (to, types) = (handover.to_member_id, handover.types.as_deref());
        can.change(async |db| members::reassign(db, can.held(), member_id.0, to, types).await).await.map(Json)
    }

    /// Take a member out
    ///
    /// They don't get in any more from that moment. The last owner stays (409 `last_owner`).
    #[oai(path = "/:member_id", method = "delete", operation_id = "delete_member", tag = "Fails::LastOwner")]
    async fn delete(
        &self,
        can: Can<DeleteMembers>,
        member_id: Path<MemberId>,
        /// Whether their membership goes, too, which it does if this is absent. Otherwise it is kept,
        /// switched off, and whoever accepts another invitation is the same member.
        remove_from_workspace: Query<Option<bool>>,
    ) -> Answer<NoContent> {
        let for_good = remove_from_workspace.unwrap_or(true);
        can.change(async |db| members::remove(db, can.role, member_id.0, for_good).await)
            .await
            .map(|()| NoContent)
    }

    /// Delete a member with their account, for good
    ///
    /// Only of an account that this workspace manages: that was made by accepting its invitation (409
    /// `account_not_managed`), and whose owner belongs to no other workspace (409 `in_other_workspaces`).
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
