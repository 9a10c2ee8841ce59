//! Lines on stdout or stderr: written by a thread of its own, so that a reader who is slow or gone holds up nobody; what he misses is counted.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait for the writer.
const WAITING: usize = 2048;

/// The way to one of the two.
#[derive(Debug)]
pub struct Output {
    lines: SyncSender<Arc<str>>,
    unwritten: Arc<AtomicU64>,
    /// Lines that wait or are being written.
    waiting: Arc<AtomicU64>,
}

impl Output {
    /// Starts the writer to stdout; it ends with this value.
    ///
    /// # Errors
    /// The system's, if it has no thread for it.
    pub fn start() -> io::Result<Self> {
        Self::to("flow-log", WAITING, io::stdout, || {
            // Once: whoever reads the log of the process is told that the other one is not written.
            tracing::error!("the log of flows cannot be written to stdout");
        })
    }

    /// Starts the writer to stderr, for the process's own log.
    ///
    /// # Errors
    /// The system's, if it has no thread for it.
    pub fn to_stderr(waiting: usize) -> io::Result<Self> {
        Self::to("log", waiting, io::stderr, || {})
    }

    fn to<W: Write + Send + 'static>(
        name: &str,
        room: usize,
        sink: impl Fn() -> W + Send + 'static,
        complain: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (lines, written) = sync_channel(room);
        let unwritten = Arc::new(AtomicU64::new(0));
        let waiting = Arc::new(AtomicU64::new(0));
        let (lost, done) = (Arc::clone(&unwritten), Arc::clone(&waiting));
        thread::Builder::new().name(name.into()).spawn(move || write(&written, &lost, &done, sink, complain))?;
        Ok(Output { lines, unwritten, waiting })
    }

    /// Writes a line, now or never: one that there is no room for is counted.
    pub fn line(&self, line: Arc<str>) {
        if !self.offer(line) {
            self.unwritten.fetch_add(1, Relaxed);
        }
    }

    /// Writes a line if there is room for it; whether there was.
    pub fn offer(&self, line: Arc<str>) -> bool {
        self.waiting.fetch_add(1, Relaxed);
        let taken = self.lines.try_send(line).is_ok();
        if !taken {
            self.waiting.fetch_sub(1, Relaxed);
        }
        taken
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

fn write<W: Write>(
    lines: &Receiver<Arc<str>>,
    unwritten: &AtomicU64,
    waiting: &AtomicU64,
    sink: impl Fn() -> W,
    mut complain: impl FnMut(),
) {
    let mut out = BufWriter::new(sink());
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
        if written.and_then(|()| out.flush()).is_err() {
            // What is in the buffer would be tried again for ever.
            out = BufWriter::new(sink());
            unwritten.fetch_add(count, Relaxed);
            if !std::mem::replace(&mut said, true) {
                complain();
            }
        }
        waiting.fetch_sub(count, Relaxed);
    }
}
