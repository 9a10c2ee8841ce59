//! A scripted hour of a pod's life: what it tries, what the policy of that moment makes of it, and a checker of the log against both.
//!
//! The script knows what must be told by a model of its own ([`stage`]), which shares no code with the product. Each round has names and
//! addresses of its own, so that no lease of another round makes an expectation doubtful: what is compared is equal or it is wrong.

mod check;
mod expected;
mod round;
mod stage;
mod wire;

pub use check::{Findings, check};
pub use expected::{Expected, Key};
pub use round::{Hour, Passed};
pub use stage::Stage;
pub use wire::Wire;
