//! The error codes, by status: a closed list, which the documents show and a test holds the code against.

/// A status that an error may have.
pub(super) struct Failure {
    pub(super) status: &'static str,
    /// What the answer and its schema are called in the documents.
    pub(super) name: &'static str,
    pub(super) codes: &'static [(&'static str, &'static str)],
}

impl Failure {
    /// Whether that is one of its codes.
    pub(super) fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|(listed, _)| *listed == code)
    }
}

/// Every code, with what it means.
pub(super) const FAILURES: [Failure; 14] = [
    Failure {
        status: "400",
        name: "BadRequest",
        codes: &[
            ("invalid_json", "the body is not JSON, or ended early"),
            ("bad_request", "the request cannot be read for another reason"),
            ("signature_invalid", "a notice is not from Stripe"),
        ],
    },
    Failure {
        status: "401",
        name: "Unauthorized",
        codes: &[
            ("token_missing", "the request carries no credential"),
            ("credentials_invalid", "no account has this address and this password"),
            ("token_invalid", "the credential is not valid, or no longer"),
            (
                "sign_in_required",
                "the workspace asks for a more recent sign-in, which a refresh does not replace",
            ),
        ],
    },
    Failure {
        status: "402",
        name: "PaymentRequired",
        codes: &[
            ("limit_exceeded", "more than the plan or the installation allows"),
            ("payment_refused", "the means of payment was refused"),
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
            ("record_not_found", "no such thing, or the caller may not see it"),
            ("route_not_found", "no such path"),
        ],
    },
    Failure {
        status: "408",
        name: "RequestTimeout",
        codes: &[("body_too_slow", "the body came too slowly, or not at all")],
    },
    Failure {
        status: "409",
        name: "Conflict",
        codes: &[
            ("account_deactivated", "the account is switched off"),
            ("account_not_managed", "the account belongs to its owner, not to the workspace"),
            ("address_not_verified", "the account's owner has not verified its email address"),
            ("already_in_team", "the person is in the team"),
            ("already_member", "the person is a member of the workspace"),
            ("clerk_id_taken", "another account has this Clerk id"),
            ("duplicate_job", "another job does the same at the moment"),
            ("email_taken", "another account has this email address"),
            ("export_not_finished", "the export has no file yet"),
            ("in_other_workspaces", "the account belongs to other workspaces, too"),
            ("job_not_failed", "only a failed or cancelled job can be retried"),
            ("job_not_over", "the job has not ended"),
            ("job_not_waiting", "the job runs already, or has ended"),
            ("job_over", "the job has ended"),
            ("key_expired", "the key has expired"),
            ("key_revoked", "the key is revoked"),
            ("last_owner", "the workspace would have no owner"),
            ("module_taken", "the workspace has settings of this module"),
            ("name_taken", "another one has this name"),
            ("owner_immutable", "the owner's role cannot be changed"),
            ("provisioning_failed", "the workspace could not be made"),
            ("request_running", "a request with this Idempotency-Key is still running"),
            ("signup_failed", "the sign-up has failed"),
            ("signup_pending", "the sign-up has not ended"),
            ("slug_taken", "another one has this slug"),
            ("team_has_children", "the team has teams below it"),
            ("token_revoked", "the token is revoked"),
            ("user_inactive", "the account is switched off"),
            ("version_conflict", "the thing was changed since it was read"),
            ("worker_leaving", "the worker is draining"),
        ],
    },
    Failure {
        status: "410",
        name: "Gone",
        codes: &[("gone", "the thing has expired, was withdrawn or has been used")],
    },
    Failure {
        status: "413",
        name: "PayloadTooLarge",
        codes: &[("payload_too_large", "more bytes than the route takes")],
    },
    Failure {
        status: "415",
        name: "UnsupportedMediaType",
        codes: &[("unsupported_media_type", "the route takes another content type")],
    },
    Failure {
        status: "422",
        name: "UnprocessableContent",
        codes: &[
            ("parameter_missing", "required values are absent; `fields` names them"),
            ("parameter_unknown", "the operation has no such parameters or members; `fields` names them"),
            ("record_invalid", "values break a rule; `fields` says which"),
            ("idempotency_key_reused", "the Idempotency-Key was sent with another request"),
        ],
    },
    Failure {
        status: "429",
        name: "TooManyRequests",
        codes: &[
            ("rate_limited", "too many requests; `Retry-After` says when to come back"),
            ("sign_in_locked", "too many wrong passwords; `Retry-After` says when to try again"),
            ("mail_limit_reached", "too many mails; `Retry-After` says when to try again"),
        ],
    },
    Failure {
        status: "500",
        name: "InternalServerError",
        codes: &[("internal", "a fault of the service; `request_id` helps to find it")],
    },
    Failure {
        status: "503",
        name: "ServiceUnavailable",
        codes: &[
            ("timeout", "the request took longer than 30 s, or one statement of it longer than 20 s"),
            ("overloaded", "too much is under way; `Retry-After` says when to come back"),
            (
                "migration_required",
                "the workspace's tables are behind the release; its people can start the migration",
            ),
            ("workspace_not_ready", "the workspace is still being made"),
            ("storage_full", "no room for files"),
            ("clerk_not_configured", "the installation has no CLERK_SECRET"),
            ("stripe_unavailable", "Stripe does not answer, or not as it should"),
            ("stripe_not_configured", "the installation takes no payments"),
            ("database_unreachable", "PostgreSQL does not answer"),
            ("storage_unreachable", "the store of files takes no writes"),
            ("operator_token_not_set", "the installation has no OPERATOR_TOKEN"),
            ("redis_unreachable", "Redis takes no writes"),
            ("stopping", "the process is about to stop"),
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
