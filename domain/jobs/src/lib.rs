//! Jobs as clients set them up: scheduled jobs, and which kinds of job there are.

pub mod job_kinds;
pub mod scheduled_jobs;

/// Makes the kinds of job of all areas known to the process. Every program does so when it starts.
pub fn install_kinds() {
    jobs::kinds::install(&[
        domain::job_kinds::KINDS,
        domain_accounts::job_kinds::KINDS,
        domain_data::job_kinds::KINDS,
        domain_people::job_kinds::KINDS,
        job_kinds::KINDS,
    ]);
}
