//! The origin of a request: actor, address, request id. Kept with a job, so that its effects are attributed
//! to the requester and to the job.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{JobId, TraceParent};

/// One of the HTTP surfaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// `/api/v1`
    #[default]
    Workspace,
    /// `/v1`
    Platform,
    /// `/ops`, the operator's.
    Ops,
}

/// The kind of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialType {
    /// A session.
    Session,
    /// A key of a workspace.
    ApiKey,
    /// A token of a user.
    PersonalToken,
}

/// Type of an actor in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorType {
    /// A user, by a session or a personal token.
    User,
    /// Staff acting as a user.
    Impersonator,
    /// A program of a workspace.
    ApiKey,
    /// The holder of the operator's token.
    Operator,
    /// A running job, on behalf of its requester.
    Job,
    /// A client without a credential.
    Visitor,
    /// The installation itself.
    System,
}

impl ActorType {
    /// The name in the audit log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Impersonator => "impersonator",
            Self::ApiKey => "api_key",
            Self::Operator => "operator",
            Self::Job => "job",
            Self::Visitor => "visitor",
            Self::System => "system",
        }
    }
}

/// The origin of a job or an action. Kept with the job and in the audit log; no decision depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Id of the HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// User id; null for API keys of a workspace, operators and the installation itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    /// Kind of credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_type: Option<CredentialType>,
    /// Id of the session, API key or personal token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<Uuid>,
    /// Staff account acting as the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impersonator_id: Option<Uuid>,
    /// Client address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// `User-Agent` of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Job whose run made the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// API surface of the request; links use it.
    #[serde(default)]
    pub surface: Surface,
    /// Position in a trace, which the job continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
}

impl Origin {
    /// Type of the actor.
    #[must_use]
    pub fn actor_type(&self) -> ActorType {
        if self.job_id.is_some() {
            ActorType::Job
        } else if self.impersonator_id.is_some() {
            ActorType::Impersonator
        } else if self.credential_type == Some(CredentialType::ApiKey) {
            ActorType::ApiKey
        } else if self.user_id.is_some() {
            ActorType::User
        } else if self.surface == Surface::Ops {
            ActorType::Operator
        } else if self.request_id.is_some() {
            ActorType::Visitor
        } else {
            ActorType::System
        }
    }

    /// The actor of a job's effects.
    #[must_use]
    pub fn of_run(&self, job: JobId) -> Self {
        Self { job_id: Some(job), ..self.clone() }
    }

    /// The form for events and the audit log.
    #[must_use]
    pub fn as_actor(&self) -> Value {
        json!({
            "actor_type": self.actor_type().name(),
            "user_id": self.user_id,
            "credential_type": self.credential_type,
            "credential_id": self.credential_id,
            "impersonator_id": self.impersonator_id,
            "job_id": self.job_id.map(|job| job.0),
            "ip": self.ip,
            "user_agent": self.user_agent,
            "request_id": self.request_id,
            "surface": self.surface,
        })
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When it is not an origin: an empty one would lose the requester.
    pub(crate) fn read(kept: Value) -> Result<Self, sqlx::Error> {
        let origin = match kept {
            Value::Object(_) => serde_json::from_value(kept),
            // An array would be accepted as an origin without members.
            other => Err(serde::de::Error::custom(format!("an origin is an object, not {other}"))),
        };
        origin.map_err(|error: serde_json::Error| sqlx::Error::ColumnDecode {
            index: "origin".to_owned(),
            source: error.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { request_id: Some("r".to_owned()), ..Origin::default() }
    }

    #[test]
    fn each_actor_has_the_kind_of_what_is_known_of_it() {
        let id = Uuid::from_u128(1);
        let user = Origin { user_id: Some(id), credential_type: Some(CredentialType::Session), ..origin() };
        let key =
            Origin { credential_type: Some(CredentialType::ApiKey), credential_id: Some(id), ..origin() };
        for (origin, kind) in [
            (Origin::default(), ActorType::System),
            (origin(), ActorType::Visitor),
            (Origin { surface: Surface::Ops, ..origin() }, ActorType::Operator),
            (Origin { impersonator_id: Some(id), ..user.clone() }, ActorType::Impersonator),
            (user.of_run(JobId(id)), ActorType::Job),
            (user, ActorType::User),
            (key, ActorType::ApiKey),
        ] {
            assert_eq!(origin.actor_type(), kind, "{origin:?}");
        }
    }

    #[test]
    fn what_is_no_origin_is_an_error_and_not_an_empty_one() {
        for kept in [json!(null), json!([]), json!({"user_id": "x"}), json!({"surface": "moon"})] {
            assert!(Origin::read(kept.clone()).is_err(), "{kept}");
        }
        let kept = serde_json::to_value(origin()).unwrap();
        assert_eq!(Origin::read(kept).unwrap(), origin());
    }
}
