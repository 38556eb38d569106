//! A way to the broker that can be cut while all processes live.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::world::World;

/// Carries the connections of one institution to the broker.
pub struct Proxy {
    address: SocketAddr,
    ends: Arc<Mutex<Vec<TcpStream>>>,
    /// Bytes from the institution.
    sent: Arc<AtomicU64>,
}

impl Proxy {
    fn to(broker: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            ends: Arc::default(),
            sent: Arc::default(),
        };
        let (ends, sent) = (Arc::clone(&proxy.ends), Arc::clone(&proxy.sent));
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // A broker that is away refuses: so does the proxy then, by hanging up.
                let Ok(far) = TcpStream::connect(&broker) else {
                    continue;
                };
                let clones = [&near, &near, &far, &far].map(|end| end.try_clone().unwrap());
                let [near_in, near_out, far_in, far_out] = clones;
                ends.lock().unwrap().extend([near, far]);
                let sent = Arc::clone(&sent);
                std::thread::spawn(move || copy(near_in, far_out, &sent));
                std::thread::spawn(move || copy(far_in, near_out, &AtomicU64::new(0)));
            }
        });
        proxy
    }

    /// Breaks every connection; new ones are carried. Returns how many there were.
    pub fn cut(&self) -> usize {
        let ends = std::mem::take(&mut *self.ends.lock().unwrap());
        for end in &ends {
            let _ = end.shutdown(Shutdown::Both);
        }
        ends.len() / 2
    }

    /// Bytes that the institution has sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut buffer = [0; 1 << 16];
    while let Ok(got @ 1..) = from.read(&mut buffer) {
        count.fetch_add(got as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..got]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

impl World {
    /// From its next start on, an institution's processes reach the broker through a proxy.
    pub fn route(&self, home: &str) -> Proxy {
        let file = self.home(home).join("party.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let address = text.split('"').find(|part| part.starts_with("127.0.0.1:"));
        let address = address.unwrap().to_owned();
        let proxy = Proxy::to(address.clone());
        std::fs::write(&file, text.replace(&address, &proxy.address.to_string())).unwrap();
        proxy
    }
}
