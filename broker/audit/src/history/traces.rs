//! Marks and scorings: one set of keys for each lineage, and no outcome without what two people authorised before it.

use std::collections::{HashMap, HashSet};

use super::FindingKind;
use crate::entry::{
    CanariesCommitted, Digest, FlowId, IncidentCanaries, IncidentOpened, Label, OrgName,
    ReleaseIntent, TraceAuthorised, TraceConcluded, TraceFailed,
};

/// What does not hold together, and whether it follows only if all earlier entries are known.
pub(super) type Found = Vec<(FindingKind, bool)>;

/// The part of the fold that is about marks.
#[derive(Clone, Debug, Default)]
pub(super) struct Traces {
    dataset_keys: HashMap<Label, Digest>,
    tag_keys: HashMap<Label, Digest>,
    recipient_keys: HashMap<(Label, OrgName), Digest>,
    /// By owner: who ever got something marked or coded of it.
    recipients: HashSet<(OrgName, OrgName)>,
    scorings: HashMap<u64, Scoring>,
    requests: HashSet<Digest>,
    incidents: HashMap<Label, (OrgName, Digest)>,
    canaries: HashMap<u64, FlowId>,
}

#[derive(Clone, Debug)]
struct Scoring {
    org: OrgName,
    file_sha256: Digest,
    ended: bool,
}

impl Traces {
    pub(super) fn released(&mut self, intent: &ReleaseIntent) -> Found {
        let Some(marks) = &intent.marks else {
            return Found::new();
        };
        let recipient = intent.recipient.org.clone();
        self.recipients
            .insert((intent.source.org.clone(), recipient.clone()));
        let lineage = marks.lineage.clone();
        let of_recipient = (lineage.clone(), recipient);
        let dataset = self.dataset_keys.entry(lineage.clone());
        let same = [
            *dataset.or_insert(marks.dataset_key) == marks.dataset_key,
            *(self.recipient_keys.entry(of_recipient)).or_insert(marks.recipient_key)
                == marks.recipient_key,
            // Releases of earlier versions, and those with codes alone, commit to none.
            marks
                .tag_key
                .is_none_or(|key| *self.tag_keys.entry(lineage).or_insert(key) == key),
        ];
        only_if(same != [true; 3], FindingKind::MarkKeyDiffers)
    }

    pub(super) fn authorised(&mut self, index: u64, event: &TraceAuthorised) -> Found {
        let request = event.request.as_value();
        let said = |field: &str| request.get(field).and_then(|value| value.as_str());
        let like = said("org") == Some(event.org.as_str())
            && said("lineage") == Some(event.lineage.as_str())
            && said("file_sha256") == Some(event.file_sha256.to_string().as_str())
            && said("tag_key") == event.tag_key.map(|key| key.to_string()).as_deref()
            && request.get("rows_used").and_then(|rows| rows.as_u64())
                == Some(event.rows_used.value());
        let known = self.tag_keys.get(&event.lineage);
        let key_fits = known
            .zip(event.tag_key)
            .is_none_or(|(known, said)| *known == said);
        let new = self.requests.insert(event.request_sha256);
        self.scorings.insert(
            index,
            Scoring {
                org: event.org.clone(),
                file_sha256: event.file_sha256,
                ended: false,
            },
        );
        [
            (!like, FindingKind::ScoringUnlikeRequest),
            (!two_people(event), FindingKind::ScoringByOnePerson),
            (!key_fits, FindingKind::ScoringKeyDiffers),
            (!new, FindingKind::RequestScoredTwice),
        ]
        .into_iter()
        .flat_map(|(wrong, kind)| only_if(wrong, kind))
        .collect()
    }

    pub(super) fn opened(&mut self, event: &IncidentOpened) -> Found {
        let of = (event.org.clone(), event.file_sha256);
        let before = self.incidents.insert(event.incident.clone(), of);
        only_if(before.is_some(), FindingKind::IncidentOpenedTwice)
    }

    pub(super) fn concluded(&mut self, event: &TraceConcluded) -> Found {
        let mut found = self.ended(event.scoring.value(), &event.org);
        let incident = self.incidents.get(&event.incident);
        match self.scorings.get(&event.scoring.value()).zip(incident) {
            Some((scoring, (org, file_sha256))) => {
                let same = (org, file_sha256) == (&scoring.org, &scoring.file_sha256);
                found.extend(only_if(!same, FindingKind::IncidentUnlikeScoring));
            }
            None if incident.is_none() => found.push((FindingKind::IncidentUnlikeScoring, true)),
            None => {}
        }
        let coded = event
            .coded
            .as_ref()
            .map_or(&[][..], |coded| coded.as_slice());
        let mut told = event.named.as_slice().iter().chain(coded);
        let got = |recipient: &OrgName| {
            let pair = (event.org.clone(), recipient.clone());
            self.recipients.contains(&pair)
        };
        if !told.all(got) {
            found.push((FindingKind::NamedWithoutRelease, true));
        }
        found
    }

    pub(super) fn failed(&mut self, event: &TraceFailed) -> Found {
        self.ended(event.scoring.value(), &event.org)
    }

    fn ended(&mut self, scoring: u64, org: &OrgName) -> Found {
        let Some(scoring) = self.scorings.get_mut(&scoring) else {
            return vec![(FindingKind::ScoringNotAuthorised, true)];
        };
        let twice = std::mem::replace(&mut scoring.ended, true);
        let mut found = only_if(scoring.org != *org, FindingKind::ScoringNotAuthorised);
        found.extend(only_if(twice, FindingKind::ScoringEndedTwice));
        found
    }

    pub(super) fn canaries(&mut self, index: u64, event: &CanariesCommitted) {
        self.canaries.insert(index, event.flow);
    }

    pub(super) fn hit(&self, event: &IncidentCanaries) -> Found {
        match self.canaries.get(&event.committed.value()) {
            Some(flow) => only_if(*flow != event.flow, FindingKind::IncidentWithoutCanaries),
            None => vec![(FindingKind::IncidentWithoutCanaries, true)],
        }
    }
}

/// By name and by key. Their signatures are for the crate that makes them to check.
fn two_people(event: &TraceAuthorised) -> bool {
    let of = |role: &str, field: &str| {
        let person = event.authorisation.as_value().get(role)?;
        person.get(field)?.as_str()
    };
    ["user", "user_key"].into_iter().all(|field| {
        let people = of("maker", field).zip(of("checker", field));
        people.is_some_and(|(maker, checker)| maker != checker)
    })
}

fn only_if(wrong: bool, kind: FindingKind) -> Found {
    if wrong {
        vec![(kind, false)]
    } else {
        Found::new()
    }
}
