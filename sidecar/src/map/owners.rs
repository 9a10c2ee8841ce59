//! Whose a pod address was at a time: addresses are given to other pods when theirs have ended.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::policycmd::seen::Workload;
use crate::record::Timestamp;

/// The most addresses, and the most owners of one of them: who began last beyond that is not told apart from the one before.
const ADDRESSES: usize = 100_000;
const OWNERS: usize = 64;

/// Who had which address from when to when, as far as logs tell.
#[derive(Debug, Default)]
pub struct Owners {
    tenures: HashMap<IpAddr, Vec<Tenure>>,
}

/// The time in which a pod's log tells of its own address.
#[derive(Debug)]
struct Tenure {
    workload: Workload,
    pod: Option<String>,
    first: Timestamp,
    last: Timestamp,
}

impl Tenure {
    /// How far a time is from this one, and how long this one is: of two that hold it, the shorter lies within the longer.
    fn distance(&self, at: Timestamp) -> (u64, u64) {
        let (first, last, at) = (self.first.millis(), self.last.millis(), at.millis());
        (first.saturating_sub(at).max(at.saturating_sub(last)), last.saturating_sub(first))
    }
}

impl Owners {
    /// Notes that a pod had an address from `first` to `last`.
    pub fn note(&mut self, address: IpAddr, workload: &Workload, pod: Option<&str>, first: Timestamp, last: Timestamp) {
        if self.tenures.len() >= ADDRESSES && !self.tenures.contains_key(&address) {
            return;
        }
        let tenures = self.tenures.entry(address).or_default();
        let room = tenures.len() < OWNERS;
        match tenures.iter_mut().find(|tenure| tenure.workload == *workload && tenure.pod.as_deref() == pod) {
            Some(tenure) => (tenure.first, tenure.last) = (tenure.first.min(first), tenure.last.max(last)),
            None if room => {
                tenures.push(Tenure { workload: workload.clone(), pod: pod.map(str::to_owned), first, last });
            }
            None => {}
        }
    }

    /// Whose it was at a time: of all owners the one who was there then, or the nearest.
    pub fn at(&self, address: IpAddr, at: Timestamp) -> Option<&Workload> {
        let tenures = self.tenures.get(&address)?;
        tenures.iter().min_by_key(|tenure| tenure.distance(at)).map(|tenure| &tenure.workload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_whose_it_was_at_the_time() {
        let ms = Timestamp::from_millis;
        let app = |app: &str| Workload { namespace: "shop".to_owned(), app: app.to_owned(), label: String::new() };
        let address = IpAddr::from([10, 0, 0, 2]);
        let mut owners = Owners::default();
        // Logs come one after the other, each with all of its times.
        owners.note(address, &app("pay"), Some("pay-1"), ms(500), ms(600));
        for at in [100, 200, 300] {
            owners.note(address, &app("cart"), Some("cart-1"), ms(at), ms(at + 5));
        }
        owners.note(address, &app("cart"), Some("cart-2"), ms(700), ms(800));
        let at = |millis| owners.at(address, ms(millis)).map(|workload| workload.app.as_str());
        assert_eq!((at(0), at(250), at(550), at(750), at(9_000)), (Some("cart"), Some("cart"), Some("pay"), Some("cart"), Some("cart")));
        assert_eq!((at(390), at(480)), (Some("cart"), Some("pay")), "the nearest, where nobody is known to have been there");
        assert_eq!(owners.at([10, 0, 0, 3].into(), ms(250)), None);
    }

    #[test]
    fn who_came_within_the_time_of_another_without_a_pod_name_is_told_apart() {
        let ms = Timestamp::from_millis;
        let app = |app: &str| Workload { namespace: String::new(), app: app.to_owned(), label: String::new() };
        let address = IpAddr::from([10, 0, 0, 2]);
        let mut owners = Owners::default();
        owners.note(address, &app("cart"), None, ms(0), ms(900));
        owners.note(address, &app("pay"), None, ms(400), ms(500));
        assert_eq!((owners.at(address, ms(450)), owners.at(address, ms(100))), (Some(&app("pay")), Some(&app("cart"))));
    }
}
