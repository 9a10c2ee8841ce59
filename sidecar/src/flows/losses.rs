//! What was not seen is counted: the ruleset's own counters against what came of them.

use nft::Counters;

use crate::record::{LostRecord, LostWhat, LostWhy};

/// What came of one NFLOG group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Came {
    /// Packets that were read.
    pub received: u64,
    /// Packets that the kernel's queue had no room for.
    pub overrun: u64,
}

/// One group's account.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// The counter when the account was opened, less what had come by then: below zero where another table counts anew.
    base: Option<i64>,
    /// The counter a look ago: what it counted has come by now, or never will.
    before: Option<u64>,
    over_limit: u64,
    overrun: u64,
}

impl Account {
    /// What was lost since the last look: over the ruleset's limit, and by overruns. Never more than was; what comes late masks it for a look.
    fn look(&mut self, counter: u64, came: Came) -> (u64, u64) {
        let came_at_all = came.received + came.overrun;
        let overrun = came.overrun - self.overrun;
        self.overrun = came.overrun;
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        // A counter that goes back is another table's.
        let Some(base) = self.base.filter(|_| self.before.is_none_or(|before| counter >= before)) else {
            let base = Some(signed(counter) - signed(came_at_all));
            *self = Account { base, before: None, overrun: came.overrun, over_limit: 0 };
            return (0, overrun);
        };
        let counted = self.before.map_or(i64::MIN, |before| signed(before).saturating_sub(base));
        let over_limit = u64::try_from(counted.saturating_sub(signed(came_at_all + self.over_limit))).unwrap_or(0);
        self.over_limit += over_limit;
        self.before = Some(counter);
        (over_limit, overrun)
    }
}

/// A counter of what is never told, as it was a look ago.
#[derive(Debug, Clone, Copy, Default)]
struct Tally(Option<u64>);

impl Tally {
    /// What came since. A counter that goes back is another table's.
    fn look(&mut self, counter: u64) -> u64 {
        self.0.replace(counter).and_then(|before| counter.checked_sub(before)).unwrap_or(0)
    }
}

/// The accounts of both groups, and what was lost elsewhere.
#[derive(Debug, Default)]
pub struct Losses {
    refused: Account,
    began: Account,
    forged: Tally,
    raw: Tally,
    noted: Vec<LostRecord>,
}

impl Losses {
    /// Notes a loss.
    pub fn note(&mut self, what: LostWhat, why: LostWhy, count: u64) {
        if count == 0 {
            return;
        }
        match self.noted.iter_mut().find(|noted| noted.what == what && noted.why == why) {
            Some(noted) => noted.count += count,
            None => self.noted.push(LostRecord { what, why, count }),
        }
    }

    /// Compares the counters with what has come of them.
    pub fn look(&mut self, counters: &Counters, refused: Came, began: Came) {
        let (over_limit, overrun) = self.refused.look(counters.denied.packets, refused);
        self.note(LostWhat::RefusedPackets, LostWhy::OverLimit, over_limit);
        self.note(LostWhat::RefusedPackets, LostWhy::NotReadInTime, overrun);
        let (over_limit, overrun) = self.began.look(counters.permitted.packets + counters.inbound.packets, began);
        self.note(LostWhat::FirstPackets, LostWhy::OverLimit, over_limit);
        self.note(LostWhat::FirstPackets, LostWhy::NotReadInTime, overrun);
        let (forged, raw) = (self.forged.look(counters.spoofed.packets), self.raw.look(counters.raw.packets));
        self.note(LostWhat::ForgedPackets, LostWhy::NeverTold, forged);
        self.note(LostWhat::RawFrames, LostWhy::NeverTold, raw);
    }

    /// What was lost since this was last asked.
    pub fn take(&mut self) -> Vec<LostRecord> {
        std::mem::take(&mut self.noted)
    }
}

#[cfg(test)]
mod tests {
    use nft::Counted;

    use super::*;

    fn denied(packets: u64) -> Counters {
        Counters { denied: Counted { packets, bytes: 0 }, ..Counters::default() }
    }

    fn came(received: u64, overrun: u64) -> Came {
        Came { received, overrun }
    }

    #[test]
    fn what_is_under_way_is_not_lost_and_what_never_comes_is_told_once() {
        let mut losses = Losses::default();
        losses.look(&denied(100), came(0, 0), Came::default());
        losses.look(&denied(150), came(20, 0), Came::default());
        assert_eq!(losses.take(), [], "thirty are under way");
        losses.look(&denied(150), came(50, 0), Came::default());
        losses.look(&denied(150), came(50, 0), Came::default());
        assert_eq!(losses.take(), [], "all have come");
        losses.look(&denied(1150), came(250, 300), Came::default());
        losses.look(&denied(1150), came(250, 300), Came::default());
        losses.look(&denied(1150), came(250, 300), Came::default());
        let lost = |why, count| LostRecord { what: LostWhat::RefusedPackets, why, count };
        assert_eq!(losses.take(), [lost(LostWhy::NotReadInTime, 300), lost(LostWhy::OverLimit, 500)]);
        // Another table begins to count anew.
        losses.look(&denied(3), came(250, 300), Came::default());
        losses.look(&denied(5), came(252, 300), Came::default());
        losses.look(&denied(5), came(252, 300), Came::default());
        assert_eq!(losses.take(), []);
    }

    #[test]
    fn what_is_counted_alone_is_told_as_it_grows() {
        let mut losses = Losses::default();
        let counted = |packets| Counted { packets, bytes: 0 };
        let mut look = |forged, raw| {
            losses.look(&Counters { spoofed: counted(forged), raw: counted(raw), ..Counters::default() }, Came::default(), Came::default());
            losses.take()
        };
        assert_eq!(look(5, 7), [], "of before this worker");
        let lost = |what, count| LostRecord { what, why: LostWhy::NeverTold, count };
        assert_eq!(look(8, 9), [lost(LostWhat::ForgedPackets, 3), lost(LostWhat::RawFrames, 2)]);
        assert_eq!(look(1, 9), [], "another table's");
        assert_eq!(look(2, 9), [lost(LostWhat::ForgedPackets, 1)]);
    }
}
