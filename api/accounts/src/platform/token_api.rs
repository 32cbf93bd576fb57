//! Who is behind a token, and which workspaces it opens. Contract section "Token API" (P-TOK), whose answers and
//! errors have a form of their own: no envelope, and `{"error", "detail"}`.

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

/// With what a caller came.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum CredentialKind {
    /// A sign-in.
    Session,
    /// A key of a tenant.
    ApiKey,
    /// A token of a person.
    PersonalToken,
}

/// Who calls.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct TokenOwner {
    /// The person, or the key that calls by itself.
    id: String,
    /// What they are called.
    name: String,
    /// The person's address.
    email: Option<String>,
    /// With what they came.
    credential: TokenCredential,
}

/// With what a caller came.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct TokenCredential {
    /// What it is.
    #[oai(rename = "type")]
    kind: CredentialKind,
    /// What it is called.
    name: Option<String>,
    /// Its first characters.
    prefix: Option<String>,
    /// What it may do; of a session: whatever its person may.
    scopes: Option<Vec<Scope>>,
    /// The only book that it opens.
    book_id: Option<TypeId<WorkspaceId>>,
    /// When it is over by itself.
    expires_at: Option<DateTime<Utc>>,
}

/// A workspace that a token opens.
#[derive(Debug, Object)]
struct TokenBook {
    /// Its id: also its `tenant_id`, and what `X-Workspace-Id` names.
    id: TypeId<WorkspaceId>,
    /// What it is called.
    name: String,
    /// Its name for URLs.
    slug: String,
    /// What the caller is there.
    role: Role,
}

/// A page of books.
#[derive(Debug, Object)]
struct TokenBooks {
    /// The books of this page, by name.
    data: Vec<TokenBook>,
    /// Where in the list they are.
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
    /// Who is behind a token, and what it opens.
    #[oai(rename = "Token API")]
    TokenApi,
}

/// See the module.
pub struct TokenApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::TokenApi")]
impl TokenApi {
    /// Tell who is behind the token
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

    /// List the books that the token opens
    ///
    /// A book is a workspace; those that the caller may not enter now, from this address, are left out. A key or token needs the scope `read`.
    #[oai(path = "/books", method = "get", operation_id = "list_books")]
    async fn books(
        &self,
        app: Data<&App>,
        caller: Known,
        /// Which page, from 1.
        #[oai(default)]
        page: Query<PageNumber>,
        /// Books on a page: 25 unless given, at most 100.
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
