//! The story: first load; links cut; clinics register and treat; the centre edits; two sites edit
//! one patient; a patient is transferred; a power failure in the middle of a sync; links return.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use protocol::cohort::Definition;
use protocol::{CohortName, FeedId, RecordRef, SiteId, Timestamp};
use store::{CohortDraft, ConflictFilter, Scope};

use crate::demo::apart::Apart;
use crate::demo::edit;
use crate::demo::generator::clinic_names;
use crate::demo::patients::{Choice, Patient, Patients};
use crate::demo::report::{Report, SiteRow};
use crate::demo::site::DemoSite;
use crate::jobs::link::Link;
use crate::jobs::{enrol, verify};

/// Rounds after which two sites that still have something to say are not in step.
const ROUNDS: usize = 20;

/// What the demo takes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the sites' folders; it is made.
    pub folder: PathBuf,
    /// Generated patients.
    pub patients: u64,
    /// Clinics.
    pub clinics: usize,
    /// Seed of the generator.
    pub seed: u64,
    /// FHIR files instead of generated patients.
    pub import: Vec<PathBuf>,
    /// The generator's present day.
    pub today: Timestamp,
}

/// Who hears the story.
pub trait Narrator {
    /// Something happens.
    fn tell(&self, what: &str);
    /// Long work goes on: `done` of `all`.
    fn progress(&self, what: &str, done: u64, all: u64);
}

/// The sites of the demo.
pub struct Cast {
    /// The centre.
    pub centre: DemoSite,
    /// The clinics.
    pub clinics: Vec<DemoSite>,
    /// Sent and received, by clinic.
    moved: Vec<(u64, u64)>,
}

/// Lives through the story. The sites stay up as long as the cast is kept.
pub async fn run(options: &Options, narrator: &dyn Narrator) -> anyhow::Result<(Report, Cast)> {
    let started = Instant::now();
    if !(1..=50).contains(&options.clinics) {
        bail!("failed to start the demo: it has 1 to 50 clinics");
    }
    let names = clinic_names(options.clinics);
    let mut cast = Cast::assemble(options, &names).await?;
    let limits = cast.centre.site().config().limits.clone();
    let choice = Choice {
        patients: options.patients.max(options.clinics as u64 * 3),
        clinics: &names,
        seed: options.seed,
        import: &options.import,
        today: options.today,
    };
    let all = if options.import.is_empty() { choice.patients } else { 0 };
    let patients =
        Patients::deal(&choice, &limits, &|done| narrator.progress("patients", done, all))?;
    if let Some(first) = patients.refused.first() {
        narrator
            .tell(&format!("{} resources are refused, the first: {first}", patients.refused.len()));
    }
    cast.enrol(&patients, narrator).await?;
    cast.first_load(&patients, narrator).await?;
    cast.cut_off(&patients, narrator).await?;
    let edited = cast.edits_apart(&patients, narrator).await?;
    let moved = cast.transfer(&patients, narrator).await?;
    cast.power_failure(&patients, narrator).await?;
    narrator.tell("The links return; all catch up.");
    for clinic in &cast.clinics {
        clinic.switch().set(true);
    }
    cast.catch_up(narrator).await?;
    let told = cast.look_at(&edited, moved.as_ref()).await?;
    for line in told {
        narrator.tell(&line);
    }
    let apart = cast.edit_one_patient_apart(&patients, narrator).await?;
    cast.catch_up(narrator).await?;
    cast.show_conflicts(narrator).await?;
    let report = cast.report(started, apart).await?;
    Ok((report, cast))
}

impl Cast {
    async fn assemble(options: &Options, names: &[String]) -> anyhow::Result<Cast> {
        let folder = |name: &str| options.folder.join(name);
        let centre = DemoSite::make(&folder("centre"), &"centre".parse()?).await?;
        let mut clinics = Vec::new();
        for name in names {
            let id: SiteId = name.parse()?;
            clinics.push(DemoSite::make(&folder(name), &id).await?);
        }
        let moved = vec![(0, 0); clinics.len()];
        Ok(Cast { centre, clinics, moved })
    }

