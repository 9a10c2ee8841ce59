//! Proof on a real kernel with real servers: namespaces, an authority that can lie, targets, a wire watcher.
#![forbid(unsafe_code)]
