//! Invitations, joining, revocation.

use counterfoil_audit::entry::{Digest, OrgName, PublicKey, Timestamp};
use counterfoil_audit::entry::{InviteIssued, PartnerJoined, PartnerRevoked};
use time::Duration;

use crate::log::Decided;
use crate::refusal::{Refusal, label, sentence};
use crate::state::State;
use crate::state::partners::Partner;

/// An invite lives this long at the most.
pub(crate) const INVITE_LIFE_MAX: Duration = Duration::days(30);

/// Under which the broker's own entries stand: no institution may have it.
pub(crate) const BROKER_NAME: &str = "broker";

/// What the operator wants to issue.
pub(crate) struct Invitation {
    pub(crate) org: OrgName,
    pub(crate) id: String,
    pub(crate) secret_sha256: Digest,
    pub(crate) valid: Duration,
}

/// Issues an invite; its value is when it expires.
pub(crate) fn invite(
    state: &State,
    now: Timestamp,
    invitation: &Invitation,
) -> Result<Decided<Timestamp>, Refusal> {
    if invitation.valid <= Duration::ZERO || invitation.valid > INVITE_LIFE_MAX {
        return Err(Refusal::new(
            "invite_life",
            "an invite is valid for at least a second and at most 30 days",
            "ask for a time between those",
        ));
    }
    if invitation.org.as_str() == BROKER_NAME {
        return Err(Refusal::new(
            "org_reserved",
            format!("`{BROKER_NAME}` is the name under which the broker itself stands in the log"),
            "choose another name",
        ));
    }
    if state.partners.invite(&invitation.id).is_some() {
        return Err(Refusal::new(
            "invite_id",
            "this invite's number was used before",
            "try again",
        ));
    }
    let micros = u64::try_from(invitation.valid.whole_microseconds()).unwrap_or(0);
    let expires = Timestamp::from_unix_micros(now.unix_micros().saturating_add(micros))
        .map_err(|e| Refusal::new("invite_life", e.to_string(), "correct the broker's clock"))?;
    let event = InviteIssued {
        invite: label(&invitation.id),
        org: invitation.org.clone(),
        secret_sha256: invitation.secret_sha256,
        expires,
    };
    Ok(Decided {
        events: vec![event.into()],
        value: expires,
    })
}

/// Checks an invite before a certificate is made for it. Returns the institution that it is for.
///
/// A wrong number and a wrong secret are told apart from nothing: neither is worth a guess.
pub(crate) fn check_invite<'s>(
    state: &'s State,
    now: Timestamp,
    id: &str,
    secret_sha256: &Digest,
) -> Result<&'s OrgName, Refusal> {
    let invite = state
        .partners
        .invite(id)
        .filter(|invite| invite.secret_sha256 == *secret_sha256)
        .ok_or_else(|| {
            Refusal::new(
                "invite_unknown",
                "this broker issued no such invite",
                "copy the whole line that `counterfoil broker invite` printed, or ask the operator for a new one",
            )
        })?;
    if invite.used {
        return Err(Refusal::new(
            "invite_used",
            "the invite has been used already, and one works once",
            "if that was not you, tell the operator at once; ask for a new one",
        ));
    }
    if now >= invite.expires {
        return Err(Refusal::new(
            "invite_expired",
            format!("the invite has expired at {}", invite.expires),
            "ask the operator for a new one",
        ));
    }
    Ok(&invite.org)
}

/// What an institution brings when it joins.
pub(crate) struct Joining {
    pub(crate) invite: String,
    pub(crate) secret_sha256: Digest,
    pub(crate) signing_key: PublicKey,
    pub(crate) noise_key: PublicKey,
    pub(crate) cert_sha256: Digest,
    pub(crate) cert_expires: Timestamp,
}

/// Admits an institution; its value is the certificate that the new one replaces, if there was one.
pub(crate) fn join(
    state: &State,
    now: Timestamp,
    joining: &Joining,
) -> Result<Decided<Option<Digest>>, Refusal> {
    let org = check_invite(state, now, &joining.invite, &joining.secret_sha256)?;
    let before = state.partners.get(org);
    let same_keys = |partner: &Partner| {
        partner.signing_key == joining.signing_key && partner.noise_key == joining.noise_key
    };
    if before.is_some_and(|partner| !partner.revoked && !same_keys(partner)) {
        return Err(Refusal::new(
            "keys_differ",
            format!("`{org}` has joined with other keys, to which its partners hold it"),
            "join with the same home directory; or, if its keys are lost, have the operator revoke it first",
        ));
    }
    let event = PartnerJoined {
        invite: label(&joining.invite),
        org: org.clone(),
        signing_key: joining.signing_key,
        noise_key: joining.noise_key,
        cert_sha256: joining.cert_sha256,
        cert_expires: joining.cert_expires,
    };
    Ok(Decided {
        events: vec![event.into()],
        value: before.map(|partner| partner.certificate),
    })
}

/// Revokes an institution; its value is the certificate whose connections are to be cut.
pub(crate) fn revoke(
    state: &State,
    org: &OrgName,
    reason: &str,
) -> Result<Decided<Digest>, Refusal> {
    let partner = state
        .partners
        .get(org)
        .filter(|partner| !partner.revoked)
        .ok_or_else(|| {
            Refusal::new(
                "partner_unknown",
                format!("no institution `{org}` stands to be revoked"),
                "see their names with `counterfoil broker partners`",
            )
        })?;
    let event = PartnerRevoked {
        org: org.clone(),
        reason: sentence(reason),
    };
    Ok(Decided {
        events: vec![event.into()],
        value: partner.certificate,
    })
}

#[cfg(test)]
mod tests;
