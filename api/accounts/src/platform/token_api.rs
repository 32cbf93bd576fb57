//! The owner of a token, and the workspaces that it gives access to. Contract section "Token API" (P-TOK), whose
//! answers and errors have a form of their own: no envelope, and `{"error", "detail"}`.

use api_kit::{Answer, ApiError, App, Known, PageNumber, Pagination, PerPage, TypeId, per_page_request};
use chrono::{DateTime, Utc};
use domain::{
    WorkspaceId,
    access::{Role, Scope},
    callers::Principal,
};
use domain_accounts::token_api::{self, Bearer, Book, Person};
use poem::web::Data;
use poem_openapi::{Enum, Object, OpenApi, Tags, param::Query, payload::Json};

/// The kind of a credential.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum CredentialKind {
    /// A session of a signed-in user.
    Session,
    /// An API key of a tenant.
    ApiKey,
    /// A personal token of a user.
    PersonalToken,
}

/// The owner of a token.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct TokenOwner {
    /// User id, or the id of an API key.
    id: String,
    /// Name of the user or the key.
    name: String,
    /// Email address of the user; null for an API key.
    email: Option<String>,
    /// Credential of the request.
    credential: TokenCredential,
}

/// The credential of a request.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct TokenCredential {
    /// Kind of credential.
    #[oai(rename = "type")]
    kind: CredentialKind,
    /// Name of the key or token; null for a session.
    name: Option<String>,
    /// First characters of the key or token; null for a session.
    prefix: Option<String>,
    /// Granted scopes; null for a session, which has all permissions of its user.
    scopes: Option<Vec<Scope>>,
    /// Id of the only book that the credential is valid for; null if it is not limited to one.
    book_id: Option<TypeId<WorkspaceId>>,
    /// Expiry time; null if the credential does not expire.
    expires_at: Option<DateTime<Utc>>,
}

/// A workspace that a token gives access to.
#[derive(Debug, Object)]
struct TokenBook {
    /// Workspace id; the same as its `tenant_id`, and the value of `X-Workspace-Id`.
    id: TypeId<WorkspaceId>,
    /// Name.
    name: String,
    /// Slug: the name in URLs.
    slug: String,
    /// Role of the caller in the workspace.
    role: Role,
}

/// A page of books.
#[derive(Debug, Object)]
struct TokenBooks {
    /// Books of this page, sorted by name.
    data: Vec<TokenBook>,
    /// Position of the page in the list.
    pagination: Pagination,
}

impl From<Book> for TokenBook {
    fn from(book: Book) -> Self {
        Self { id: TypeId(book.id), name: book.name, slug: book.slug, role: book.role }
    }
}

impl TokenCredential {
    fn of(principal: &Principal, bearer: Option<Bearer>) -> Self {
        let kind = match principal {
            Principal::Session { .. } => CredentialKind::Session,
            Principal::ApiKey { .. } => CredentialKind::ApiKey,
            Principal::PersonalToken { .. } => CredentialKind::PersonalToken,
        };
        match bearer {
            None => Self { kind, name: None, prefix: None, scopes: None, book_id: None, expires_at: None },
            Some(bearer) => Self {
                kind,
                name: Some(bearer.name),
                prefix: Some(bearer.prefix),
                scopes: Some(bearer.scopes),
                book_id: bearer.workspace.map(TypeId),
                expires_at: bearer.expires_at,
            },
        }
    }
}

#[derive(Tags)]
enum Tag {
    /// The owner of a token, and the books that it gives access to.
    #[oai(rename = "Token API")]
    TokenApi,
}

/// Routes of the section.
pub struct TokenApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::TokenApi")]
impl TokenApi {
    /// Show the owner of the token
    ///
    /// A key or token needs the scope `read`.
    #[oai(path = "/me", method = "get", operation_id = "get_token_owner")]
    async fn me(&self, app: Data<&App>, caller: Known) -> Answer<Json<TokenOwner>> {
        let mut reader = app.database.reader().await?;
        let bearer = token_api::reading(reader.conn(), &caller.principal).await?;
        let (id, name, email) = match (&caller.principal, caller.user()) {
            (&Principal::ApiKey { key, .. }, _) => {
                let name = bearer.as_ref().map_or_else(String::new, |bearer| bearer.name.clone());
                (TypeId(key).to_string(), name, None)
            }
            (_, Some(user)) => {
                let person = token_api::person(reader.conn(), user).await?;
                let Person { id, email, name } = person.ok_or_else(ApiError::token_invalid)?;
                (TypeId(id).to_string(), name, Some(email))
            }
            (Principal::Session { .. } | Principal::PersonalToken { .. }, None) => {
                return Err(ApiError::token_invalid());
            }
        };
        let credential = TokenCredential::of(&caller.principal, bearer);
        Ok(Json(TokenOwner { id, name, email, credential }))
    }

    /// List the books that the token gives access to
    ///
    /// A book is a workspace; books that the caller may not enter now from this address are left out. A key or
    /// token needs the scope `read`.
    #[oai(path = "/books", method = "get", operation_id = "list_books")]
    async fn books(
        &self,
        app: Data<&App>,
        caller: Known,
        /// Page number, from 1.
        #[oai(default)]
        page: Query<PageNumber>,
        /// Books per page: 25 by default, at most 100.
        #[oai(default)]
        per_page: Query<PerPage>,
    ) -> Answer<Json<TokenBooks>> {
        let entered = caller.authorities(&app, None).await?;
        let mut reader = app.database.reader().await?;
        token_api::reading(reader.conn(), &caller.principal).await?;
        let request = per_page_request(page.0, per_page.0);
        let books = token_api::books(reader.conn(), &entered, request).await?;
        let pagination = Pagination::new(request, books.total);
        Ok(Json(TokenBooks { data: books.items.into_iter().map(TokenBook::from).collect(), pagination }))
    }
}
