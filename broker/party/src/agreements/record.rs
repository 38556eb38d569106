//! One version of an agreement as this home keeps it.
//!
//! The file is a claim: [`Record::read`] verifies every approval and signature in it again at each load, against this
//! home's keys and the partner's confirmed ones, so that an edited file proves nothing.

use counterfoil_policy::agreement::{Agreement, Side};
use counterfoil_policy::approval::{
    Approval, Countersigned, InstitutionSignature, Revocation, Role,
};
use counterfoil_policy::keys::PartyKeys;
use counterfoil_policy::text::AgreementId;
use serde::{Deserialize, Serialize};

use super::Status;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::partners;

const DIRECTORY: &str = "agreements";
/// Longest file, in bytes: a canonical agreement (32 KiB) as an escaped string, signatures of a few KiB.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// A version of an agreement with what has been signed of it so far, all of it verified.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) agreement: Agreement,
    pub(super) side: Side,
    /// Our maker's approval.
    pub(super) maker: Option<Approval>,
    pub(super) ours: Option<InstitutionSignature>,
    pub(super) theirs: Option<InstitutionSignature>,
    /// The broker has accepted our signature.
    pub(super) sent: bool,
    pub(super) revocation: Option<Revocation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The canonical form, as text.
    document: String,
    maker: Option<Approval>,
    ours: Option<InstitutionSignature>,
    theirs: Option<InstitutionSignature>,
    sent: bool,
    revocation: Option<Revocation>,
}

impl Record {
    /// A version that nobody here has approved yet. Checks that it is ours and with whom.
    pub(super) fn new(home: &Home, agreement: Agreement) -> Result<Self> {
        let side = check_parties(home, &agreement)?;
        Ok(Self {
            agreement,
            side,
            maker: None,
            ours: None,
            theirs: None,
            sent: false,
            revocation: None,
        })
    }

    /// Where a version is stored, below the home.
    pub(super) fn file(id: &AgreementId, version: u32) -> String {
        format!("{DIRECTORY}/{id}-v{version}.json")
    }

    /// The version that is stored under this name; `None` if there is none.
    pub(super) fn load(home: &Home, id: &AgreementId, version: u32) -> Result<Option<Self>> {
        let name = Self::file(id, version);
        let Some(bytes) = home.read(&name, FILE_BYTES_MAX)? else {
            return Ok(None);
        };
        let record = Self::read(home, &name, &bytes)?;
        if record.agreement.id() != id || record.agreement.version() != version {
            return Err(home.damaged(
                &name,
                "it holds another agreement or version than its name says",
            ));
        }
        Ok(Some(record))
    }

    /// Every version of every agreement, or of one, that is stored here, by id and rising version.
    pub(super) fn names(home: &Home, id: Option<&AgreementId>) -> Result<Vec<(AgreementId, u32)>> {
        let mut names: Vec<_> = home
            .list(DIRECTORY)?
            .iter()
            .filter_map(|file| {
                let (id, version) = file.strip_suffix(".json")?.rsplit_once("-v")?;
                Some((
                    id.parse::<AgreementId>().ok()?,
                    version.parse::<u32>().ok()?,
                ))
            })
            .filter(|(found, _)| id.is_none_or(|id| id == found))
            .collect();
        names.sort();
        Ok(names)
    }

    fn read(home: &Home, name: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = |why: String| home.damaged(name, why);
        let file: File = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        let agreement = Agreement::from_canonical(file.document.as_bytes())
            .map_err(|e| damaged(e.to_string()))?;
        let mut record = Self::new(home, agreement)?;
        record.maker = file.maker;
        record.ours = file.ours;
        record.theirs = file.theirs;
        record.sent = file.sent;
        record.revocation = file.revocation;
        record.verify().map_err(damaged)?;
        Ok(record)
    }

    /// Everything that was signed stands.
    fn verify(&self) -> std::result::Result<(), String> {
        let text = |e: counterfoil_policy::approval::ApprovalError| e.to_string();
        let (agreement, own) = (&self.agreement, self.own());
        if let Some(maker) = &self.maker {
            maker
                .verify(
                    Role::Maker,
                    &agreement.digest(),
                    &own.name,
                    &own.signing_key,
                )
                .map_err(text)?;
        }
        for (signature, expected) in [(&self.ours, self.side), (&self.theirs, other(self.side))] {
            if let Some(signature) = signature
                && signature.verify_for(agreement).map_err(text)? != expected
            {
                return Err("the signatures of the two sides are swapped".to_owned());
            }
        }
        if let Some(revocation) = &self.revocation {
            revocation.verify(agreement).map_err(text)?;
        }
        Ok(())
    }

