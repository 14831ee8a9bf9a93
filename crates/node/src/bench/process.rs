//! A process of this program that is measured from outside: its memory and its processor time, as
//! Linux tells them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// Parts of a second in which Linux counts processor time (`USER_HZ`), on every machine.
const TICKS: f64 = 100.0;

/// A process that ends with this value.
pub(super) struct Process(pub(super) Child);

impl Process {
    /// Starts `tributary VERB --dir FOLDER`, silent.
    pub(super) fn start(verb: &str, folder: &Path) -> anyhow::Result<Process> {
        let program = std::env::current_exe().context("failed to find this program")?;
        let mut command = Command::new(program);
        command.arg(verb).arg("--dir").arg(folder);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Process(process.with_context(|| format!("failed to start a process to {verb}"))?))
    }

    /// The most resident memory that it ever had, in MB.
    pub(super) fn peak_megabytes(&self) -> Option<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes / 1_000.0)
    }

    /// Seconds of processor time that all its threads have had, in the program and in the kernel.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/stat", self.0.id());
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {path}: this figure needs Linux"))?;
        let ticks = ticks(&text).with_context(|| format!("failed to understand {path}"))?;
        Ok(ticks as f64 / TICKS)
    }
}

/// `utime` and `stime` of `/proc/PID/stat`. The program's name before them may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; and its folder goes anyhow.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_whatever_the_programs_name() {
        let stat = "4711 (a ) 9 (b) S 1 4711 4711 0 -1 4194560 1 2 3 4 250 70 5 6 20 0 7 0 99";
        assert_eq!(ticks(stat), Some(320));
        assert_eq!(ticks("4711 (a) S 1 2"), None);
        assert_eq!(ticks(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_form_is_that_of_this_machine() {
        let text = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(ticks(&text).is_some(), "{text}");
    }
}
