//! Peers that break the protocol, fall silent, leave, or are not who they should be.

use super::*;

/// A recipient's agent under the test's control, against an honest owner with 10 identifiers.
struct Rogue {
    link: Link,
}

const OWNER_ITEMS: u32 = 10;

/// The honest owner's end, and the rogue after an honest handshake.
async fn rogue() -> (tokio::task::JoinHandle<Result<Matched, MatchError>>, Rogue) {
    rogue_with(Protocol::Dh).await
}

async fn rogue_with(
    protocol: Protocol,
) -> (tokio::task::JoinHandle<Result<Matched, MatchError>>, Rogue) {
    let (mut pipe, owner_pipe) = pipes();
    let owner = tokio::spawn(side_with(
        protocol,
        Role::Owner,
        set(0..OWNER_ITEMS),
        PeerSize::AtMost(5_000),
        owner_pipe,
    ));
    let keys = keys(Role::Recipient);
    let opening = keys.opening(Role::Recipient, 1, PeerSize::AtMost(10));
    let channel = shake_hands(&opening, &mut pipe).await.unwrap();
    (
        owner,
        Rogue {
            link: Link {
                channel,
                pipe,
                patience: Patience::COMING,
            },
        },
    )
}

impl Rogue {
    async fn say(&mut self, message: PeerMessage) {
        // The owner may have left already, which is for the test to see at the owner's end.
        drop(self.link.send(&message, Phase::Points).await);
    }

    async fn greet(&mut self, set_size: u64) {
        self.say(PeerMessage::Hello(Hello {
            nonce: [9; 32],
            set_size,
            checkpoint: None,
        }))
        .await;
        let owner = self.link.receive(Phase::Hello).await.unwrap();
        assert!(matches!(owner, PeerMessage::Hello(_)));
    }

    /// Reads until the owner says that it stops.
    async fn told(&mut self) -> Option<String> {
        loop {
            match self.link.receive(Phase::Points).await {
                Ok(_) => {}
                Err(MatchError::Aborted { code, .. }) => return Some(code),
                Err(_) => return None,
            }
        }
    }
}

fn points(count: usize) -> Vec<u8> {
    // Any bytes: decoding comes after counting.
    (0..count)
        .flat_map(|i| {
            let mut p = [0; 32];
            p[..8].copy_from_slice(&(i as u64).to_le_bytes());
            p
        })
        .collect()
}

