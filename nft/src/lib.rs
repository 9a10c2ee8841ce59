//! What the kernel lets through: the ruleset, the leases and their acknowledgement, over netlink.
