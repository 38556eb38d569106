use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use counterfoil_proto::limits::{NOISE_MESSAGE_BYTES_MAX, RELAY_FRAMES};
use counterfoil_proto::v1::PeerAbort;
use counterfoil_psi::dh::CHUNK_POINTS;
use counterfoil_psi::{IdentifierKind, IdentifierSet, Normaliser};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use x25519_dalek::{PublicKey, StaticSecret};

use super::*;

mod hostile;

const BINDING: Binding = Binding {
    agreement: [1; 32],
    request: [2; 32],
    flow: [3; 16],
    plan: [4; 32],
    bucket: 0,
    attempt: 1,
};

fn set(numbers: std::ops::Range<u32>) -> Arc<IdentifierSet> {
    let normaliser = Normaliser::new(IdentifierKind::Email, None);
    let mut set = IdentifierSet::new(IdentifierKind::Email, &mut rand::rng());
    for number in numbers {
        let identifier = normaliser
            .normalise(&format!("customer{number}@example.com"))
            .unwrap();
        set.insert(&identifier).unwrap();
    }
    Arc::new(set)
}

fn pipes() -> (Pipe, Pipe) {
    pipes_of(RELAY_FRAMES)
}

fn pipes_of(frames: usize) -> (Pipe, Pipe) {
    let (to_owner, owner_in) = mpsc::channel(frames);
    let (to_recipient, recipient_in) = mpsc::channel(frames);
    (
        Pipe {
            outgoing: to_owner,
            incoming: recipient_in,
        },
        Pipe {
            outgoing: to_recipient,
            incoming: owner_in,
        },
    )
}

struct Keys {
    own: StaticSecret,
    peer: PublicKey,
}

fn keys(role: Role) -> Keys {
    let (recipient, owner) = (StaticSecret::from([5; 32]), StaticSecret::from([6; 32]));
    match role {
        Role::Recipient => Keys {
            peer: PublicKey::from(&owner),
            own: recipient,
        },
        Role::Owner => Keys {
            peer: PublicKey::from(&recipient),
            own: owner,
        },
    }
}

impl Keys {
    fn opening(&self, role: Role, set_size: u64, peer: PeerSize) -> Opening<'_> {
        Opening {
            role,
            statics: Statics {
                own: &self.own,
                peer: &self.peer,
            },
            binding: BINDING,
            protocol: Protocol::Dh,
            set_size,
            checkpoint: Some("a checkpoint"),
            peer,
            patience: Patience::COMING,
        }
    }
}

async fn side(
    role: Role,
    items: Arc<IdentifierSet>,
    peer: PeerSize,
    pipe: Pipe,
) -> Result<Matched, MatchError> {
    side_with(Protocol::Dh, role, items, peer, pipe).await
}

async fn side_with(
    protocol: Protocol,
    role: Role,
    items: Arc<IdentifierSet>,
    peer: PeerSize,
    pipe: Pipe,
) -> Result<Matched, MatchError> {
    let keys = keys(role);
    let opening = Opening {
        protocol,
        ..keys.opening(role, items.len() as u64, peer)
    };
    meet(opening, pipe).await?.run(items, &|_| ()).await
}

#[tokio::test]
async fn two_agents_agree_on_the_tokens_of_common_items_only() {
    // Several chunks a side, the last ones not full; 1,300 in common.
    let (owner_set, recipient_set) = (set(0..5_300), set(4_000..6_500));
    let (recipient_pipe, owner_pipe) = pipes();
    let last = Mutex::new(None);
    let on_progress = |progress: MatchProgress| *last.lock().unwrap() = Some(progress);
    let owner = tokio::spawn(side(
        Role::Owner,
        Arc::clone(&owner_set),
        PeerSize::Exactly(2_500),
        owner_pipe,
    ));
    let keys = keys(Role::Recipient);
    let opening = keys.opening(Role::Recipient, 2_500, PeerSize::AtMost(6_000));
    let met = meet(opening, recipient_pipe).await.unwrap();
    assert_eq!(met.peer_checkpoint(), Some("a checkpoint"));
    let recipient = met
        .run(Arc::clone(&recipient_set), &on_progress)
        .await
        .unwrap();
    let owner = owner.await.unwrap().unwrap();

    assert_eq!(owner.session, recipient.session);
    assert_eq!(
        (owner.peer_set_size, recipient.peer_set_size),
        (2_500, 5_300)
    );
    assert_eq!((owner.tokens.len(), recipient.tokens.len()), (5_300, 2_500));
    let total = MatchProgress {
        own: 2_500,
        own_total: 2_500,
        peer: 5_300,
        peer_total: 5_300,
    };
    assert_eq!(*last.lock().unwrap(), Some(total));

    let by_id: BTreeMap<_, _> = (0..)
        .zip(&owner.tokens)
        .map(|(i, t)| (t.match_id(), i))
        .collect();
    let mut common = 0;
    for (index, token) in (0..).zip(&recipient.tokens) {
        let matched = by_id.get(&token.match_id()).copied();
        // Customer 4000 + index is the recipient's item of this index, and the owner's of that number.
        assert_eq!(matched, (index < 1_300).then_some(4_000_u32 + index));
        if let Some(owner_index) = matched {
            let other = &owner.tokens[owner_index as usize];
            assert_eq!(
                token.row_key(Role::Owner).expose(),
                other.row_key(Role::Owner).expose()
            );
            common += 1;
        }
    }
    assert_eq!(common, 1_300);
}

