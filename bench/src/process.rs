//! Millrace's binaries as child processes that end with the bench.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Failure, variable};

/// A running process; dropping it stops it.
pub struct Process(Child);

impl Process {
    /// Starts a binary of `MILLRACE_BIN` with further variables.
    pub fn start(name: &str, variables: &[(&str, &str)]) -> Result<Self, Failure> {
        let folder = PathBuf::from(variable("MILLRACE_BIN")?);
        let mut command = Command::new(folder.join(name));
        command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
        Self::of(&mut command, name)
    }

    /// Starts a program that is not ours.
    pub fn of(command: &mut Command, name: &str) -> Result<Self, Failure> {
        Ok(Self(command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?))
    }

    /// The most memory that it has had, in MiB.
    pub fn peak_memory(&self) -> Result<f64, Failure> {
        Ok(self.kib("VmHWM:")? / 1024.0)
    }

    /// The memory that it has now, in bytes.
    pub fn memory(&self) -> Result<f64, Failure> {
        Ok(self.kib("VmRSS:")? * 1024.0)
    }

    /// A line of its status, see proc(5).
    fn kib(&self, name: &str) -> Result<f64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or(format!("no {name}"))?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Ends it at once, by SIGKILL.
    pub fn kill(mut self) -> Result<(), Failure> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Asks it to stop, and waits.
    pub fn stop(mut self) -> Result<(), Failure> {
        let pid = self.0.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let deadline = Instant::now() + Duration::from_secs(35);
        while Instant::now() < deadline {
            if self.0.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("a process did not stop within 35 s".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
