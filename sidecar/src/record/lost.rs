//! What could not be told, counted: silence in the log means that nothing happened only where no such record stands.

use serde::{Deserialize, Serialize};

/// What was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostWhat {
    /// Refused packets.
    RefusedPackets,
    /// First packets of permitted flows, or of such as came in.
    FirstPackets,
    /// Ends of flows.
    EndedFlows,
    /// Questions.
    Questions,
    /// Records that were made and not written.
    Records,
    /// Packets that spoke for others, and guesses at the proxy's identity: dropped, in audit too.
    ForgedPackets,
    /// Frames that went by the IP stack (AF_PACKET): dropped, in audit let pass.
    RawFrames,
}

/// Where it was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostWhy {
    /// The ruleset tells only so many packets a second.
    OverLimit,
    /// The kernel's queue was full before it was read.
    NotReadInTime,
    /// A queue of the sidecar's was full.
    QueueFull,
    /// Who reads the log is too slow, or gone.
    NotWritten,
    /// The ruleset counts it where it cannot tell it.
    NeverTold,
}

/// One kind of loss since the last such record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRecord {
    /// What.
    #[serde(rename = "lost.what")]
    pub what: LostWhat,
    /// Where.
    #[serde(rename = "lost.why")]
    pub why: LostWhy,
    /// How many.
    #[serde(rename = "lost.count")]
    pub count: u64,
}
