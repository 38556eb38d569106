//! Institutions: invited, joined, revoked.

use std::collections::{BTreeMap, HashMap};

use counterfoil_audit::entry::{Digest, OrgName, PublicKey, Timestamp};
use counterfoil_audit::entry::{InviteIssued, PartnerJoined, PartnerRevoked};

use super::Inconsistent;

/// An invite that was issued.
#[derive(Debug, Clone)]
pub(crate) struct Invite {
    pub(crate) org: OrgName,
    pub(crate) secret_sha256: Digest,
    pub(crate) expires: Timestamp,
    pub(crate) used: bool,
}

/// An institution that has joined.
#[derive(Debug, Clone)]
pub(crate) struct Partner {
    pub(crate) signing_key: PublicKey,
    pub(crate) noise_key: PublicKey,
    pub(crate) certificate: Digest,
    pub(crate) certificate_ends: Timestamp,
    pub(crate) revoked: bool,
}

/// All institutions.
#[derive(Debug, Default)]
pub(crate) struct Partners {
    invites: HashMap<String, Invite>,
    by_org: BTreeMap<OrgName, Partner>,
    /// Every certificate ever issued, with whose it is: an old one is known, and refused.
    certificates: HashMap<Digest, OrgName>,
}

impl Partners {
    /// An invite by its public id.
    pub(crate) fn invite(&self, id: &str) -> Option<&Invite> {
        self.invites.get(id)
    }

    /// An institution by name.
    pub(crate) fn get(&self, org: &OrgName) -> Option<&Partner> {
        self.by_org.get(org)
    }

    /// All institutions, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OrgName, &Partner)> {
        self.by_org.iter()
    }

    /// Whose certificate this is, if it may still be used: not revoked, not replaced by a newer one, and not at its end,
    /// which TLS looks at only when a connection begins.
    pub(crate) fn caller(
        &self,
        certificate: &Digest,
        now: Timestamp,
    ) -> Result<&OrgName, Stranger> {
        let org = self
            .certificates
            .get(certificate)
            .ok_or(Stranger::Unknown)?;
        let partner = self.by_org.get(org).ok_or(Stranger::Unknown)?;
        if partner.revoked || partner.certificate != *certificate {
            return Err(Stranger::Revoked(org.clone()));
        }
        if now >= partner.certificate_ends {
            return Err(Stranger::Expired(org.clone()));
        }
        Ok(org)
    }

    /// The institution may take part in flows: it has joined, and was not revoked since.
    pub(crate) fn stands(&self, org: &OrgName) -> bool {
        self.get(org).is_some_and(|partner| !partner.revoked)
    }

    pub(super) fn issued(&mut self, event: &InviteIssued) -> Result<(), Inconsistent> {
        let invite = Invite {
            org: event.org.clone(),
            secret_sha256: event.secret_sha256,
            expires: event.expires,
            used: false,
        };
        match self
            .invites
            .insert(event.invite.as_str().to_owned(), invite)
        {
            None => Ok(()),
            Some(_) => Err(Inconsistent("an invite was issued twice")),
        }
    }

    pub(super) fn joined(&mut self, event: &PartnerJoined) -> Result<(), Inconsistent> {
        let invite = self
            .invites
            .get_mut(event.invite.as_str())
            .filter(|invite| !invite.used && invite.org == event.org)
            .ok_or(Inconsistent("a partner joined without an open invite"))?;
        invite.used = true;
        let partner = Partner {
            signing_key: event.signing_key,
            noise_key: event.noise_key,
            certificate: event.cert_sha256,
            certificate_ends: event.cert_expires,
            revoked: false,
        };
        self.certificates
            .insert(event.cert_sha256, event.org.clone());
        self.by_org.insert(event.org.clone(), partner);
        Ok(())
    }

    pub(super) fn revoked(&mut self, event: &PartnerRevoked) -> Result<(), Inconsistent> {
        let partner = self
            .by_org
            .get_mut(&event.org)
            .filter(|partner| !partner.revoked)
            .ok_or(Inconsistent("a partner was revoked that did not stand"))?;
        partner.revoked = true;
        // Whoever took the institution's keys may hold an open invite too: only a new one lets it back in.
        for invite in self.invites.values_mut() {
            invite.used |= invite.org == event.org;
        }
        Ok(())
    }
}

/// Why a certificate is not a partner's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Not in the log.
    Unknown,
    /// Revoked or replaced.
    Revoked(OrgName),
    /// Past its end.
    Expired(OrgName),
}