#[tokio::test]
async fn vole_finds_what_is_common_whatever_the_sizes() {
    // The last pair sends stores of 33 and of 1 pieces against each other.
    for (owner_items, recipient_items, common) in [
        (0..1, 0..1, 1),
        (0..500, 400..3_000, 100),
        (0..100_000, 7..12, 5),
    ] {
        let (owner_set, recipient_set) = (set(owner_items), set(recipient_items));
        let (recipient_pipe, owner_pipe) = pipes();
        let (owner_size, recipient_size) = (owner_set.len() as u64, recipient_set.len() as u64);
        let owner = tokio::spawn(side_with(
            Protocol::Vole,
            Role::Owner,
            owner_set,
            PeerSize::Exactly(recipient_size),
            owner_pipe,
        ));
        let last = Mutex::new(None);
        let on_progress = |progress: MatchProgress| *last.lock().unwrap() = Some(progress);
        let keys = keys(Role::Recipient);
        let opening = Opening {
            protocol: Protocol::Vole,
            ..keys.opening(Role::Recipient, recipient_size, PeerSize::AtMost(1 << 20))
        };
        let met = meet(opening, recipient_pipe).await.unwrap();
        let recipient = met.run(recipient_set, &on_progress).await.unwrap();
        let owner = owner.await.unwrap().unwrap();
        let total = MatchProgress {
            own: recipient_size,
            own_total: recipient_size,
            peer: owner_size,
            peer_total: owner_size,
        };
        assert_eq!(*last.lock().unwrap(), Some(total));
        let ids: std::collections::BTreeSet<_> = owner.tokens.iter().map(Token::match_id).collect();
        let found = recipient
            .tokens
            .iter()
            .filter(|t| ids.contains(&t.match_id()));
        assert_eq!(found.count(), common);
    }
}

/// Both sides take the protocol from the agreement; if one does not, nobody gets tokens.
#[tokio::test]
async fn agents_that_run_different_protocols_part() {
    let (recipient_pipe, owner_pipe) = pipes();
    let owner = tokio::spawn(side(
        Role::Owner,
        set(0..3),
        PeerSize::AtMost(3),
        owner_pipe,
    ));
    let peer = PeerSize::AtMost(3);
    let recipient = side_with(
        Protocol::Vole,
        Role::Recipient,
        set(0..3),
        peer,
        recipient_pipe,
    )
    .await;
    let owner = owner.await.unwrap();
    for result in [owner, recipient] {
        assert!(
            matches!(
                result,
                Err(MatchError::Misbehaved(_) | MatchError::Aborted { .. })
            ),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn the_smallest_sets_match() {
    let (recipient_pipe, owner_pipe) = pipes();
    let owner = tokio::spawn(side(
        Role::Owner,
        set(7..8),
        PeerSize::AtMost(1),
        owner_pipe,
    ));
    let recipient = side(
        Role::Recipient,
        set(7..8),
        PeerSize::AtMost(1),
        recipient_pipe,
    )
    .await
    .unwrap();
    let owner = owner.await.unwrap().unwrap();
    assert_eq!(owner.tokens[0].match_id(), recipient.tokens[0].match_id());
}

#[tokio::test]
async fn two_sessions_over_the_same_items_share_no_token() {
    for protocol in [Protocol::Dh, Protocol::Vole] {
        let mut ids = Vec::new();
        for _ in 0..2 {
            let (recipient_pipe, owner_pipe) = pipes();
            let size = PeerSize::AtMost(3);
            let owner = side_with(protocol, Role::Owner, set(0..3), size, owner_pipe);
            let owner = tokio::spawn(owner);
            let recipient = side_with(protocol, Role::Recipient, set(0..3), size, recipient_pipe);
            let recipient = recipient.await.unwrap();
            owner.await.unwrap().unwrap();
            ids.extend(recipient.tokens.iter().map(Token::match_id));
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6, "{protocol}");
    }
}
