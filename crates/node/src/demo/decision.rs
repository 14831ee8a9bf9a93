//! What the chapter of the patient whom all edit ends with: a person at one clinic decides a
//! conflict, and it is closed at all sites.

use anyhow::{Context as _, bail};
use protocol::conflict::Choice;
use protocol::reconcile::Side;
use protocol::{Author, RecordRef};
use store::{ConflictAction, ConflictFilter, ConflictInfo, ConflictOrder, Scope};

use crate::demo::site::DemoSite;
use crate::demo::story::{Cast, Narrator};

/// Most conflicts of one patient that the chapter looks at.
const CONFLICTS: usize = 100;
const ELEMENT: &str = "birthDate";
const AUTHOR: &str = "dr-wanjiru";

impl Cast {
    /// The conflicts of a patient, newest first; fails unless the centre and the clinics have the
    /// same, byte for byte.
    pub(super) async fn same_conflicts(
        &self,
        clinics: usize,
        patient: &RecordRef,
    ) -> anyhow::Result<Vec<ConflictInfo>> {
        let there = conflicts_at(&self.centre, patient).await?;
        let mut known = there.iter().map(|one| (&one.id, one.state)).collect::<Vec<_>>();
        known.sort_unstable();
        for clinic in self.clinics.iter().take(clinics) {
            let here = conflicts_at(clinic, patient).await?;
            let mut found = here.iter().map(|one| (&one.id, one.state)).collect::<Vec<_>>();
            found.sort_unstable();
            if found != known {
                bail!("failed to agree on conflicts: {} and the centre list others", clinic.id());
            }
            for one in &here {
                let own = format!("Basic/{}", one.id).parse()?;
                if clinic.text(&own).await? != self.centre.text(&own).await? {
                    bail!("failed to agree on {own}: {} and the centre differ", clinic.id());
                }
            }
        }
        Ok(there)
    }

    /// Lets a person at the last of the clinics, which mostly has neither of the two versions in
    /// its history, take the child's birth date. Gives how many conflicts are decided everywhere
    /// after it; fails where one site does not say so, or the record is not the same everywhere.
    pub(super) async fn decide(
        &mut self,
        clinics: usize,
        patient: &RecordRef,
        narrator: &dyn Narrator,
    ) -> anyhow::Result<usize> {
        let clinic = &self.clinics[clinics - 1];
        let found = conflicts_at(clinic, patient).await?;
        // One clinic alone has nobody to differ from.
        let Some(conflict) = found.iter().find(|one| one.paths().contains(&ELEMENT)) else {
            return Ok(0);
        };
        let wanted = take_the_childs(clinic, conflict).await?;
        let (name, id) = (clinic.id().clone(), conflict.id.clone());
        for _ in 0..2 {
            self.round_of_all(narrator).await?;
        }
        let closed = self.same_conflicts(clinics, patient).await?;
        let closed = closed.iter().filter(|one| one.state == "decided").collect::<Vec<_>>();
        if !closed.iter().any(|one| one.id == id) {
            bail!("failed to close {id}: it is not decided at the centre");
        }
        for site in std::iter::once(&self.centre).chain(self.clinics.iter().take(clinics)) {
            let text = site.text(patient).await?;
            if text != self.centre.text(patient).await? || !text.contains(&wanted) {
                bail!("failed to decide on {patient}: {} does not say {wanted}", site.id());
            }
        }
        narrator.tell(&format!(
            "{AUTHOR} at {name} decides that the birth date is {wanted}. A round later the \
             conflict is closed at all {} sites, and they hold the same bytes.",
            clinics + 1
        ));
        Ok(closed.len())
    }
}

async fn conflicts_at(site: &DemoSite, patient: &RecordRef) -> anyhow::Result<Vec<ConflictInfo>> {
    let filter = ConflictFilter {
        patient: Some(patient.clone()),
        limit: CONFLICTS,
        ..ConflictFilter::default()
    };
    let read = move |store: &dyn store::Store| store.conflict_list(&filter, &Scope::Everything);
    Ok(site.site().read(read).await?.conflicts)
}

/// Decides as `tributary conflict resolve ID --take child` does; gives the birth date that was
/// taken.
async fn take_the_childs(clinic: &DemoSite, conflict: &ConflictInfo) -> anyhow::Result<String> {
    let id = conflict.id.clone();
    let read = move |store: &dyn store::Store| store.conflict_get(&id, &Scope::Everything);
    let view = clinic.site().read(read).await?.context("failed to find a conflict again")?;
    let body = view.conflict.child.body.text().flatten().context("failed to read a version")?;
    let said: serde_json::Value = serde_json::from_str(body)?;
    let wanted = said[ELEMENT].as_str().context("failed to read a birth date")?.to_owned();
    let order = ConflictOrder {
        id: conflict.id.clone(),
        action: ConflictAction::Close(Choice::Side(Side::Child)),
        author: Author::new(AUTHOR),
        why: Some("as on her card".to_owned()),
        actor: AUTHOR.to_owned(),
    };
    let now = clinic.site().now();
    clinic.site().write(move |store| store.conflict_decide(&order, now)).await?;
    Ok(wanted)
}