#[tokio::test]
async fn what_no_honest_peer_sends_is_blamed_on_it_and_it_is_told() {
    let hello = || {
        PeerMessage::Hello(Hello {
            nonce: [8; 32],
            set_size: 3,
            checkpoint: None,
        })
    };
    let cases = [
        ("greets twice", 3, hello(), "greets a second time"),
        (
            "fewer points than due",
            3,
            PeerMessage::Blinded(points(2)),
            "2` points where 3",
        ),
        (
            "more points than due",
            3,
            PeerMessage::Blinded(points(4)),
            "4` points where 3",
        ),
        (
            "no points",
            3,
            PeerMessage::Blinded(vec![]),
            "0` points where 3",
        ),
        (
            "half a point",
            3,
            PeerMessage::Blinded(vec![0; 95]),
            "whole number",
        ),
        (
            "first chunk not full",
            2_500,
            PeerMessage::Blinded(points(500)),
            "500` points where 2000",
        ),
        (
            "not points",
            3,
            PeerMessage::Blinded(vec![0xFF; 96]),
            "point",
        ),
        (
            "the identity",
            1,
            PeerMessage::Blinded(vec![0; 32]),
            "identity",
        ),
        (
            "wrong reply",
            3,
            PeerMessage::Evaluated(points(9)),
            "9` points where 10",
        ),
        (
            "empty reply",
            3,
            PeerMessage::Evaluated(vec![]),
            "0` points where 10",
        ),
    ];
    for (name, set_size, message, expected) in cases {
        let (owner, mut rogue) = rogue().await;
        rogue.greet(set_size).await;
        rogue.say(message).await;
        assert_eq!(rogue.told().await.as_deref(), Some("protocol"), "{name}");
        match owner.await.unwrap() {
            Err(MatchError::Misbehaved(why)) => assert!(why.contains(expected), "{name}: {why}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_no_honest_peer_of_vole_sends_is_blamed_on_it_and_it_is_told() {
    // The first message has 8,224 bytes: 256 points and a commitment.
    let cases = [
        (
            "a message of dh",
            PeerMessage::Blinded(points(3)),
            "another protocol",
        ),
        (
            "nothing",
            PeerMessage::Piece(vec![]),
            "`0` bytes in round 1 where 8224",
        ),
        (
            "a byte less",
            PeerMessage::Piece(vec![0; 8_223]),
            "8223` bytes in round 1",
        ),
        (
            "a byte more",
            PeerMessage::Piece(vec![0; 8_225]),
            "8225` bytes in round 1",
        ),
        (
            "a whole piece",
            PeerMessage::Piece(vec![0; 64_000]),
            "in round 1",
        ),
        (
            "no points",
            PeerMessage::Piece(vec![0xFF; 8_224]),
            "base transfer `0`",
        ),
    ];
    for (name, message, expected) in cases {
        let (owner, mut rogue) = rogue_with(Protocol::Vole).await;
        rogue.greet(3).await;
        rogue.say(message).await;
        assert_eq!(rogue.told().await.as_deref(), Some("protocol"), "{name}");
        match owner.await.unwrap() {
            Err(MatchError::Misbehaved(why)) => assert!(why.contains(expected), "{name}: {why}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// An honest side of `vole` in the rogue's hands, whose `nth` message from the end of the run on is changed.
#[tokio::test]
async fn a_message_of_vole_that_was_changed_late_is_found_and_blamed() {
    use counterfoil_psi::{Message, TokenExchange};
    // From the back: the answer to the check with the coin, and (unharmful, hence not here) the store.
    for (byte, expected) in [(0, "trees of keys"), (40, "another coin")] {
        let (owner, mut rogue) = rogue_with(Protocol::Vole).await;
        let nonce = SessionNonce::from_bytes([9; 32]);
        rogue
            .say(PeerMessage::Hello(Hello {
                nonce: *nonce.as_bytes(),
                set_size: 3,
                checkpoint: None,
            }))
            .await;
        let PeerMessage::Hello(hello) = rogue.link.receive(Phase::Hello).await.unwrap() else {
            panic!("a greeting comes first");
        };
        let session = SessionId::derive(&SessionInputs {
            flow: &BINDING.flow,
            bucket: BINDING.bucket,
            attempt: BINDING.attempt,
            owner_nonce: SessionNonce::from_bytes(hello.nonce),
            recipient_nonce: nonce,
            agreement_digest: &BINDING.agreement,
        });
        let mut side = TokenExchange::begin(
            Protocol::Vole,
            session,
            Role::Recipient,
            set(0..3),
            OWNER_ITEMS,
            &mut rand::rng(),
        )
        .unwrap();
        loop {
            while let Some(Message::Piece(mut piece)) = side.next_message().unwrap() {
                // 32 bytes of answer and 16 of coin are the last message, and only that.
                if piece.len() == 48 {
                    piece[byte] ^= 1;
                }
                rogue.say(PeerMessage::Piece(piece)).await;
            }
            match rogue.link.receive(Phase::Points).await {
                Ok(PeerMessage::Piece(piece)) => side.receive(Message::Piece(piece)).unwrap(),
                Ok(other) => panic!("{other:?}"),
                Err(error) => {
                    assert!(matches!(error, MatchError::Aborted { .. }), "{error}");
                    break;
                }
            }
        }
        match owner.await.unwrap() {
            Err(MatchError::Misbehaved(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_greeting_must_come_first_and_be_whole() {
    let (owner, mut rogue) = rogue().await;
    rogue.say(PeerMessage::Blinded(points(3))).await;
    assert!(
        matches!(owner.await.unwrap(), Err(MatchError::Misbehaved(why)) if why.contains("no greeting"))
    );

    for bytes in [&[][..], &[9], &[1, 0xFF]] {
        let (owner, mut rogue) = self::rogue().await;
        let frame = rogue.link.channel.seal(bytes).unwrap();
        rogue.link.pipe.outgoing.send(frame).await.unwrap();
        assert!(
            matches!(owner.await.unwrap(), Err(MatchError::Misbehaved(_))),
            "{bytes:?}"
        );
    }
}

#[tokio::test]
async fn a_set_of_another_size_than_allowed_ends_the_matching() {
    for (allowed, size, passes) in [
        (PeerSize::AtMost(5), 0, false),
        (PeerSize::AtMost(5), 5, true),
        (PeerSize::AtMost(5), 6, false),
        (PeerSize::AtMost(5), u64::MAX, false),
        (PeerSize::Exactly(5), 4, false),
        (PeerSize::Exactly(5), 5, true),
        (PeerSize::Exactly(5), 6, false),
    ] {
        assert_eq!(allowed.check(size).is_ok(), passes, "{allowed:?} {size}");
    }
    let (owner, mut rogue) = rogue().await;
    rogue.greet(5_001).await;
    assert_eq!(rogue.told().await.as_deref(), Some("set_size"));
    let error = owner.await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the other agent brought 5001 identifiers where 1 to 5000 are allowed"
    );
}

#[tokio::test]
async fn frames_that_do_not_open_end_the_matching() {
    let junk = [
        vec![],
        vec![0; 15],
        vec![7; 200],
        vec![7; NOISE_MESSAGE_BYTES_MAX],
        vec![7; NOISE_MESSAGE_BYTES_MAX + 1],
    ];
    for frame in junk {
        let (owner, rogue) = rogue().await;
        rogue.link.pipe.outgoing.send(frame.clone()).await.unwrap();
        assert!(
            matches!(owner.await.unwrap(), Err(MatchError::Unopened(_))),
            "after the handshake"
        );

        let (pipe, owner_pipe) = pipes();
        let owner = tokio::spawn(side(
            Role::Owner,
            set(0..1),
            PeerSize::AtMost(5),
            owner_pipe,
        ));
        pipe.outgoing.send(frame).await.unwrap();
        assert!(
            matches!(owner.await.unwrap(), Err(MatchError::Unopened(_))),
            "in the handshake"
        );
    }
}

#[tokio::test]
async fn an_abort_of_the_peer_is_told_without_what_a_terminal_would_obey() {
    let (owner, mut rogue) = rogue().await;
    rogue.greet(3).await;
    let message = format!("\u{1b}[2Jover{}", "x".repeat(5_000));
    rogue
        .say(PeerMessage::Abort(PeerAbort {
            code: "cap".into(),
            message,
        }))
        .await;
    match owner.await.unwrap() {
        Err(MatchError::Aborted { code, message }) => {
            assert_eq!(code, "cap");
            assert!(message.starts_with("\u{FFFD}[2Jover"));
            assert_eq!(message.chars().count(), 300);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_caller_that_stops_tells_the_peer() {
    let (recipient_pipe, owner_pipe) = pipes();
    let owner = tokio::spawn(side(
        Role::Owner,
        set(0..5),
        PeerSize::AtMost(5),
        owner_pipe,
    ));
    let keys = keys(Role::Recipient);
    let met = meet(
        keys.opening(Role::Recipient, 5, PeerSize::AtMost(5)),
        recipient_pipe,
    )
    .await
    .unwrap();
    met.abort("fork", "the two checkpoints contradict each other")
        .await;
    match owner.await.unwrap() {
        Err(MatchError::Aborted { code, message }) => {
            assert_eq!(
                (code.as_str(), message.as_str()),
                ("fork", "the two checkpoints contradict each other")
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up() {
    let (_pipe, owner_pipe) = pipes();
    let owner = side(Role::Owner, set(0..1), PeerSize::AtMost(5), owner_pipe).await;
    assert!(
        matches!(
            owner,
            Err(MatchError::Silent {
                phase: Phase::Handshake,
                seconds: 60
            })
        ),
        "{owner:?}"
    );

    let (owner, _rogue) = rogue().await;
    let result = owner.await.unwrap();
    assert!(
        matches!(
            result,
            Err(MatchError::Silent {
                phase: Phase::Hello,
                seconds: 60
            })
        ),
        "{result:?}"
    );

    let (owner, mut rogue) = rogue().await;
    rogue.greet(3).await;
    let result = owner.await.unwrap();
    assert!(
        matches!(
            result,
            Err(MatchError::Silent {
                phase: Phase::Points,
                seconds: 60
            })
        ),
        "{result:?}"
    );
    assert_eq!(rogue.told().await.as_deref(), Some("timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_and_never_reads_is_given_up() {
    // More chunks to answer than the pipe holds frames, and nobody takes the answers.
    let frames = 2;
    let (mut pipe, owner_pipe) = pipes_of(frames);
    let items = set(0..OWNER_ITEMS);
    let owner = tokio::spawn(side(
        Role::Owner,
        items,
        PeerSize::AtMost(1_000_000),
        owner_pipe,
    ));
    let keys = keys(Role::Recipient);
    let size = (frames as u64 + 2) * CHUNK_POINTS as u64;
    let channel = shake_hands(
        &keys.opening(Role::Recipient, size, PeerSize::AtMost(10)),
        &mut pipe,
    )
    .await
    .unwrap();
    let mut rogue = Rogue {
        link: Link {
            channel,
            pipe,
            patience: Patience::COMING,
        },
    };
    rogue.greet(size).await;
    let own = set(0..u32::try_from(size).unwrap());
    let session = SessionId::from_bytes([0; 32]);
    let (mut query, _) =
        counterfoil_psi::dh::begin(session, own, OWNER_ITEMS, &mut rand::rng()).unwrap();
    while let Some(chunk) = query.next_chunk().unwrap() {
        rogue.say(PeerMessage::Blinded(chunk)).await;
    }
    let result = owner.await.unwrap();
    assert!(
        matches!(
            result,
            Err(MatchError::Silent {
                phase: Phase::Points,
                ..
            })
        ),
        "{result:?}"
    );
}

/// Passes frames on, each after `delay`.
async fn delaying(mut from: mpsc::Receiver<Vec<u8>>, to: mpsc::Sender<Vec<u8>>, delay: Duration) {
    while let Some(frame) = from.recv().await {
        sleep(delay).await;
        if to.send(frame).await.is_err() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_always_just_in_time_is_given_up_too() {
    let (recipient_pipe, slow_pipe) = pipes();
    let (fast_pipe, owner_pipe) = pipes();
    let delay = Duration::from_secs(25);
    tokio::spawn(delaying(slow_pipe.incoming, fast_pipe.outgoing, delay));
    tokio::spawn(delaying(fast_pipe.incoming, slow_pipe.outgoing, delay));
    let size = 5 * CHUNK_POINTS as u32;
    let owner = tokio::spawn(side(
        Role::Owner,
        set(0..size),
        PeerSize::AtMost(20_000),
        owner_pipe,
    ));
    let start = Instant::now();
    let recipient = side(
        Role::Recipient,
        set(0..size),
        PeerSize::AtMost(20_000),
        recipient_pipe,
    )
    .await;
    // 60 s for a message and 2 s for each of 11 chunks.
    assert!(
        matches!(recipient, Err(MatchError::Slow { seconds: 82 })),
        "{recipient:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(300));
    assert!(owner.await.unwrap().is_err());
}

#[tokio::test]
async fn a_peer_that_leaves_is_named_as_gone() {
    let (pipe, owner_pipe) = pipes();
    drop(pipe);
    let result = side(Role::Owner, set(0..1), PeerSize::AtMost(5), owner_pipe).await;
    assert!(
        matches!(
            result,
            Err(MatchError::Disconnected {
                phase: Phase::Handshake
            })
        ),
        "{result:?}"
    );

    let (owner, rogue) = rogue().await;
    drop(rogue);
    let result = owner.await.unwrap();
    assert!(
        matches!(
            result,
            Err(MatchError::Disconnected {
                phase: Phase::Hello
            })
        ),
        "{result:?}"
    );

    let (owner, mut rogue) = self::rogue().await;
    rogue.greet(3).await;
    drop(rogue);
    let result = owner.await.unwrap();
    assert!(
        matches!(
            result,
            Err(MatchError::Disconnected {
                phase: Phase::Points
            })
        ),
        "{result:?}"
    );
}

#[tokio::test]
async fn another_agents_key_gives_no_meeting() {
    let (recipient_pipe, owner_pipe) = pipes();
    let owner = tokio::spawn(side(
        Role::Owner,
        set(0..1),
        PeerSize::AtMost(5),
        owner_pipe,
    ));
    let mut keys = keys(Role::Recipient);
    keys.own = StaticSecret::from([77; 32]);
    let result = meet(
        keys.opening(Role::Recipient, 1, PeerSize::AtMost(5)),
        recipient_pipe,
    )
    .await;
    assert!(
        matches!(
            result,
            Err(MatchError::Disconnected {
                phase: Phase::Handshake
            })
        ),
        "{result:?}"
    );
    assert!(matches!(
        owner.await.unwrap(),
        Err(MatchError::Unopened(crate::noise::NoiseError::Handshake))
    ));
}
