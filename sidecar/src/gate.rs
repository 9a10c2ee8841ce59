//! The way of an answer to the kernel: all answers that wait at one moment go in one batch, and each waits for its own yes.

use std::net::IpAddr;
use std::time::Duration;

use dnsproxy::{Gate, OpenError, Opened, PermittedAnswer};
use policies::Grant;
use tokio::sync::{mpsc, oneshot};

/// How many answers may wait for the kernel: more than the proxy has queries in flight, so that none is turned away here first.
const QUEUE: usize = 1024;

/// One answer that waits for its leases.
#[derive(Debug)]
pub struct Request {
    /// What the policy permitted.
    pub grant: Grant,
    /// The addresses of the answer.
    pub addresses: Box<[IpAddr]>,
    /// The TTL of the answer's chain.
    pub ttl: Duration,
    /// Where the outcome goes. Nobody may be there any more: the gate has a deadline.
    pub outcome: oneshot::Sender<Result<Opened, OpenError>>,
}

/// The proxy's handle on the kernel.
#[derive(Debug, Clone)]
pub struct KernelGate {
    queue: mpsc::Sender<Request>,
}

impl KernelGate {
    /// The gate, and the queue that the keeper serves.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (queue, requests) = mpsc::channel(QUEUE);
        (KernelGate { queue }, requests)
    }
}

impl Gate for KernelGate {
    async fn open(&self, answer: &PermittedAnswer) -> Result<Opened, OpenError> {
        let (outcome, told) = oneshot::channel();
        let request = Request {
            grant: answer.grant().clone(),
            addresses: answer.addresses().into(),
            ttl: Duration::from_secs(answer.ttl().into()),
            outcome,
        };
        // A full queue means that the kernel does not keep up: the client is told SERVFAIL now, rather than late.
        self.queue.try_send(request).map_err(|_| OpenError::Failed)?;
        told.await.unwrap_or(Err(OpenError::Failed))
    }
}