    /// The centre makes a cohort for each clinic and lets it in by a one-time code.
    async fn enrol(&mut self, patients: &Patients, narrator: &dyn Narrator) -> anyhow::Result<()> {
        let limits = self.centre.site().config().limits.clone();
        for (index, clinic) in self.clinics.iter_mut().enumerate() {
            let name: CohortName = clinic.id().as_str().parse()?;
            set_cohort(&self.centre, &name, patients.definition(index, &limits)?).await?;
            let (parent, child) = (self.centre.site().clone(), clinic.id().clone());
            let (code, _) = enrol::invite(&parent, &child, &[name])?;
            clinic.join(&parent, &code).await?;
        }
        narrator.tell(&format!(
            "A centre and {} clinics, each with its own database; every clinic has joined by a \
             one-time code.",
            self.clinics.len()
        ));
        Ok(())
    }

    /// Half of the patients stand in the centre's old registry, half in the clinics' records.
    async fn first_load(
        &mut self,
        patients: &Patients,
        narrator: &dyn Narrator,
    ) -> anyhow::Result<()> {
        let limits = self.centre.site().config().limits.clone();
        for shared in patients.shared.chunks(limits.change_records) {
            self.centre.record_all("registry", shared.to_vec()).await?;
        }
        let all: usize = patients.clinics.iter().map(Vec::len).sum();
        let mut done = 0;
        for (clinic, theirs) in self.clinics.iter().zip(&patients.clinics) {
            for (index, patient) in theirs.iter().enumerate() {
                let site = if index % 2 == 0 { clinic } else { &self.centre };
                for change in &patient.changes {
                    site.record_all("registry", change.clone()).await?;
                }
                done += 1;
                narrator.progress("first load: recording", done, all as u64);
            }
        }
        narrator.tell(&format!(
            "First load: {all} patients, half of them so far known to the centre only, half to \
             their clinic only."
        ));
        self.catch_up(narrator).await
    }

    /// The links are cut; clinics register new patients and treat those they know.
    async fn cut_off(
        &mut self,
        patients: &Patients,
        narrator: &dyn Narrator,
    ) -> anyhow::Result<()> {
        for clinic in &self.clinics {
            clinic.switch().set(false);
        }
        let limits = self.centre.site().config().limits.clone();
        let (mut newcomers, mut visits) = (0, 0);
        for (index, clinic) in self.clinics.iter().enumerate() {
            for patient in patients.newcomers(index, &limits)? {
                for change in patient.changes {
                    clinic.record_all("clerk", change).await?;
                }
                newcomers += 1;
            }
            for (patient, number) in patients.clinics[index].iter().take(10).zip(100..) {
                let now = clinic.site().now();
                let visit = patients.world.visit(patient.reference.id(), index, number, now);
                clinic.record("nurse", &visit).await?;
                visits += 1;
            }
        }
        let link = match self.clinics[0].round().await {
            Ok(_) => bail!("failed to cut the links: a round went through"),
            Err(error) => error,
        };
        narrator.tell(&format!(
            "The links are cut. The clinics go on: {newcomers} new patients, {visits} visits. \
             A round says: {link}."
        ));
        Ok(())
    }

    /// The centre and a clinic edit the same patients, not knowing of each other.
    async fn edits_apart(
        &mut self,
        patients: &Patients,
        narrator: &dyn Narrator,
    ) -> anyhow::Result<Edited> {
        let [merged, others @ ..] = patients.clinics[0].as_slice() else {
            bail!("failed to tell the story: the first clinic has no patient");
        };
        let conflicting = others.iter().find(|other| other.has_record()).unwrap_or(merged);
        let clinic = &self.clinics[0];
        let (one, two) = (merged.reference.clone(), conflicting.reference.clone());
        let phone = edit::with_phone(&clinic.text(&one).await?, "+254 700 000 001")?;
        clinic.record("nurse", &[phone]).await?;
        let status = edit::with_marital_status(&self.centre.text(&one).await?, "Married")?;
        self.centre.record("registrar", &[status]).await?;
        let here = edit::with_birth_date(&clinic.text(&two).await?, "1984-02-17")?;
        clinic.record("nurse", &[here]).await?;
        let there = edit::with_birth_date(&self.centre.text(&two).await?, "1984-07-12")?;
        self.centre.record("registrar", &[there]).await?;
        narrator.tell(&format!(
            "{one}: {} adds a telephone number while the centre sets the marital status. \
             {two}: both set the birth date, each to another day.",
            clinic.id()
        ));
        Ok(Edited { merged: one, conflicting: two })
    }

