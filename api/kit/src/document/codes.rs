//! The error codes, by status: a closed list, which the documents show and a test compares with the code.

/// A status that an error may have.
pub(super) struct Failure {
    pub(super) status: &'static str,
    /// Name of the answer and of its schema in the documents.
    pub(super) name: &'static str,
    pub(super) codes: &'static [(&'static str, &'static str)],
}

impl Failure {
    /// Whether the code has this status.
    pub(super) fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|(listed, _)| *listed == code)
    }
}

/// All codes with their meaning.
pub(super) const FAILURES: [Failure; 14] = [
    Failure {
        status: "400",
        name: "BadRequest",
        codes: &[
            ("invalid_json", "the body is not valid JSON, or is incomplete"),
            ("bad_request", "the request cannot be read for another reason"),
            ("signature_invalid", "the webhook event is not signed by Stripe"),
        ],
    },
    Failure {
        status: "401",
        name: "Unauthorized",
        codes: &[
            ("token_missing", "the request carries no credential"),
            ("credentials_invalid", "no account has this address and this password"),
            ("token_invalid", "the credential is invalid or has expired"),
            (
                "sign_in_required",
                "the workspace requires a more recent sign-in; refreshing a token does not replace it",
            ),
        ],
    },
    Failure {
        status: "402",
        name: "PaymentRequired",
        codes: &[
            ("limit_exceeded", "a limit of the plan or the installation is reached"),
            ("payment_refused", "the payment method was refused"),
        ],
    },
    Failure {
        status: "403",
        name: "Forbidden",
        codes: &[
            ("forbidden", "the caller lacks a permission, a scope or an allowed address"),
            ("token_read_only", "a read-only personal token cannot write"),
            ("origin_not_allowed", "the page's origin is not listed in CORS_ORIGINS"),
        ],
    },
    Failure {
        status: "404",
        name: "NotFound",
        codes: &[
            ("record_not_found", "the resource does not exist, or the caller may not see it"),
            ("route_not_found", "the path does not exist"),
        ],
    },
    Failure {
        status: "408",
        name: "RequestTimeout",
        codes: &[("body_too_slow", "the request body arrived too slowly")],
    },
    Failure {
        status: "409",
        name: "Conflict",
        codes: &[
            ("account_deactivated", "the account is deactivated"),
            ("account_not_managed", "the account belongs to its owner, not to the workspace"),
            ("address_not_verified", "the account's owner has not verified its email address"),
            ("already_in_team", "the member is in the team already"),
            ("already_member", "the person is a member of the workspace already"),
            ("clerk_id_taken", "another account has this Clerk id"),
            ("duplicate_job", "another unfinished job does the same work"),
            ("email_taken", "another account has this email address"),
            ("export_not_finished", "the export has no file yet"),
            ("in_other_workspaces", "the account belongs to other workspaces, too"),
            ("job_not_failed", "only a failed or cancelled job can be retried"),
            ("job_not_over", "the job has not ended"),
            ("job_not_waiting", "the job is running or has ended"),
            ("job_over", "the job has ended"),
            ("key_expired", "the key has expired"),
            ("key_revoked", "the key is revoked"),
            ("last_owner", "the workspace would be left without an owner"),
            ("module_taken", "the module is set up already"),
            ("name_taken", "another resource has this name"),
            ("owner_immutable", "the owner's role cannot be changed"),
            ("provisioning_failed", "the workspace could not be created"),
            ("request_running", "a request with this Idempotency-Key is still running"),
            ("signup_failed", "the sign-up has failed"),
            ("signup_pending", "the sign-up has not ended"),
            ("slug_taken", "another resource has this slug"),
            ("team_has_children", "the team has teams below it"),
            ("token_revoked", "the token is revoked"),
            ("user_inactive", "the account is deactivated"),
            ("version_conflict", "the resource has changed since it was read"),
            ("worker_leaving", "the worker is draining"),
        ],
    },
    Failure {
        status: "410",
        name: "Gone",
        codes: &[("gone", "the resource has expired, was withdrawn or has been used")],
    },
    Failure {
        status: "413",
        name: "PayloadTooLarge",
        codes: &[("payload_too_large", "the request body is larger than the route accepts")],
    },
    Failure {
        status: "415",
        name: "UnsupportedMediaType",
        codes: &[("unsupported_media_type", "the route requires another content type")],
    },
    Failure {
        status: "422",
        name: "UnprocessableContent",
        codes: &[
            ("parameter_missing", "required values are absent; `fields` names them"),
            ("parameter_unknown", "unknown parameters or members; `fields` names them"),
            ("record_invalid", "values are invalid; `fields` has the reasons"),
            ("idempotency_key_reused", "the Idempotency-Key was sent with another request"),
        ],
    },
    Failure {
        status: "429",
        name: "TooManyRequests",
        codes: &[
            ("rate_limited", "rate limit exceeded; retry after the seconds in `Retry-After`"),
            (
                "sign_in_locked",
                "too many wrong passwords or access codes; retry after the seconds in `Retry-After`",
            ),
            ("mail_limit_reached", "too many emails; retry after the seconds in `Retry-After`"),
        ],
    },
    Failure {
        status: "500",
        name: "InternalServerError",
        codes: &[("internal", "internal error; quote `request_id` when reporting it")],
    },
    Failure {
        status: "503",
        name: "ServiceUnavailable",
        codes: &[
            ("timeout", "the request took longer than 30 s, or one statement of it longer than 20 s"),
            ("overloaded", "the service is overloaded; retry after the seconds in `Retry-After`"),
            (
                "migration_required",
                "the workspace's tables must be migrated; a member can start the migration",
            ),
            ("workspace_not_ready", "the workspace is still being created"),
            ("storage_full", "the file storage is full"),
            ("clerk_not_configured", "the installation has no CLERK_SECRET"),
            (
                "stripe_unavailable",
                "Stripe does not answer, answers with an error, or refuses this installation",
            ),
            ("stripe_not_configured", "payments are not enabled in this installation"),
            (
                "database_unreachable",
                "PostgreSQL is unreachable or accepts no writes; retry after the seconds in `Retry-After`",
            ),
            ("storage_unreachable", "the file storage accepts no writes"),
            ("operator_token_not_set", "the installation has no OPERATOR_TOKEN"),
            ("redis_unreachable", "Redis accepts no writes"),
            ("stopping", "the process is stopping"),
        ],
    },
];

#[cfg(test)]
mod tests {
    use poem_openapi::{Tags, registry::Registry};

    use super::FAILURES;
    use crate::Fails;

    #[test]
    fn what_operations_can_declare_is_listed_and_every_code_about_state_can_be_declared() {
        let mut registry = Registry::default();
        Fails::Gone.register(&mut registry);
        let declarable: Vec<_> = registry.tags.iter().map(|tag| tag.name).collect();
        for code in &declarable {
            assert!(FAILURES.iter().any(|failure| failure.has(code)), "{code} is not listed");
        }
        for failure in FAILURES.iter().filter(|failure| ["402", "409", "410"].contains(&failure.status)) {
            for (code, _) in failure.codes {
                assert!(declarable.contains(code) || *code == crate::idempotency::RUNNING, "{code}");
            }
        }
    }
}
