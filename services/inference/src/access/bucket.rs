//! A bucket of requests for each caller: it fills at the caller's rate up to the burst, and a request takes one out.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::Caller;

/// How often a caller may ask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    per_second: f64,
    burst: f64,
}

/// The buckets of all callers; never more than so many, however many addresses there are.
pub(crate) struct Buckets {
    rate: Option<Rate>,
    buckets: Mutex<BTreeMap<Caller, Bucket>>,
}

struct Bucket {
    requests: f64,
    at: Instant,
}

const MOST_BUCKETS: usize = 10_000;

impl Rate {
    /// Without a burst, that of one second.
    pub fn new(per_second: f64, burst: Option<u32>) -> Self {
        Self { per_second, burst: burst.map_or(per_second.max(1.0), f64::from) }
    }
}

impl Buckets {
    /// `rate` is that of callers without one of their own; none means no limit.
    pub fn new(rate: Option<Rate>) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Takes a request out of the caller's bucket, or says how long until there is one.
    pub fn take(&self, caller: &Caller, own: Option<Rate>, now: Instant) -> Result<(), Duration> {
        let Some(rate) = own.or(self.rate) else { return Ok(()) };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_BUCKETS && !buckets.contains_key(caller) {
            make_room(&mut buckets, rate, now);
        }
        let bucket = buckets.entry(caller.clone()).or_insert(Bucket { requests: rate.burst, at: now });
        bucket.fill(rate, now);
        if bucket.requests >= 1.0 {
            bucket.requests -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64(((1.0 - bucket.requests) / rate.per_second).min(86_400.0)))
    }
}

impl Bucket {
    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.requests = (self.requests + passed * rate.per_second).min(rate.burst);
        self.at = now;
    }
}

/// Forgets full buckets, which are as good as new ones; if there are none, the one that was used longest ago.
fn make_room(buckets: &mut BTreeMap<Caller, Bucket>, rate: Rate, now: Instant) {
    buckets.retain(|_, bucket| {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.requests + passed * rate.per_second < rate.burst
    });
    if buckets.len() >= MOST_BUCKETS
        && let Some(oldest) =
            buckets.iter().min_by_key(|(_, bucket)| bucket.at).map(|(caller, _)| caller.clone())
    {
        buckets.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate_each_caller_for_itself() {
        let buckets = Buckets::new(Some(Rate::new(2.0, Some(3))));
        let (one, two) = (Caller::Named("one".into()), Caller::Named("two".into()));
        let start = Instant::now();
        let take = |caller: &Caller, ms: u64| buckets.take(caller, None, start + Duration::from_millis(ms));
        assert_eq!([take(&one, 0), take(&one, 0), take(&one, 0)], [Ok(()); 3]);
        assert_eq!(take(&one, 0), Err(Duration::from_millis(500)));
        assert_eq!(take(&one, 250), Err(Duration::from_millis(250)));
        assert_eq!(take(&two, 250), Ok(()));
        assert_eq!((take(&one, 500), take(&one, 500).is_err()), (Ok(()), true));
        // A clock that goes back takes nothing away and gives nothing.
        assert!(take(&one, 100).is_err());
        assert_eq!(
            buckets.take(&one, Some(Rate::new(1000.0, None)), start + Duration::from_millis(510)),
            Ok(())
        );
        assert_eq!(Buckets::new(None).take(&one, None, start), Ok(()));
    }

    #[test]
    fn many_addresses_take_no_more_memory() {
        let buckets = Buckets::new(Some(Rate::new(1.0, Some(5))));
        let start = Instant::now();
        for address in 0..20_000u32 {
            let caller = Caller::From(Some(std::net::Ipv4Addr::from(address).into()));
            assert_eq!(buckets.take(&caller, None, start), Ok(()));
        }
        assert!(buckets.buckets.lock().unwrap().len() <= MOST_BUCKETS);
    }
}
