//! What can go wrong with the tables, told apart by what the caller can do about it.

use std::io;

/// Opening the firewall.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel has no nf_tables, or its module cannot be loaded from here.
    #[error("the kernel has no nf_tables (hint: CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET; on the node: modprobe nf_tables)")]
    NoNfTables(#[source] io::Error),
    /// The process may not change the firewall of this namespace.
    #[error("not permitted to use nf_tables (hint: CAP_NET_ADMIN in the user namespace that owns this network namespace)")]
    NotPermitted(#[source] io::Error),
    /// The netlink socket could not be made or used.
    #[error("cannot use a netlink socket")]
    Socket(#[source] io::Error),
}

/// Reading what stands.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The kernel refused the dump.
    #[error("the kernel did not let {what} be read")]
    Refused {
        /// What was asked for.
        what: String,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
    /// The table is gone: install again.
    #[error("the table has vanished")]
    TableVanished,
    /// The tables changed under every try.
    #[error("{what} changed every time it was read")]
    Unsteady {
        /// What was asked for.
        what: String,
    },
}

/// Installing a ruleset. Whatever it says, the kernel still holds what it held before.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The ruleset contradicts itself.
    #[error("the ruleset cannot be installed: {0}")]
    Invalid(String),
    /// What stands could not be read.
    #[error("cannot read the standing ruleset")]
    Read(#[source] ReadError),
    /// The kernel refused one message, and with it the batch.
    #[error("the kernel refused {what}")]
    Refused {
        /// The message it refused, in nft's words.
        what: String,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
    /// Another process owns the table.
    #[error("another process owns the table (hint: is a second portreeve running in this pod?)")]
    Owned(#[source] io::Error),
    /// [`crate::RawGuard::Require`], and the kernel lacks it.
    #[error("raw frames cannot be held")]
    RawGuard(#[source] RawGuardMissing),
    /// The batch could not be sent, or its acknowledgement was lost: what stands is unknown. Install again.
    #[error("the kernel's answer to the ruleset was lost")]
    Unknown(#[source] io::Error),
}

/// Why there is no raw guard.
#[derive(Debug, thiserror::Error)]
pub enum RawGuardMissing {
    /// No egress hook: the kernel is older than 5.16 or built without it.
    #[error("the kernel has no netdev egress hook (hint: Linux 5.16 with CONFIG_NETFILTER_EGRESS)")]
    NoEgressHook(#[source] io::Error),
    /// The devices could not be listed.
    #[error("cannot list the network devices")]
    NoDeviceList(#[source] io::Error),
    /// The hook is there, `meta rtclassid` is not.
    #[error("the kernel cannot tell routed frames from raw ones (hint: CONFIG_IP_ROUTE_CLASSID)")]
    NoRouteClass(#[source] io::Error),
}

/// Looking for new devices.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The devices could not be listed.
    #[error("cannot list the network devices")]
    List(#[source] io::Error),
    /// What stands could not be read.
    #[error("cannot read the raw guard")]
    Read(#[source] ReadError),
    /// The table is gone: install again.
    #[error("the raw guard's table has vanished")]
    TableVanished,
    /// A device's chain was refused. It is tried again at the next call.
    #[error("the kernel refused the raw guard of device {device}")]
    Refused {
        /// The device.
        device: String,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
}

/// Reading the counter of denied packets.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The table is gone: install again.
    #[error("the table has vanished")]
    TableVanished,
    /// The kernel refused.
    #[error("the kernel did not let the counter of denied packets be read")]
    Refused(#[source] io::Error),
}