    /// The centre hands a patient from the first clinic to the second, where there is one.
    async fn transfer(
        &mut self,
        patients: &Patients,
        narrator: &dyn Narrator,
    ) -> anyhow::Result<Option<RecordRef>> {
        let (Some(old), Some(new), Some(patient)) =
            (self.clinics.first(), self.clinics.get(1), third(&patients.clinics[0]))
        else {
            return Ok(None);
        };
        let limits = self.centre.site().config().limits.clone();
        if patients.imported {
            for (index, clinic) in [old, new].into_iter().enumerate() {
                let mut definition = patients.definition(index, &limits)?;
                if let Definition::Patients { patients } = &mut definition {
                    if index == 0 {
                        patients.remove(&patient.reference);
                    } else {
                        patients.insert(patient.reference.clone());
                    }
                }
                set_cohort(&self.centre, &clinic.id().as_str().parse()?, definition).await?;
            }
        } else {
            let place = patients.world.clinics().nth(1).context("failed to find the clinic")?;
            let text = self.centre.text(&patient.reference).await?;
            let text = edit::with_managing_organization(&text, &place.organization)?;
            self.centre.record("registrar", &[text]).await?;
        }
        narrator.tell(&format!(
            "{} is transferred from {} to {}.",
            patient.reference,
            old.id(),
            new.id()
        ));
        Ok(Some(patient.reference.clone()))
    }

    /// The last clinic's link returns, breaks in the middle of an answer, and its power fails.
    async fn power_failure(
        &mut self,
        patients: &Patients,
        narrator: &dyn Narrator,
    ) -> anyhow::Result<()> {
        let last = self.clinics.len() - 1;
        for (patient, number) in patients.clinics[last].iter().zip(200..) {
            let now = self.centre.site().now();
            let visit = patients.world.visit(patient.reference.id(), last, number, now);
            self.centre.record("outreach", &visit).await?;
        }
        let clinic = &mut self.clinics[last];
        clinic.switch().set(true);
        clinic.switch().cut_after(3_000);
        let ended = tokio::time::timeout(Duration::from_millis(60), clinic.round()).await;
        clinic.lose_power().await?;
        clinic.switch().set(false);
        let how = match ended {
            Ok(Ok(_)) => "had just finished a round".to_owned(),
            Ok(Err(error)) => format!("was told that {error}"),
            Err(_) => "was in the middle of a round".to_owned(),
        };
        narrator.tell(&format!(
            "{} {how} when its power failed; it is up again with what its disk held.",
            clinic.id()
        ));
        Ok(())
    }

    /// Rounds until nobody has anything to say.
    pub(super) async fn catch_up(&mut self, narrator: &dyn Narrator) -> anyhow::Result<()> {
        for _ in 0..ROUNDS {
            if self.round_of_all(narrator).await? {
                return Ok(());
            }
        }
        bail!("failed to come to rest within {ROUNDS} rounds")
    }

    /// A round of each clinic; gives whether nobody had anything to say.
    pub(super) async fn round_of_all(&mut self, narrator: &dyn Narrator) -> anyhow::Result<bool> {
        let mut quiet = true;
        let all = self.clinics.len() as u64;
        for (index, clinic) in self.clinics.iter().enumerate() {
            narrator.progress("catching up", index as u64, all);
            let round = clinic.round().await.map_err(|error| {
                anyhow::anyhow!("failed to bring {} into step: {error}", clinic.id())
            })?;
            quiet &= round.sent == 0 && round.received == 0 && round.not_taken == 0;
            self.moved[index].0 += round.sent;
            self.moved[index].1 += round.received;
        }
        Ok(quiet)
    }

