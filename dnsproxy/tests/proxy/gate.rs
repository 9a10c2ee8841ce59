//! A gate that says what a test tells it to, and notes what it was asked to open.

use std::{
    net::IpAddr,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use dnsproxy::{Gate, OpenError, Opened, PermittedAnswer};
use policies::Name;

/// What the gate says.
#[derive(Clone)]
pub(crate) enum Says {
    /// Yes, for so long.
    Yes(Duration),
    /// No.
    No(OpenError),
    /// Yes for an hour, once there is a permit to take; till then it keeps the resolver waiting, at most five seconds.
    Once(Arc<Permits>),
}

/// Permits, for a gate that waits.
#[derive(Default)]
pub(crate) struct Permits(Mutex<usize>, Condvar);

impl Permits {
    /// One more.
    pub(crate) fn add(&self) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_one();
    }

    fn take(&self) -> bool {
        let (mut left, waited) = self.1.wait_timeout_while(self.0.lock().unwrap(), Duration::from_secs(5), |left| *left == 0).unwrap();
        *left = left.saturating_sub(1);
        !waited.timed_out()
    }
}

/// What a gate was asked to open, in order: the name and its addresses.
pub(crate) type Asked = Arc<Mutex<Vec<(String, Vec<IpAddr>)>>>;

/// The scripted gate; a clone shares the script.
#[derive(Clone)]
pub(crate) struct ScriptedGate {
    says: Arc<dyn Fn(usize) -> Says + Send + Sync>,
    pub(crate) asked: Asked,
    /// How many answers each call had.
    pub(crate) calls: Arc<Mutex<Vec<usize>>>,
    pub(crate) epoch: Arc<AtomicU64>,
    pub(crate) nothing: Arc<Mutex<Vec<(String, bool)>>>,
    pub(crate) names: Arc<Mutex<Vec<(IpAddr, Name, Instant)>>>,
}

impl ScriptedGate {
    /// Always says the same.
    pub(crate) fn always(says: Says) -> Self {
        Self::script(move |_| says.clone())
    }

    /// Says what `says` returns for the how-manieth answer.
    pub(crate) fn script(says: impl Fn(usize) -> Says + Send + Sync + 'static) -> Self {
        let (asked, calls, epoch) = (Arc::default(), Arc::default(), Arc::default());
        Self { says: Arc::new(says), asked, calls, epoch, nothing: Arc::default(), names: Arc::default() }
    }

    /// The names and addresses it was asked to open.
    pub(crate) fn asked(&self) -> Vec<(String, Vec<IpAddr>)> {
        self.asked.lock().unwrap().clone()
    }
}

impl Gate for ScriptedGate {
    fn open(&mut self, answers: &[PermittedAnswer]) -> Vec<Result<Opened, OpenError>> {
        self.calls.lock().unwrap().push(answers.len());
        let open = |answer: &PermittedAnswer| {
            let call = {
                let mut asked = self.asked.lock().unwrap();
                asked.push((answer.name().to_string(), answer.addresses().to_vec()));
                asked.len() - 1
            };
            let hour = Duration::from_secs(3600);
            match (self.says)(call) {
                Says::Yes(time) => Ok(Opened { until: Instant::now() + time }),
                Says::No(error) => Err(error),
                Says::Once(permits) if permits.take() => Ok(Opened { until: Instant::now() + hour }),
                Says::Once(_) => Err(OpenError::Failed),
            }
        };
        answers.iter().map(open).collect()
    }

    fn nothing(&mut self, name: &Name, ipv6: bool) {
        self.nothing.lock().unwrap().push((name.to_string(), ipv6));
    }

    fn names_of(&self, address: IpAddr) -> Vec<(Name, Instant)> {
        let names = self.names.lock().unwrap();
        names.iter().filter(|(of, ..)| *of == address).map(|(_, name, until)| (name.clone(), *until)).collect()
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }
}
