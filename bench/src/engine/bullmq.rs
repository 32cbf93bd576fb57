//! The yardstick: BullMQ, as `script/bench` has installed it.

use std::{path::PathBuf, process::Command};

use super::{CONCURRENCY, DRAINED, Figures, SINGLE, TIMED};
use crate::{Failure, variable};

/// A folder with BullMQ and the script that measures it.
pub struct BullMq(PathBuf);

impl BullMq {
    /// `None` where the script could not install it, and has said so.
    pub fn installed() -> Option<Self> {
        variable("BENCH_BULLMQ").ok().map(|folder| Self(folder.into()))
    }

    /// One run, on our Redis.
    pub fn run(&self) -> Result<Figures, Failure> {
        let output = Command::new("node")
            .arg(self.0.join("measure.mjs"))
            .args([DRAINED, SINGLE, TIMED, CONCURRENCY].map(|number| number.to_string()))
            .output()?;
        if !output.status.success() {
            return Err(format!("BullMQ failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
