//! Every frame inside a pod, its loopback included: what the app could have read, not only what left.
//!
//! # Limitations
//! As [`crate::watcher`]: what overruns the buffer is lost, and then every query panics.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt, socket, sockopt,
};

use crate::Pod;

/// linux/if_packet.h: the frame is for this host (and from another).
const PACKET_HOST: u8 = 0;
/// The index of lo in every namespace.
const LO: usize = 1;

/// A capture that runs until it is dropped.
#[derive(Debug)]
pub struct Frames {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    frames: Mutex<Vec<Vec<u8>>>,
    lost: AtomicU32,
    stop: AtomicBool,
}

impl Frames {
    /// Starts one; it sees every frame of the pod's devices from now on but for those that come in from outside.
    ///
    /// # Panics
    /// When the socket cannot be had.
    #[must_use]
    pub fn of_pod(pod: &Pod) -> Self {
        let capture = pod.run(|| {
            let capture = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).expect("AF_PACKET");
            setsockopt(&capture, sockopt::RcvBuf, &(8 << 20)).expect("SO_RCVBUF");
            setsockopt(&capture, sockopt::RxqOvfl, &1).expect("SO_RXQ_OVFL");
            capture
        });
        let shared = Arc::new(Shared::default());
        let for_reader = Arc::clone(&shared);
        Self { shared, reader: Some(std::thread::spawn(move || read_all(&capture, &for_reader))) }
    }

    /// What was on loopback or left the pod so far. A mark is sent over loopback and has to be seen, so this proves that it sees.
    ///
    /// # Panics
    /// When the mark is not seen within 5 s, or when frames were lost.
    #[must_use]
    pub fn sent(&self, pod: &Pod) -> Vec<Vec<u8>> {
        let mark = format!("mark {:?}", std::time::Instant::now());
        let text = mark.clone();
        pod.run(move || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
            let own = socket.local_addr().expect("own address");
            socket.send_to(text.as_bytes(), own).expect("a mark on loopback");
        });
        let has = |frame: &Vec<u8>| frame.windows(mark.len()).any(|part| part == mark.as_bytes());
        let seen = || self.shared.frames.lock().unwrap().iter().any(has).then_some(());
        assert!(crate::wait_until(Duration::from_secs(5), seen).is_some(), "the capture is blind");
        assert_eq!(self.shared.lost.load(Ordering::Acquire), 0, "frames were lost");
        self.shared.frames.lock().unwrap().clone()
    }

    /// Forgets what was seen.
    ///
    /// # Panics
    /// When the reader has panicked.
    pub fn forget(&self) {
        self.shared.frames.lock().unwrap().clear();
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(reader) = self.reader.take() {
            let _reported_already = reader.join();
        }
    }
}

fn read_all(capture: &OwnedFd, shared: &Shared) {
    let mut frame = vec![0; 70_000];
    let mut control = cmsg_space!(u32);
    while !shared.stop.load(Ordering::Acquire) {
        let mut ready = [PollFd::new(capture.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut ready, PollTimeout::from(50u8)), Ok(1..)) {
            continue;
        }
        let mut parts = [IoSliceMut::new(&mut frame)];
        let Ok(read) = recvmsg::<LinkAddr>(capture.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT) else { continue };
        for message in read.cmsgs().expect("control messages") {
            if let ControlMessageOwned::RxqOvfl(lost) = message {
                shared.lost.store(lost, Ordering::Release);
            }
        }
        let (length, from) = (read.bytes, read.address);
        let from_outside = from.is_none_or(|from| from.ifindex() != LO && from.pkttype() == PACKET_HOST);
        if !from_outside {
            shared.frames.lock().unwrap().push(frame[..length].to_vec());
        }
    }
}
