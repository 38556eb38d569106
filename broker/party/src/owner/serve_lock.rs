//! Which processes may serve a home side by side: one for each shard, all of the same number of shards.
//!
//! Of two numbers the same bucket would belong to two processes.

use counterfoil_proto::limits::SHARDS_MAX;

use crate::error::{Error, Result};
use crate::flow::shard::Shard;
use crate::home::{Home, HomeLock};

/// The right to serve a shard of a home, until dropped.
pub(super) struct ServeLock {
    _shard: HomeLock,
    /// Shared by all shards of this number.
    _count: HomeLock,
}

impl ServeLock {
    /// # Errors
    /// [`Error::Busy`] if another process serves this shard, or one of another number of shards.
    pub(super) fn take(home: &Home, shard: Shard) -> Result<Self> {
        // While one looks, no other does: it takes each number's lock for a moment.
        let _looking = home.lock()?;
        let own = format!(".serve-lock.{}-of-{}", shard.index(), shard.count());
        let taken = home.try_lock(&own)?;
        let path = home.path().display();
        let lock = taken.ok_or_else(|| {
            let command = if shard == Shard::WHOLE {
                "counterfoil party serve".to_owned()
            } else {
                format!("counterfoil party serve --shard {shard}")
            };
            Error::Busy(format!("`{command}` already runs for `{path}`"))
        })?;
        for other in (1..=SHARDS_MAX).filter(|other| *other != shard.count()) {
            if home.path().join(of(other)).exists() && home.try_lock(&of(other))?.is_none() {
                return Err(Error::Busy(format!(
                    "`{path}` is served in {other} shard(s) already, and this one is of {}: end the others first",
                    shard.count()
                )));
            }
        }
        let count = home
            .try_share(&of(shard.count()))?
            .ok_or_else(|| Error::Busy(format!("another program locks `{path}`: end it first")))?;
        Ok(Self {
            _shard: lock,
            _count: count,
        })
    }
}

fn of(count: u32) -> String {
    format!(".serve-lock.of-{count}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_home_is_served_in_one_number_of_shards_each_once() {
        let (_dir, home) = crate::testkit::home(Clock::system());
        let take = |shard: &str| ServeLock::take(&home, shard.parse().unwrap());
        let busy = |shard: &str| take(shard).is_err_and(|error| error.code() == "busy");
        let first = take("0/2").unwrap();
        let second = take("1/2").unwrap();
        assert!(busy("0/2") && busy("0/3") && busy("2/3") && busy("0/1"));
        drop(first);
        assert!(busy("0/1"), "the other one still serves");
        drop(second);
        let whole = take("0/1").unwrap();
        assert!(busy("0/1") && busy("1/2"));
        drop(whole);
        assert!(take("1/2").is_ok());
    }
}
