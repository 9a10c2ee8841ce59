//! One question after the other over one socket, timed to the microsecond.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Asks `resolver` for the A record of each name; the median time to an answer with an address, in microseconds.
///
/// # Panics
/// When an answer is missing or has no address: then there would be nothing to compare.
pub(crate) fn median_microseconds(resolver: SocketAddr, names: &[String]) -> f64 {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect(resolver).expect("a route to the resolver");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time limit");
    let mut answer = [0; 1232];
    let mut times: Vec<f64> = names
        .iter()
        .zip(1_u16..)
        .map(|(name, id)| {
            let question = question(id, name);
            let asked = Instant::now();
            socket.send(&question).expect("the question leaves");
            let length = socket.recv(&mut answer).expect("an answer in time");
            let taken = asked.elapsed();
            assert!(length > question.len() && answer[..2] == id.to_be_bytes() && answer[7] > 0, "no address for {name}");
            taken.as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A question of type A, class IN, recursion desired (RFC 1035 §4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label"));
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}
