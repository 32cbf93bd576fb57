//! Job handlers, each under the name of its area, and the common parts of the binaries in `src/bin`.
//!
//! A handler's documentation says what happens when its process is killed at any line. The engine in `jobs`
//! does the rest: claiming, leases, retries, progress, cancelling.

pub mod accounts;
pub mod deliveries;
pub mod engine;
pub mod export;
pub mod import;
mod listen;
pub mod maintenance;
pub mod migration;
pub mod process;
pub mod provisioning;
pub mod retention;

use std::{sync::Arc, time::Duration};

use domain_accounts::job_kinds::SweepAccounts;
use domain_data::job_kinds::SweepUploads;
use jobs::{JobError, Recurring, Registry, kinds::PruneJobs};
use runtime::{
    settings::SettingError,
    storage::{Storage, StorageError},
    stripe::Payments,
    webhooks::{SigningKey, WebhookSender},
};
use url::Url;

/// The resources of handlers.
#[derive(Debug)]
pub struct Services {
    /// The database and the bus.
    pub database: jobs::Database,
    /// Storage of files' bytes.
    pub storage: Storage,
    /// Transport of email.
    pub mailer: Arc<dyn runtime::mail::Mailer>,
    /// Sender of webhooks.
    pub webhooks: Arc<dyn WebhookSender>,
    /// Key for signing them, if this process knows the installation's secret.
    pub signing: Option<SigningKey>,
    /// Access to payments.
    pub payments: Payments,
    /// URL of the web app, for links in emails.
    pub app_url: Url,
}

impl Services {
    /// The services of a process's configuration.
    ///
    /// # Errors
    /// The first variable whose service is not available.
    pub fn new(database: jobs::Database, config: &process::Config) -> Result<Self, SettingError> {
        Ok(Self {
            database,
            storage: config.storage.clone(),
            mailer: Arc::clone(&config.mailer),
            webhooks: Arc::clone(&config.webhooks),
            signing: config.signing.clone(),
            payments: config.payments.clone(),
            app_url: config.app_url.clone(),
        })
    }
}

/// All kinds that this release handles.
#[must_use]
pub fn registry(services: &Arc<Services>) -> Registry {
    domain_jobs::install_kinds();
    let registry = Registry::new()
        .on(services, engine::no_op)
        .on(services, engine::steps)
        .on(services, import::import_records)
        .on(services, import::discard_import)
        .on(services, export::export_records)
        .on(services, export::scheduled_export)
        .on(services, maintenance::sweep_uploads)
        .on(services, provisioning::provision_workspace)
        .on(services, migration::migrate_workspace)
        .on(services, deliveries::send_mail)
        .on(services, deliveries::call_webhook)
        .on(services, accounts::write_to_account)
        .on(services, accounts::sweep_accounts)
        .on(services, deliveries::mail_workspaces);
    let policies = Arc::new(registry.retention());
    registry.on(&policies, retention::prune_jobs)
}

/// The jobs that the scheduler enqueues periodically.
///
/// # Errors
/// When a payload can't be serialised.
pub fn recurring() -> serde_json::Result<Vec<Recurring>> {
    Ok(vec![
        Recurring::every(Duration::from_secs(3600), "sweep uploads", &SweepUploads {})?,
        Recurring::every(Duration::from_secs(3600), "sweep accounts", &SweepAccounts {})?,
        Recurring::every(Duration::from_secs(600), "prune jobs", &PruneJobs {})?,
    ])
}

/// A failure of the file storage. A full or unreachable one is no failure of the job.
fn storage_failed(error: StorageError) -> JobError {
    match error {
        StorageError::Full => JobError::Away(error.to_string()),
        StorageError::Failed(cause) => {
            tracing::warn!(error = %cause, "the file storage failed");
            JobError::Away("the file storage is unreachable".to_owned())
        }
        other => JobError::retry(other),
    }
}
