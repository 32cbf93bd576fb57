//! The caller's own member.

use std::collections::HashMap;

use api_kit::{Answer, App};
use chrono::{DateTime, Utc};
use domain::WorkspaceDb;
use domain_people::members::{self, MemberProfile};
use poem_openapi::Object;

/// Tour ids with whether each tour was completed.
pub type TourMap = members::Tours;

/// The caller's own member.
#[derive(Debug, Object)]
pub struct MyMember {
    #[oai(flatten)]
    member: MemberProfile,
    /// Onboarding state.
    onboarding: Onboarding,
}

/// Onboarding state of a member.
#[derive(Debug, Object)]
pub struct Onboarding {
    /// Whether the onboarding is completed.
    completed: bool,
    /// Completion time; null if the onboarding is not completed.
    completed_at: Option<DateTime<Utc>>,
    /// Tour ids, each with true if the tour was completed and false if it was skipped.
    tours: HashMap<String, bool>,
}

impl MyMember {
    /// The member of the acting account.
    pub async fn load(app: &App, db: &mut WorkspaceDb) -> Answer<Self> {
        let member = members::own(db).await?;
        let tours = members::tours(db).await?;
        let onboarding = Onboarding {
            completed: member.onboarded_at.is_some(),
            completed_at: member.onboarded_at,
            tours: tours.into_iter().collect(),
        };
        Ok(Self { member: super::shown(app, member), onboarding })
    }
}
