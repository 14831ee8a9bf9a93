//! Logs: one line an event, ids only, to standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging. A running site says what happens to it; other verbs only what goes wrong.
/// `TRIBUTARY_LOG` overrides, for example `TRIBUTARY_LOG=debug`.
pub fn start(serving: bool) {
    let default = if serving { "info" } else { "error" };
    let filter =
        EnvFilter::try_from_env("TRIBUTARY_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A file, or what collects logs, wants none.
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
    // Only a second start in one process fails, and then logging runs already.
    drop(started);
}
