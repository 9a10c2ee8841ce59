//! A gate that says what a test tells it to, and notes what it was asked to open.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dnsproxy::{Gate, OpenError, Opened, PermittedAnswer};
use tokio::sync::Semaphore;

/// What the gate says.
#[derive(Clone)]
pub(crate) enum Says {
    /// Yes, for so long.
    Yes(Duration),
    /// No.
    No(OpenError),
    /// Nothing, ever.
    Nothing,
    /// Yes for an hour, once it may take a permit.
    Once(Arc<Semaphore>),
}

/// What a gate was asked to open, in order: the name and its addresses.
pub(crate) type Asked = Arc<Mutex<Vec<(String, Vec<IpAddr>)>>>;

/// The scripted gate; a clone shares the script.
#[derive(Clone)]
pub(crate) struct ScriptedGate {
    says: Arc<dyn Fn(usize) -> Says + Send + Sync>,
    pub(crate) asked: Asked,
}

impl ScriptedGate {
    /// Always says the same.
    pub(crate) fn always(says: Says) -> Self {
        Self::script(move |_| says.clone())
    }

    /// Says what `says` returns for the how-manieth call.
    pub(crate) fn script(says: impl Fn(usize) -> Says + Send + Sync + 'static) -> Self {
        Self { says: Arc::new(says), asked: Arc::default() }
    }

    /// The names and addresses it was asked to open.
    pub(crate) fn asked(&self) -> Vec<(String, Vec<IpAddr>)> {
        self.asked.lock().unwrap().clone()
    }
}

impl Gate for ScriptedGate {
    async fn open(&self, answer: &PermittedAnswer) -> Result<Opened, OpenError> {
        let call = {
            let mut asked = self.asked.lock().unwrap();
            asked.push((answer.name().to_string(), answer.addresses().to_vec()));
            asked.len() - 1
        };
        match (self.says)(call) {
            Says::Yes(time) => Ok(Opened { until: Instant::now() + time }),
            Says::No(error) => Err(error),
            Says::Nothing => std::future::pending().await,
            Says::Once(permits) => {
                permits.acquire().await.unwrap().forget();
                Ok(Opened { until: Instant::now() + Duration::from_secs(3600) })
            }
        }
    }
}
