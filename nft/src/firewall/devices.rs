//! The raw guard's devices: all but lo, also those that come later.

use std::{collections::BTreeSet, io};

use nix::{errno::Errno, net::if_::if_nameindex};

use super::{Firewall, RefreshError};
use crate::{
    ruleset::raw_guard,
    sys::{Batch, ChainSeen, Ident, SendError, Table},
};

/// The index of lo in every network namespace.
const LOOPBACK: u32 = 1;

/// The devices under the raw guard: every device but lo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// Guarded, in order.
    pub guarded: Vec<String>,
    /// Those among them that were not guarded before.
    pub added: Vec<String>,
}

/// Every device of this network namespace but lo.
pub(super) fn present() -> io::Result<BTreeSet<String>> {
    let interfaces = if_nameindex().map_err(io::Error::from)?;
    let others = interfaces.iter().filter(|interface| interface.index() != LOOPBACK);
    Ok(others.map(|interface| interface.name().to_string_lossy().into_owned()).collect())
}

/// Writes the chain of a device into the batch, under a name that none of `taken` has.
pub(super) fn guard(batch: &mut Batch, table: &Table, device: &str, taken: &mut BTreeSet<Ident>) {
    let name = raw_guard::chain_name(device, |name| taken.contains(name));
    let (chain, rule) = raw_guard::device(&name, device);
    batch.chain(table, &chain);
    batch.rule(table, &rule);
    taken.insert(name);
}

/// The devices that chains stand for.
pub(super) fn guarded(chains: &[ChainSeen]) -> BTreeSet<String> {
    chains.iter().filter_map(|chain| chain.device.clone()).collect()
}

impl Firewall {
    /// Puts the raw guard on devices that came since. Call it when a link changes, and at intervals. Does nothing where no guard was installed.
    ///
    /// # Errors
    /// [`RefreshError`]; the devices guarded before stay guarded, and those that could be were.
    pub fn refresh_devices(&mut self) -> Result<Devices, RefreshError> {
        if !self.guarded {
            return Ok(Devices::default());
        }
        // A guard was installed, so the kernel knows the family: that it cannot be asked does not mean that there is no table.
        let table = self.netdev.clone();
        if !self.has_table(&table).map_err(RefreshError::Read)? {
            return Err(RefreshError::TableVanished);
        }
        let chains = self.chains_of(&table).map_err(RefreshError::Read)?;
        if chains.iter().all(|chain| chain.name.as_str() != raw_guard::FRAMES) {
            return Err(RefreshError::TableVanished);
        }
        let present = present().map_err(RefreshError::List)?;
        let before = guarded(&chains);
        let mut taken: BTreeSet<Ident> = chains.iter().map(|chain| chain.name.clone()).collect();
        let mut devices = Devices::default();
        let mut failed = None;
        for device in present {
            if before.contains(&device) {
                devices.guarded.push(device);
                continue;
            }
            let mut batch = Batch::new();
            guard(&mut batch, &self.netdev, &device, &mut taken);
            let source = match self.netlink.commit(&mut batch) {
                Ok(()) => {
                    devices.guarded.push(device.clone());
                    devices.added.push(device);
                    continue;
                }
                Err(SendError::Refused(refused)) => refused.source,
                Err(SendError::Lost(lost)) => lost.0,
            };
            // A device that went away in between needs no guard.
            if source.raw_os_error() != Some(Errno::ENOENT as i32) {
                failed.get_or_insert(RefreshError::Refused { device, source });
            }
        }
        failed.map_or(Ok(devices), Err)
    }
}
