use super::*;

const CALLER: Option<CertificateSha256> = Some([1; 32]);

fn is_cut(admission: &Admission) -> bool {
    use std::task::Waker;
    let mut over = Box::pin(admission.over());
    over.as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

#[tokio::test]
async fn a_cut_reaches_every_open_connection_of_its_certificate_and_no_other() {
    let connections = Arc::new(Connections::default());
    let admit = |caller| connections.admit(caller).unwrap();
    let (first, second, other, none) = (
        admit(CALLER),
        admit(CALLER),
        admit(Some([2; 32])),
        admit(None),
    );
    connections.cut(&[3; 32]);
    assert!(!is_cut(&first));
    connections.cut(&[1; 32]);
    assert!(is_cut(&first) && is_cut(&second) && !is_cut(&other) && !is_cut(&none));
    // A connection made afterwards is refused by state, and can be cut again.
    let third = admit(CALLER);
    assert!(!is_cut(&third));
    connections.cut(&[1; 32]);
    assert!(is_cut(&third));
    connections.cut_all();
    assert!(is_cut(&other) && is_cut(&none) && is_cut(&admit(Some([4; 32]))));
}

#[tokio::test]
async fn one_caller_has_so_many_connections_and_strangers_together_as_many() {
    let connections = Arc::new(Connections::default());
    for (caller, max) in [
        (CALLER, CALLER_CONNECTIONS_MAX),
        (None, STRANGER_CONNECTIONS_MAX),
    ] {
        let mut open: Vec<_> = (0..max)
            .map(|_| connections.admit(caller).unwrap())
            .collect();
        assert!(connections.admit(caller).is_none());
        assert!(connections.admit(Some([2; 32])).is_some());
        // Cutting does not make room before the connections are gone.
        connections.cut(&[1; 32]);
        assert!(connections.admit(caller).is_none());
        open.pop();
        assert!(connections.admit(caller).is_some());
    }
    assert!(connections.by_caller().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stranger_stays_for_a_while_and_a_caller_as_long_as_it_likes() {
    let connections = Arc::new(Connections::default());
    let (stranger, caller) = (
        connections.admit(None).unwrap(),
        connections.admit(CALLER).unwrap(),
    );
    let begun = tokio::time::Instant::now();
    stranger.over().await;
    assert_eq!(begun.elapsed().as_secs(), STRANGER_MAX.as_secs());
    let longer = tokio::time::timeout(Duration::from_secs(86_400), caller.over());
    assert!(longer.await.is_err());
}
