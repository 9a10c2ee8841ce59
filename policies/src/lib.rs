//! What may be asked for, and why: the policy language, matching and explaining, with no sockets and no clock of its own.
#![forbid(unsafe_code)]