    /// Stores it, durable on return.
    pub(super) fn store(&self, home: &Home) -> Result<()> {
        let file = File {
            document: String::from_utf8_lossy(self.agreement.canonical_bytes()).into_owned(),
            maker: self.maker.clone(),
            ours: self.ours.clone(),
            theirs: self.theirs.clone(),
            sent: self.sent,
            revocation: self.revocation.clone(),
        };
        let bytes = serde_json::to_vec(&file)
            .map_err(|e| Error::Unexpected(format!("cannot write an agreement: {e}")))?;
        home.write(
            Self::file(self.agreement.id(), self.agreement.version()),
            &bytes,
        )
    }

    /// Takes in what the broker shows of the same version, after verifying it.
    pub(super) fn merge(
        &mut self,
        signatures: Vec<InstitutionSignature>,
        revocation: Option<Revocation>,
    ) -> Result<()> {
        let failed = |why: String| {
            Error::Unverified(format!(
                "what the broker shows of agreement `{}`: {why}",
                self.agreement.id()
            ))
        };
        let mut merged = self.clone();
        for signature in signatures {
            let side = signature
                .verify_for(&self.agreement)
                .map_err(|e| failed(e.to_string()))?;
            if side == self.side {
                merged.ours = Some(signature);
                merged.sent = true;
            } else {
                merged.theirs = Some(signature);
            }
        }
        if let Some(revocation) = revocation {
            revocation
                .verify(&self.agreement)
                .map_err(|e| failed(e.to_string()))?;
            // The first stays: an agreement ends once.
            merged.revocation.get_or_insert(revocation);
        }
        *self = merged;
        Ok(())
    }

    pub(super) fn own(&self) -> &PartyKeys {
        self.agreement.party(self.side)
    }

    pub(super) fn partner(&self) -> &PartyKeys {
        self.agreement.party(other(self.side))
    }

    /// Both signatures, if they are there.
    pub(super) fn countersigned(&self) -> Result<Option<Countersigned>> {
        let (Some(ours), Some(theirs)) = (self.ours.clone(), self.theirs.clone()) else {
            return Ok(None);
        };
        let (owner, recipient) = match self.side {
            Side::Owner => (ours, theirs),
            Side::Recipient => (theirs, ours),
        };
        Countersigned::new(self.agreement.clone(), owner, recipient)
            .map(Some)
            .map_err(|e| Error::Unverified(e.to_string()))
    }

    pub(super) fn status(&self) -> Status {
        if self.revocation.is_some() {
            return Status::Revoked;
        }
        match (&self.maker, &self.ours, &self.theirs) {
            (_, Some(_), Some(_)) => Status::Active,
            (_, Some(_), None) if self.sent => Status::AwaitingPartner,
            (_, Some(_), None) => Status::NotSent,
            (Some(_), None, _) => Status::AwaitingChecker,
            (None, None, _) => Status::AwaitingMaker,
        }
    }
}

/// Whose side we are on, if the keys on both sides are those that this home believes.
fn check_parties(home: &Home, agreement: &Agreement) -> Result<Side> {
    let side = agreement.side_of(home.org()).ok_or_else(|| {
        Error::Input(format!(
            "agreement `{}` is between `{}` and `{}`, and this home is of `{}`: one of the two must be this one",
            agreement.id(),
            agreement.owner().name,
            agreement.recipient().name,
            home.org()
        ))
    })?;
    if *agreement.party(side) != home.party_keys()? {
        return Err(Error::Input(format!(
            "the keys of `{}` in agreement `{}` are not this home's: take them from `counterfoil party show`",
            home.org(),
            agreement.id()
        )));
    }
    let partner = agreement.party(other(side));
    if *partner != partners::confirmed(home, &partner.name)? {
        return Err(Error::KeysChanged(format!(
            "the keys of `{0}` in agreement `{1}` are not the ones that were confirmed: compare the fingerprint with \
             `{0}` over the telephone before anybody signs",
            partner.name,
            agreement.id()
        )));
    }
    Ok(side)
}

fn other(side: Side) -> Side {
    match side {
        Side::Owner => Side::Recipient,
        Side::Recipient => Side::Owner,
    }
}
