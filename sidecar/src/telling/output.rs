//! Lines on stdout: written by a thread of its own, so that a reader who is slow or gone holds up nobody; what he misses is counted.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait for the writer.
const WAITING: usize = 2048;

/// The way to stdout.
#[derive(Debug)]
pub struct Output {
    lines: SyncSender<Arc<str>>,
    unwritten: Arc<AtomicU64>,
    /// Lines that wait or are being written.
    waiting: Arc<AtomicU64>,
}

impl Output {
    /// Starts the writer; it ends with this value.
    ///
    /// # Errors
    /// The system's, if it has no thread for it.
    pub fn start() -> io::Result<Self> {
        let (lines, written) = sync_channel(WAITING);
        let unwritten = Arc::new(AtomicU64::new(0));
        let waiting = Arc::new(AtomicU64::new(0));
        let (lost, done) = (Arc::clone(&unwritten), Arc::clone(&waiting));
        thread::Builder::new().name("flow-log".into()).spawn(move || write(&written, &lost, &done))?;
        Ok(Output { lines, unwritten, waiting })
    }

    /// Writes a line, now or never.
    pub fn line(&self, line: Arc<str>) {
        self.waiting.fetch_add(1, Relaxed);
        if self.lines.try_send(line).is_err() {
            self.waiting.fetch_sub(1, Relaxed);
            self.unwritten.fetch_add(1, Relaxed);
        }
    }

    /// Waits until all lines are written, at most for `limit`.
    pub fn finish(&self, limit: Duration) {
        let end = Instant::now() + limit;
        while self.waiting.load(Relaxed) > 0 && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lines that were not written since this was last asked.
    pub fn take_unwritten(&self) -> u64 {
        self.unwritten.swap(0, Relaxed)
    }
}

fn write(lines: &Receiver<Arc<str>>, unwritten: &AtomicU64, waiting: &AtomicU64) {
    let mut out = BufWriter::new(io::stdout());
    let mut said = false;
    while let Ok(line) = lines.recv() {
        let mut count = 0;
        let mut put = |line: Arc<str>| {
            count += 1;
            out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n"))
        };
        let mut written = put(line);
        for line in lines.try_iter().take(WAITING) {
            written = written.and(put(line));
        }
        if let Err(error) = written.and_then(|()| out.flush()) {
            // What is in the buffer would be tried again for ever.
            out = BufWriter::new(io::stdout());
            unwritten.fetch_add(count, Relaxed);
            if !std::mem::replace(&mut said, true) {
                tracing::error!(%error, "the log of flows cannot be written to stdout");
            }
        }
        waiting.fetch_sub(count, Relaxed);
    }
}