    async fn show_conflicts(&self, narrator: &dyn Narrator) -> anyhow::Result<()> {
        let open = ConflictFilter { open: Some(true), limit: 20, ..ConflictFilter::default() };
        let centre = self.centre.site();
        let page = centre.read(move |store| store.conflict_list(&open, &Scope::Everything)).await?;
        for conflict in page.conflicts {
            narrator.tell(&format!(
                "Conflict between {} and {}: {} on {}; the centre's value stands until someone \
                 decides, and all three versions are kept.",
                conflict.parent,
                conflict.child,
                conflict.record,
                conflict.paths().join(", ")
            ));
        }
        Ok(())
    }

    /// What became of the edits, as the records themselves say.
    async fn look_at(
        &self,
        edited: &Edited,
        moved: Option<&RecordRef>,
    ) -> anyhow::Result<Vec<String>> {
        let mut told = Vec::new();
        let here = self.clinics[0].text(&edited.merged).await?;
        let there = self.centre.text(&edited.merged).await?;
        let both = |text: &str| text.contains("+254 700 000 001") && text.contains("Married");
        if here != there || !both(&here) {
            bail!("failed to merge {}: the sites do not hold both edits", edited.merged);
        }
        told.push(format!("{} holds both edits at both sites.", edited.merged));
        let here = self.clinics[0].text(&edited.conflicting).await?;
        if here != self.centre.text(&edited.conflicting).await? {
            bail!("failed to merge {}: the sites differ", edited.conflicting);
        }
        if let Some(patient) = moved {
            if self.clinics[1].text(patient).await? != self.centre.text(patient).await? {
                bail!("failed to transfer {patient}: its new clinic does not hold it");
            }
            told.push(format!("{patient} is at {} now.", self.clinics[1].id()));
        }
        Ok(told)
    }

    async fn report(&self, started: Instant, apart: Apart) -> anyhow::Result<Report> {
        let mut in_step = true;
        let mut sites = Vec::new();
        let mut centre = row(&self.centre).await?;
        for (clinic, (sent, received)) in self.clinics.iter().zip(&self.moved) {
            let link = Link::of(clinic.site()).context("failed to find the link")?;
            let comparison = verify::run(clinic.site(), &link, |_, _| {}).await?;
            let mut row = row(clinic).await?;
            (row.sent, row.received) = (*sent, *received);
            in_step &= comparison.differences.is_empty()
                && comparison.equal > 0
                && row.parked == 0
                && row.seconds_behind == 0;
            centre.sent += received;
            centre.received += sent;
            centre.wire_bytes += row.wire_bytes;
            centre.raw_bytes += row.raw_bytes;
            sites.push(row);
        }
        sites.insert(0, centre);
        Ok(Report { in_step, seconds: started.elapsed().as_secs_f64(), apart, sites })
    }
}

/// Someone who has a record and was not edited.
fn third(patients: &[Patient]) -> Option<&Patient> {
    patients.iter().skip(2).find(|patient| patient.has_record())
}

/// The patients whom two sites edited apart.
struct Edited {
    merged: RecordRef,
    conflicting: RecordRef,
}

pub(super) async fn set_cohort(
    centre: &DemoSite,
    name: &CohortName,
    definition: Definition,
) -> anyhow::Result<()> {
    let site = centre.site();
    let draft = CohortDraft {
        name: name.clone(),
        feed: FeedId::from_random(site.entropy().uuid_bytes()),
        title: None,
        definition,
        page_entries: site.config().limits.page_entries,
    };
    let now = site.now();
    site.write(move |store| store.cohort_set(&draft, now)).await?;
    Ok(())
}

async fn row(site: &DemoSite) -> anyhow::Result<SiteRow> {
    let now = site.site().now();
    let status = site.site().read(move |store| store.site_status(now)).await?;
    let count = |state: &str| status.deliveries.get(state).copied().unwrap_or(0);
    let oldest = status.oldest_undelivered.map_or(0, |at| now.since(at).max(0) / 1_000);
    Ok(SiteRow {
        site: site.id().to_string(),
        records: status.records,
        sent: 0,
        received: 0,
        merged: status.merged,
        conflicts: status.conflicts_open,
        parked: count("parked") + status.parked_lines,
        wire_bytes: status.link.wire_sent + status.link.wire_received,
        raw_bytes: status.link.raw_sent + status.link.raw_received,
        seconds_behind: oldest.unsigned_abs(),
    })
}
