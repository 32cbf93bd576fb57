//! Who the caller is in the workspace.

use std::collections::HashMap;

use api_kit::{Answer, App};
use chrono::{DateTime, Utc};
use domain::WorkspaceDb;
use domain_people::members::{self, MemberProfile};
use poem_openapi::Object;

/// Tours by their ids, with whether each was completed.
pub type TourMap = members::Tours;

/// The caller's own member.
#[derive(Debug, Object)]
pub struct MyMember {
    #[oai(flatten)]
    member: MemberProfile,
    /// How far they have been shown around.
    onboarding: Onboarding,
}

/// How far someone has been shown around.
#[derive(Debug, Object)]
pub struct Onboarding {
    /// Whether that is done.
    completed: bool,
    /// Since when.
    completed_at: Option<DateTime<Utc>>,
    /// Tours by their ids, with whether each was completed.
    tours: HashMap<String, bool>,
}

impl MyMember {
    /// The acting person's.
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
