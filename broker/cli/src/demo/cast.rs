//! Who takes part: a broker and two institutions with two people each.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_party::clock::Clock;
use counterfoil_party::home::Home;
use counterfoil_party::join::join;
use counterfoil_party::partners;
use counterfoil_party::transport::Broker;
use counterfoil_policy::text::UserId;
use counterfoil_server::home::{Config, Home as BrokerHome, Room, built_in_packs};
use counterfoil_server::operator::Operator;
use counterfoil_server::serve::Service;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::command::parse;
use crate::failure::Failure;

pub(super) const OWNER: &str = "north-bank";
pub(super) const RECIPIENT: &str = "lake-insurance";

/// A broker that serves.
pub(super) struct RunningBroker {
    pub(super) home: BrokerHome,
    pub(super) address: String,
    pub(super) log_key: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), counterfoil_server::Error>>,
}

impl RunningBroker {
    pub(super) async fn start(path: &Path) -> Result<Self, Failure> {
        let address = free_address()?;
        let config = Config {
            name: "demo.broker".into(),
            listen: address.clone(),
            address: address.clone(),
            packs: built_in_packs(),
            assessed_only: false,
            room: Room::default(),
        };
        let home = BrokerHome::create(path, config, OffsetDateTime::now_utc())?;
        let service = Service::start(home.clone()).await?;
        let log_key = service.log_key();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(service.run(async {
            let _ = stopped.await;
        }));
        Ok(Self {
            home,
            address,
            log_key,
            stop,
            serving,
        })
    }

    pub(super) async fn operator(&self) -> Result<Operator, Failure> {
        Ok(Operator::connect(&self.home).await?)
    }

    pub(super) async fn stop(self) -> Result<(), Failure> {
        let _ = self.stop.send(());
        let ended = self.serving.await;
        Ok(ended.map_err(|e| Failure::new("broker", 1, e.to_string()))??)
    }
}

/// An institution with two people.
pub(super) struct Institution {
    pub(super) path: PathBuf,
    pub(super) home: Arc<Home>,
    pub(super) broker: Broker,
    pub(super) fingerprint: String,
    pub(super) maker: UserId,
    pub(super) checker: UserId,
}

impl Institution {
    /// Makes keys, joins with an invite of the operator, adds two people.
    pub(super) async fn join(
        path: &Path,
        name: &str,
        people: [&str; 2],
        operator: &Operator,
    ) -> Result<Self, Failure> {
        let mut home = Home::create(path, parse(name)?, Clock::system())?;
        let (invite, _) = operator.invite(name, 600).await?;
        join(&mut home, &invite).await?;
        let [maker, checker] = people;
        let (maker, checker): (UserId, UserId) = (parse(maker)?, parse(checker)?);
        home.add_person(&maker)?;
        home.add_person(&checker)?;
        Ok(Self {
            path: path.to_owned(),
            broker: Broker::connect(&home).await?,
            fingerprint: home.fingerprint()?.to_string(),
            home: Arc::new(home),
            maker,
            checker,
        })
    }

    /// Confirms a partner's keys by the fingerprint that its people read out.
    pub(super) async fn confirm(&self, partner: &Self) -> Result<(), Failure> {
        let told = parse(&partner.fingerprint)?;
        partners::confirm(&self.home, &self.broker, partner.home.org(), &told).await?;
        Ok(())
    }
}

fn free_address() -> Result<String, Failure> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.to_string())
        .map_err(|e| {
            Failure::new(
                "listen",
                7,
                format!("no free port on the loopback interface: {e}"),
            )
        })
}
