//! `tributary serve`: the running site.

pub(super) mod control;

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use store::StoreError;
use tokio_util::sync::CancellationToken;

use self::control::Control;
use crate::cli::doctor::{NOBODY, has_carrier};
use crate::cli::open::{Dir, block_on};
use crate::cli::say;
use crate::config::Up;
use crate::site::Site;
use crate::{http, jobs, server};

/// The file in a site's folder that is locked while the site runs.
const LOCK: &str = "serve.lock";

/// What `serve` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    dir: Dir,
}

/// Runs until SIGINT or SIGTERM.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let site = args.dir.open()?;
    let _alone = alone(&args.dir)?;
    if let Some(email) = &site.config().alerts.email {
        // At the start, and not when something is wrong.
        email.credentials(&args.dir.dir)?;
    }
    block_on(async {
        let signals = StopSignals::listen()?;
        // Before anybody is answered: visits may have ended while the site was down.
        jobs::visitors::step(&site).await;
        let listener = server::bind(site.config().listen).await?;
        let address = listener.local_addr().context("failed to learn the address")?;
        if let Err(error) = Control::make(&site, &args.dir.dir, address) {
            // The disk may be full: what can be read has to be answered all the same.
            let error = format!("{error:#}");
            tracing::warn!(error, "commands here cannot ask the running site; `sync` cannot run");
            Control::remove(&args.dir.dir);
        }
        say!("{} listens on http://{address}", site.id());
        if site.config().insecure_http {
            say!("WARNING: plain HTTP beyond this machine: anyone on the network can read it");
        }
        if site.config().parent.as_ref().is_some_and(|parent| parent.up == Up::Carried)
            && !has_carrier(&site)?
        {
            say!("WARNING: third parties are to carry its messages (parent.up), and {NOBODY}");
        }
        if let Some(idle) = site.config().idle_link() {
            say!("WARNING: {idle}");
        }
        let stop = CancellationToken::new();
        begin(&site, &stop)?;
        let jobs = tokio::spawn(jobs::run(site.clone(), stop.clone()));
        let (watched, stopped) = (site.clone(), stop.clone());
        let alerts = tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = jobs::alerts::run(&watched) => {}
            }
        });
        let router = http::router(site.clone());
        let serving = tokio::spawn(server::run(listener, router, stop.clone()));
        signals.heard().await?;
        say!("stopping: letting open requests finish");
        site.close();
        stop.cancel();
        serving.await.context("failed to stop answering")?;
        jobs.await.context("failed to stop the jobs")?;
        alerts.await.context("failed to stop looking for what is wrong")?;
        Control::remove(&args.dir.dir);
        Ok(ExitCode::SUCCESS)
    })?
}

/// Notes what the settings say of the parent and of a record system. A full disk keeps nobody from
/// reading: then it is noted when there is room.
fn begin(site: &Site, stop: &CancellationToken) -> anyhow::Result<()> {
    match jobs::begin::step(site) {
        Err(StoreError::Full) => {
            tracing::warn!("the disk is full: what is here can be read, nothing can be written");
            let (site, stopped) = (site.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = jobs::begin::later(&site) => {}
                }
            });
            Ok(())
        }
        noted => noted.context("failed to note what tributary.toml says of the parent and [emr]"),
    }
}

/// Only one `serve` a folder.
fn alone(dir: &Dir) -> anyhow::Result<File> {
    let path = dir.dir.join(LOCK);
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("failed to open {}", path.display()))?;
    if file.try_lock().is_err() {
        bail!("failed to serve {}: another `tributary serve` runs on it", dir.dir.display());
    }
    Ok(file)
}

/// What ends `serve`: heard from before anybody is told that the site is up.
struct StopSignals {
    #[cfg(unix)]
    all: [tokio::signal::unix::Signal; 2],
}

impl StopSignals {
    /// Within the runtime; from here on a signal is kept until `heard` asks for it.
    #[cfg(unix)]
    fn listen() -> anyhow::Result<StopSignals> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
        Ok(StopSignals { all: [interrupt, terminate] })
    }

    #[cfg(not(unix))]
    fn listen() -> anyhow::Result<StopSignals> {
        Ok(StopSignals {})
    }

    #[cfg(unix)]
    async fn heard(mut self) -> anyhow::Result<()> {
        let [interrupt, terminate] = &mut self.all;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    }

    #[cfg(not(unix))]
    async fn heard(self) -> anyhow::Result<()> {
        tokio::signal::ctrl_c().await.context("failed to listen for Ctrl-C")
    }
}
