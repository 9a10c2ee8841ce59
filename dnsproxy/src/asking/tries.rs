//! x
/// One try for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TryId {
    pub(super) index: u32,
    pub(super) serial: u32,
}
