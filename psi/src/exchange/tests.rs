use std::collections::BTreeSet;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::identifier::{IdentifierKind, Normaliser};
use crate::token::MatchId;

const SESSION: SessionId = SessionId::from_bytes([4; 32]);
const BOTH: [Protocol; 2] = [Protocol::Dh, Protocol::Vole];

fn set(numbers: std::ops::Range<u32>) -> Arc<IdentifierSet> {
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let normaliser = Normaliser::new(IdentifierKind::Email, None);
    let mut set = IdentifierSet::new(IdentifierKind::Email, &mut rng);
    for number in numbers {
        let identifier = normaliser.normalise(&format!("{number}@example.com"));
        set.insert(&identifier.unwrap()).unwrap();
    }
    Arc::new(set)
}

fn begin(protocol: Protocol, role: Role, own: std::ops::Range<u32>, peer: u32) -> TokenExchange {
    let mut rng = ChaCha20Rng::seed_from_u64(u64::from(role == Role::Owner));
    TokenExchange::begin(protocol, SESSION, role, set(own), peer, &mut rng).unwrap()
}

/// Runs both sides as far as they come, each sending all it may and then taking one message.
/// Returns the most messages that were under way in one direction.
fn run(owner: &mut TokenExchange, recipient: &mut TokenExchange) -> usize {
    let (mut to_owner, mut to_recipient) = (Vec::new(), Vec::new());
    let mut most = 0;
    while !(owner.is_complete() && recipient.is_complete()) {
        while let Some(message) = owner.next_message().unwrap() {
            to_recipient.push(message);
        }
        while let Some(message) = recipient.next_message().unwrap() {
            to_owner.push(message);
        }
        most = most.max(to_owner.len()).max(to_recipient.len());
        assert!(
            !to_owner.is_empty() || !to_recipient.is_empty(),
            "both wait"
        );
        if !to_owner.is_empty() {
            owner.receive(to_owner.remove(0)).unwrap();
        }
        if !to_recipient.is_empty() {
            recipient.receive(to_recipient.remove(0)).unwrap();
        }
    }
    most
}

#[test]
fn either_protocol_matches_what_both_hold() {
    for protocol in BOTH {
        // Several chunks of `dh`, and sizes far apart.
        let mut owner = begin(protocol, Role::Owner, 0..4_500, 300);
        let mut recipient = begin(protocol, Role::Recipient, 4_400..4_700, 4_500);
        let most = run(&mut owner, &mut recipient);
        assert!(most <= 2 * WINDOW, "{protocol}: {most}");
        let ids = |side: TokenExchange| -> BTreeSet<MatchId> {
            side.finish().unwrap().iter().map(Token::match_id).collect()
        };
        let (owner, recipient) = (ids(owner), ids(recipient));
        assert_eq!((owner.len(), recipient.len()), (4_500, 300));
        assert_eq!(owner.intersection(&recipient).count(), 100, "{protocol}");
    }
}

#[test]
fn a_message_of_the_other_protocol_is_the_peers_fault() {
    for (protocol, message) in [
        (Protocol::Dh, Message::Piece(vec![0; 64])),
        (Protocol::Vole, Message::Blinded(vec![0; 64])),
        (Protocol::Vole, Message::Evaluated(vec![0; 64])),
    ] {
        let mut side = begin(protocol, Role::Owner, 0..2, 2);
        let error = side.receive(message).unwrap_err();
        assert_eq!(error, ExchangeError::OtherProtocol(protocol));
        assert!(error.peer_fault().is_some());
    }
}

#[test]
fn only_the_peers_faults_are_blamed_on_it() {
    for protocol in BOTH {
        let mut side = begin(protocol, Role::Owner, 0..2, 2);
        let rubbish = match protocol {
            Protocol::Dh => Message::Blinded(vec![0; 3]),
            Protocol::Vole => Message::Piece(vec![0; 3]),
        };
        assert!(
            side.receive(rubbish.clone())
                .unwrap_err()
                .peer_fault()
                .is_some()
        );
        assert!(side.receive(rubbish).unwrap_err().peer_fault().is_none());
        assert!(side.finish().is_err());
        let mut rng = ChaCha20Rng::seed_from_u64(0);
        let announced = dh::ITEMS_MAX + 1;
        let begun = TokenExchange::begin(
            protocol,
            SESSION,
            Role::Owner,
            set(0..2),
            announced,
            &mut rng,
        );
        assert!(begun.unwrap_err().peer_fault().is_some());
    }
}

#[test]
fn names_come_back() {
    for protocol in BOTH {
        assert_eq!(protocol.to_string().parse(), Ok(protocol));
    }
    assert_eq!("ecdh".parse::<Protocol>(), Err(UnknownProtocol));
}

#[test]
fn messages_come_back_from_their_parts() {
    for message in [
        Message::Blinded(vec![1]),
        Message::Evaluated(vec![]),
        Message::Piece(vec![2, 3]),
    ] {
        let (kind, bytes) = message.parts();
        assert_eq!(
            Message::from_parts(kind, bytes.to_vec()),
            Some(message.clone())
        );
    }
    assert_eq!(Message::from_parts(3, vec![]), None);
}
