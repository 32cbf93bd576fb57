//! The workspace that a request's path names.
//!
//! The framework numbers the parameters of a path, whatever a route calls them, so that the one behind
//! `/workspaces` is recognised by its position: `/api/v1/workspaces/:param0/members`.

use poem::{PathPattern, Request};

/// The value behind `/workspaces/` in the path, where the route has a parameter there.
pub(crate) fn workspace_in_path(request: &Request) -> Option<&str> {
    let pattern = &request.data::<PathPattern>()?.0;
    let (before, _) = pattern.split_once("/:param0")?;
    if before.ends_with("/workspaces") { request.raw_path_param("param0") } else { None }
}
