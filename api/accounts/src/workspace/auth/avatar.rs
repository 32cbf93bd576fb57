//! Avatar images: their upload, and the links by which browsers fetch them.

use api_kit::{Answer, ApiError, App, Fails, FileUpload, InPerson, TypeId, avatar_url, no_deadline};
use bytes::Bytes;
use domain::{Actor, UserId, WorkspaceId};
use domain_accounts::{
    avatars::{self, MAX_BYTES},
    users::peers::{self, Peer, PictureOf},
};
use futures::{StreamExt, stream::BoxStream};
use poem::{Body, IntoResponse, Response, http::header, web::Data};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
};
use uuid::Uuid;

use super::{Tag, profile::within};

const WEBP: &str = "image/webp";
/// An image never changes under its URL, and its link expires.
const KEEP: &str = "private, max-age=86400, immutable";

/// A newly set avatar image.
#[derive(Debug, Object)]
struct Avatar {
    /// URL of the avatar image; a link that is valid for one to two days.
    avatar_url: Option<String>,
}

/// Routes of the section.
pub struct AvatarApi;

#[OpenApi(tag = "Tag::Authentication")]
impl AvatarApi {
    /// Set the caller's avatar image
    ///
    /// The form's part `file`: a PNG, JPEG, WebP or GIF image of at most 5 MiB and 8192 pixels a side. It
    /// is stored with at most 512 pixels a side, without its metadata, and shown in all workspaces of the account.
    #[oai(
        path = "/auth/me/avatar",
        method = "post",
        operation_id = "set_own_avatar",
        transform = "no_deadline",
        tag = "Fails::RecordNotFound"
    )]
    async fn set_own(
        &self,
        app: Data<&App>,
        caller: InPerson,
        #[oai(name = "X-Workspace-Id")] workspace: Header<Option<TypeId<WorkspaceId>>>,
        file: FileUpload,
    ) -> Answer<Json<Avatar>> {
        let within = workspace.0.map(|id| id.0);
        if let Some(workspace) = within {
            caller.authority_in(&app, workspace).await?;
        }
        set(&app, &caller.actor(), caller.user, within, file).await
    }

    /// Set a user's avatar image
    ///
    /// Needs the permission `members:edit` in a workspace that both belong to, and a role there that equals or
    /// outranks the user's. The image is shown in that workspace, until the user sets an image of their own; for an
    /// account that the workspace manages, it is set on the account. `X-Workspace-Id` names the workspace if
    /// both belong to several.
    #[oai(
        path = "/auth/:user_id/avatar",
        method = "post",
        operation_id = "set_user_avatar",
        transform = "no_deadline"
    )]
    async fn set(
        &self,
        app: Data<&App>,
        caller: InPerson,
        user_id: Path<UserId>,
        #[oai(name = "X-Workspace-Id")] workspace: Header<Option<TypeId<WorkspaceId>>>,
        file: FileUpload,
    ) -> Answer<Json<Avatar>> {
        let user = user_id.0;
        let (within, entered) = within(&app, &caller, workspace.0).await?;
        let peer = Peer::new(caller.user, &entered, within);
        match peers::picture_of(&app.database, peer, user).await? {
            PictureOf::Account => set(&app, &caller.actor(), user, within, file).await,
            PictureOf::Member(place) => {
                let (file, whose) = (file.read(MAX_BYTES).await?, (place, user));
                let picture =
                    avatars::set_for_member(&app.database, &app.storage, &caller.actor(), whose, file)
                        .await?;
                Ok(Json(Avatar { avatar_url: avatar_url(&app, Some(picture)) }))
            }
        }
    }

    /// Download an avatar image
    ///
    /// By a link from another answer, without an `Authorization` header.
    #[oai(
        path = "/avatars/:folder_id/:file",
        method = "get",
        operation_id = "get_avatar",
        tag = "Fails::Forbidden"
    )]
    async fn fetch(
        &self,
        app: Data<&App>,
        folder_id: Path<Uuid>,
        file: Path<String>,
        /// Expiry time of the link, in seconds since 1970.
        exp: Query<i64>,
        /// Signature of the link.
        sig: Query<String>,
    ) -> Answer<Picture> {
        let key = avatars::key(folder_id.0, &file).ok_or_else(ApiError::not_found)?;
        let path =
            api_kit::avatar_path(&domain::pictures::reference(&key)).ok_or_else(ApiError::not_found)?;
        if !app.keys.check_download(&path, exp.0, &sig) {
            return Err(ApiError::forbidden("the link is invalid or has expired; request a new one"));
        }
        let bytes = app.storage.stream(&key).await?;
        Ok(Picture(bytes.map(|chunk| chunk.map_err(std::io::Error::other)).boxed()))
    }
}

async fn set(
    app: &App,
    actor: &Actor,
    user: UserId,
    workspace: Option<WorkspaceId>,
    file: FileUpload,
) -> Answer<Json<Avatar>> {
    let file = file.read(MAX_BYTES).await?;
    let folder = workspace.map_or(user.0, |workspace| workspace.0);
    let reference = avatars::set(&app.database, &app.storage, actor, user, folder, file).await?;
    Ok(Json(Avatar { avatar_url: avatar_url(app, Some(reference)) }))
}

/// The stream of an image.
struct Picture(BoxStream<'static, std::io::Result<Bytes>>);

impl IntoResponse for Picture {
    fn into_response(self) -> Response {
        Response::builder()
            .header(header::CONTENT_TYPE, WEBP)
            .header(header::CACHE_CONTROL, KEEP)
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .body(Body::from_bytes_stream(self.0))
    }
}

impl ApiResponse for Picture {
    fn meta() -> MetaResponses {
        let schema = MetaSchema::new_with_format("string", "binary");
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The image.",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType {
                    content_type: WEBP,
                    schema: MetaSchemaRef::Inline(Box::new(schema)),
                }],
                headers: vec![],
            }],
        }
    }

    fn register(_: &mut Registry) {}
}
