//! The places of the metrics port: few, and no client can keep the others from theirs by holding on to its own.

use std::net::IpAddr;

use tokio::task::AbortHandle;

/// Connections at once.
pub(super) const PLACES: usize = 8;
/// Of these, from one source.
const OF_ONE: usize = 4;

/// Who holds a place. All of the pod's own addresses are one source: an app has the whole of 127.0.0.0/8 to come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// Something in the pod.
    Pod,
    /// Somebody else.
    Other(IpAddr),
}

impl Client {
    /// Whose a connection is that comes from `peer` to the port's address `own`.
    pub(super) fn new(peer: IpAddr, own: IpAddr) -> Self {
        let peer = peer.to_canonical();
        if peer.is_loopback() || peer == own.to_canonical() { Client::Pod } else { Client::Other(peer) }
    }
}

#[derive(Debug)]
struct Place {
    client: Client,
    task: AbortHandle,
}

/// Who is served, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Place>);

impl Places {
    /// Makes room for one more of this client's: where there is none, its oldest connection ends, or the oldest of who has the most.
    pub(super) fn make_room(&mut self, client: Client) {
        self.0.retain(|place| !place.task.is_finished());
        let of = |client: Client| self.0.iter().filter(|place| place.client == client).count();
        let loser = match (of(client), self.0.len()) {
            (OF_ONE.., _) => Some(client),
            // The first of those that have the most is the one that was there longest.
            (_, PLACES..) => self.0.iter().rev().max_by_key(|place| of(place.client)).map(|place| place.client),
            _ => None,
        };
        if let Some(at) = self.0.iter().position(|place| Some(place.client) == loser) {
            self.0.remove(at).task.abort();
        }
    }

    /// Who is served from now on.
    pub(super) fn take(&mut self, client: Client, task: AbortHandle) {
        self.0.push(Place { client, task });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Client {
        Client::new([10, 0, 0, last].into(), [10, 0, 0, 1].into())
    }

    #[tokio::test]
    async fn who_holds_most_loses_first_and_no_source_has_more_than_its_share() {
        let mut places = Places::default();
        let mut connect = |client: Client| {
            places.make_room(client);
            let task = tokio::spawn(std::future::pending::<()>());
            places.take(client, task.abort_handle());
            let mut held: Vec<Client> = places.0.iter().map(|place| place.client).collect();
            held.dedup();
            (held, places.0.len(), task)
        };
        let first = connect(Client::Pod).2;
        let _others: Vec<_> = (0..9).map(|_| connect(Client::Pod).2).collect();
        tokio::task::yield_now().await;
        assert!(first.is_finished(), "the oldest ends");
        assert_eq!(connect(client(2)).1, 5, "four of the pod's, one of another");
        for other in 3..6 {
            let _task = connect(client(other)).2;
        }
        // All places are taken: the pod's oldest goes, not the only one of another.
        let (held, count, _task) = connect(client(6));
        assert_eq!((held, count), ([Client::Pod].into_iter().chain((2..=6).map(client)).collect(), PLACES));
    }

    #[test]
    fn the_pods_own_addresses_are_one_source() {
        let own = IpAddr::from([10, 0, 0, 1]);
        for peer in ["127.0.0.1", "127.9.9.9", "10.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::1"] {
            assert_eq!(Client::new(peer.parse().unwrap(), own), Client::Pod, "{peer}");
        }
        assert_eq!(Client::new([10, 0, 0, 2].into(), "::ffff:10.0.0.1".parse().unwrap()), Client::Other([10, 0, 0, 2].into()));
    }
}
