//! A hard cap on questions that no app asked.

use crate::addressbook::Tick;

/// Questions a second. Ten are 3,000 names renewed in the shortest lease of 5 minutes that is common, and no load for any resolver.
pub(super) const A_SECOND: u32 = 10;

/// As many questions as tenths of a second have passed, at most those of one second.
#[derive(Debug)]
pub(super) struct Bucket {
    left: u32,
    at: Tick,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket { left: A_SECOND, at: Tick::ZERO }
    }
}

impl Bucket {
    /// Takes one, if one is left.
    pub(super) fn take(&mut self, now: Tick) -> bool {
        // A tick is a tenth of a second: one question each.
        self.left = self.left.saturating_add(now.since(self.at)).min(A_SECOND);
        self.at = self.at.max(now);
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_than_its_share_and_the_one_that_was_saved_up() {
        let mut bucket = Bucket::default();
        let taken = |bucket: &mut Bucket, now: u32| (0..100).filter(|_| bucket.take(Tick::ZERO.plus_seconds(now))).count();
        assert_eq!(taken(&mut bucket, 1000), 10);
        assert_eq!(taken(&mut bucket, 1000), 0);
        assert_eq!(taken(&mut bucket, 1001), 10);
        assert_eq!(taken(&mut bucket, 900), 0);
    }
}
