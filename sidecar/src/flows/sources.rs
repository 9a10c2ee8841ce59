//! The kernel's three ways of telling, waited for and read as one; each has a bounded queue of its own.

use std::io;
use std::os::fd::AsFd;

use nft::{Connection, EndedConnections, ListenError, Log, ToldPacket, ToldPackets};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::losses::Came;

/// Refused packets, first packets, ended connections.
#[derive(Debug)]
pub struct Sources {
    refused: ToldPackets,
    began: ToldPackets,
    ended: EndedConnections,
}

/// What came in one reading.
#[derive(Debug, Default)]
pub struct Heard {
    /// First packets, and behind them refused ones.
    pub packets: Vec<ToldPacket>,
    /// Ended connections.
    pub ends: Vec<Connection>,
    /// Whether there may be more: a reading is bounded.
    pub more: bool,
}

impl Sources {
    /// Begins to listen; the ruleset need not stand yet.
    ///
    /// # Errors
    /// [`ListenError`] of the first that cannot be heard.
    pub fn listen(log: Log) -> Result<Self, ListenError> {
        Ok(Sources { refused: ToldPackets::refused(log)?, began: ToldPackets::began(log)?, ended: EndedConnections::listen()? })
    }

    /// Waits until something has come, at most so many milliseconds.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&self, at_most: u16) -> io::Result<()> {
        let mut waiting = [self.refused.as_fd(), self.began.as_fd(), self.ended.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut waiting, PollTimeout::from(at_most)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads what has come, without waiting.
    ///
    /// # Errors
    /// The system's, when a socket cannot be read at all.
    pub fn receive(&mut self) -> io::Result<Heard> {
        let mut heard = Heard::default();
        let Heard { packets, ends, more } = &mut heard;
        *more |= self.began.receive(|packet| packets.push(packet))?;
        *more |= self.refused.receive(|packet| packets.push(packet))?;
        *more |= self.ended.receive(|connection| ends.push(connection))?;
        Ok(heard)
    }

    /// What came of refused packets and of first ones so far.
    pub fn came(&self) -> (Came, Came) {
        let came = |packets: &ToldPackets| Came { received: packets.received(), overrun: packets.lost() };
        (came(&self.refused), came(&self.began))
    }

    /// How often ends were lost: see [`EndedConnections::overruns`].
    pub fn overruns(&self) -> u64 {
        self.ended.overruns()
    }
}
