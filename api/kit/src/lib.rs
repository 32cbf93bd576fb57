//! The common parts of all sections of the API: the caller and its permissions,
//! the one error type, bodies and answers, pages, links to jobs, and the edge that every request
//! passes. No SQL, which is in `domain`.

mod device;
pub mod document;

pub mod absent;
mod accept;
mod admissions;
mod always;
mod answer;
mod anyone;
mod app;
mod avatar;
mod body;
mod caller;
mod edge;
mod error;
mod fails;
mod idempotency;
mod impersonation;
mod job_started;
mod job_views;
mod jobs_stream;
mod log_stream;
mod need;
mod operator;
mod page;
mod paged;
mod part;
mod path_workspace;
mod permission;
mod rate_limit;
mod shared_secret;
mod signer;
mod sse;
mod strict;
mod times;
mod type_id;
mod upload;
mod wait;
mod watcher;
mod write;

pub use accept::accept_link;
pub use admissions::{Admissions, Admitted, Ended, Pass};
pub use always::Always;
pub use answer::{Accepted, Answer, Created, CreatedWrapped, Deleted, Envelope, NoContent, Wrapped};
pub use anyone::{Anyone, AnyoneInPerson};
pub use app::{ApiConfig, App, Services};
pub use avatar::{AVATARS, avatar_path, avatar_url};
pub use body::{Body, MaybeBody};
pub use caller::{Caller, InPerson, Known, SignedIn, Visitor};
pub use edge::{AmbiguousHost, ClientAddress, Edge, RequestId, no_deadline, watching};
pub use error::ApiError;
pub use fails::Fails;
pub use job_started::{JobStarted, JobsStreamUrl};
pub use job_views::{JobOutcome, JobViews, ShownJob};
pub use jobs_stream::{JobsFilter, JobsStart, JobsStream, ShownJobEvent};
pub use log_stream::{JobLog, JobLogLine, LogStream};
pub use operator::Operator;
pub use page::{
    CappedPage, Limit, Offset, Page, PageNumber, PageSize, PerPage, page_request, part_request,
    per_page_request,
};
pub use paged::{PagedEnvelope, Pagination};
pub use part::{Part, Whole};
pub use permission::{Access, Can, Either, Permission};
pub use rate_limit::RateLimiter;
pub use shared_secret::SharedSecret;
pub use signer::{AccessClaims, Opens, Signer, Ticket};
pub use sse::{JobStream, Shape, ShownEvent, Start};
pub use strict::Strict;
pub use type_id::{NotThatId, TypeId, id_of_kind, type_id_of, with_type_ids};
pub use upload::FileUpload;
pub use wait::wait_for_end;
pub use watcher::{ViewJobs, WatchedJobs, Watcher};

pub use domain::{access::Reach, callers::Credential};

/// The first line of a section's routes: `use api_kit::prelude::*;`.
pub mod prelude {
    pub use poem_openapi::{
        OpenApi, Tags,
        param::{Path, Query},
        payload::Json,
    };

    pub use crate::{
        Answer, Body, Can, Created, Fails, NoContent, Page, PageNumber, PageSize, Whole, page_request,
        permissions,
    };
}

/// For [`permissions!`]: whether the catalogue lists a permission.
#[doc(hidden)]
#[must_use]
pub const fn catalogue_lists(permission: &str) -> bool {
    domain::access::is_listed(permission)
}
