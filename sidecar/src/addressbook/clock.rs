//! Times of leases in four octets: tenths of a second since the clock was made, rounded so that no lease is believed to be longer than it is.

use std::time::{Duration, Instant};

/// Ticks in a second.
const A_SECOND: u32 = 10;
/// Milliseconds of a tick.
const MILLISECONDS: u128 = 1000 / A_SECOND as u128;

/// A moment, in tenths of a second since its [`Clock`] was made. Enough for 13 years; beyond them time stands still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u32);

impl Tick {
    /// When the clock was made.
    pub const ZERO: Self = Tick(0);

    /// Whole seconds later.
    pub const fn plus_seconds(self, seconds: u32) -> Self {
        Tick(self.0.saturating_add(seconds.saturating_mul(A_SECOND)))
    }

    /// So many ticks later.
    pub const fn plus(self, ticks: u32) -> Self {
        Tick(self.0.saturating_add(ticks))
    }

    /// Ticks since `earlier`; none if that is later.
    pub const fn since(self, earlier: Tick) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time since `earlier`; none if that is later.
    pub const fn duration_since(self, earlier: Tick) -> Duration {
        Duration::from_millis(self.since(earlier) as u64 * (1000 / A_SECOND as u64))
    }
}

/// Turns moments into ticks and back.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins at `origin`; what was before it counts as then.
    pub const fn new(origin: Instant) -> Self {
        Clock { origin }
    }

    /// The last tick that is not after `moment`. A lease that ends after the tick of now has not ended.
    pub fn tick(&self, moment: Instant) -> Tick {
        Tick(u32::try_from(moment.saturating_duration_since(self.origin).as_millis() / MILLISECONDS).unwrap_or(u32::MAX))
    }

    /// The first tick that is not before `span` after `moment`: the end of a lease that must last that long.
    pub fn end(&self, moment: Instant, span: Duration) -> Tick {
        let whole = moment.saturating_duration_since(self.origin).saturating_add(span);
        // As fine as they come: to round twice, or by a bound that is not reached, would be a lease too short.
        let ticks = whole.as_nanos().div_ceil(MILLISECONDS * 1_000_000);
        Tick(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// The moment of a tick.
    pub fn instant(&self, tick: Tick) -> Instant {
        self.origin + tick.duration_since(Tick(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_never_before_what_was_wanted_and_less_than_a_tick_after_it() {
        let origin = Instant::now();
        let clock = Clock::new(origin);
        for (at, span) in [(0, 1_000), (1, 1_000), (99, 1_000), (100, 0), (12_345_678, 30_001)] {
            let moment = origin + Duration::from_millis(at) + Duration::from_nanos(1);
            let wanted = moment + Duration::from_millis(span);
            let end = clock.instant(clock.end(moment, Duration::from_millis(span)));
            assert!(end >= wanted && end < wanted + Duration::from_millis(100), "{at} {span}");
        }
    }

    #[test]
    fn a_lease_is_not_live_after_its_end() {
        let origin = Instant::now();
        let clock = Clock::new(origin);
        let end = clock.end(origin, Duration::from_secs(1));
        assert!(end > clock.tick(origin + Duration::from_millis(999)));
        assert!(end <= clock.tick(origin + Duration::from_millis(1000)));
    }

    #[test]
    fn times_out_of_reach_stand_still() {
        let clock = Clock::new(Instant::now());
        let end = clock.end(Instant::now(), Duration::MAX);
        assert_eq!(end, end.plus_seconds(1));
        assert_eq!(Tick(3).since(Tick(7)), 0);
    }
}
