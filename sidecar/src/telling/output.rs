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
        // Once: whoever reads the log of the process is told that the other one is not written. What was missed is a record's matter.
        let complain = |error: &io::Error| tracing::error!(%error, "the log of flows cannot be written to stdout");
        Self::to("flow-log", WAITING, io::stdout, complain, None)
    }

    /// Starts the writer to stderr, for the process's own log. `missed` words how many lines there was no room for: said with the next ones.
    ///
    /// # Errors
    /// The system's, if it has no thread for it.
    pub fn to_stderr(waiting: usize, missed: fn(u64) -> String) -> io::Result<Self> {
        Self::to("log", waiting, io::stderr, |_| {}, Some(missed))
    }

    fn to<W: Write + Send + 'static>(
        name: &str,
        room: usize,
        sink: impl Fn() -> W + Send + 'static,
        complain: impl Fn(&io::Error) + Send + 'static,
        missed: Option<fn(u64) -> String>,
    ) -> io::Result<Self> {
        let (lines, written) = sync_channel(room);
        let unwritten = Arc::new(AtomicU64::new(0));
        let waiting = Arc::new(AtomicU64::new(0));
        let (lost, done) = (Arc::clone(&unwritten), Arc::clone(&waiting));
        thread::Builder::new().name(name.into()).spawn(move || write(&written, &lost, &done, sink, complain, missed))?;
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
    complain: impl Fn(&io::Error),
    missed: Option<fn(u64) -> String>,
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
        if let Some(missed) = missed
            && written.is_ok()
        {
            let count = unwritten.swap(0, Relaxed);
            if count > 0 {
                written = writeln!(out, "{}", missed(count));
            }
        }
        if let Err(error) = written.and_then(|()| out.flush()) {
            // What is in the buffer would be tried again for ever.
            out = BufWriter::new(sink());
            unwritten.fetch_add(count, Relaxed);
            if !std::mem::replace(&mut said, true) {
                complain(&error);
            }
        }
        waiting.fetch_sub(count, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A reader who reads only while nobody holds the gate.
    #[derive(Clone, Default)]
    struct Slow {
        gate: Arc<Mutex<()>>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            self.read.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_does_not_read_holds_up_nobody_and_is_told_what_was_missed() {
        let slow = Slow::default();
        let sink = slow.clone();
        let output = Output::to("slow", 4, move || sink.clone(), |_| {}, Some(|count| format!("{count} left out"))).unwrap();
        let shut = slow.gate.lock().unwrap();
        for number in 0..100 {
            output.line(format!("line {number}").into());
        }
        drop(shut);
        output.finish(Duration::from_secs(5));
        output.line("the next".into());
        output.finish(Duration::from_secs(5));
        let text = String::from_utf8(slow.read.lock().unwrap().clone()).unwrap();
        let written = text.lines().filter(|line| line.starts_with("line ")).count() as u64;
        let missed: u64 = text.lines().filter_map(|line| line.strip_suffix(" left out")?.parse::<u64>().ok()).sum();
        assert!(missed > 0 && written > 0 && written + missed == 100, "{text}");
    }
}
