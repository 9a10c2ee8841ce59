//! Inbound: servers in an injected pod answer whoever comes, probes of the node included, as without a sidecar.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use integration::pods::injected;
use integration::{PlayedPod, TcpTarget, UdpTarget};

use crate::stage::{self, Must, RESPONSE, Stage};

const PORT: u16 = 8080;

/// An HTTP server and a UDP echo on every address. They are the test's own sockets in the pod's network: the rules see no difference.
fn servers(pod: &PlayedPod<'_>) -> (TcpTarget, UdpTarget) {
    let namespace = pod.pod().namespace();
    (TcpTarget::on(namespace, &format!("[::]:{PORT}"), RESPONSE), UdpTarget::on(namespace, &format!("[::]:{PORT}")))
}

/// What the node gets of the pod's servers: HTTP as a kubelet's httpGet probe, a connection as its tcpSocket probe, a datagram's echo.
fn answers(stage: &Stage, pod: &PlayedPod<'_>) -> Vec<(IpAddr, bool, bool, bool)> {
    let ask = |address: IpAddr| {
        let to = SocketAddr::new(address, PORT);
        let curl = stage.world().command("curl").args(["--silent", "--max-time", "2", &format!("http://{to}/healthz")]).output();
        let outside = stage.world().outside();
        let connected = outside.run(|| std::net::TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok());
        let echoed = outside.run(|| {
            let socket = UdpSocket::bind((if address.is_ipv4() { "0.0.0.0" } else { "::" }, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut heard = [0; 16];
            socket.send_to(b"anyone there", to).is_ok() && socket.recv(&mut heard).is_ok_and(|length| &heard[..length] == b"anyone there")
        });
        (address, curl.stdout == "ok\n", connected, echoed)
    };
    [IpAddr::from(pod.pod().v4()), pod.pod().v6().into()].map(ask).to_vec()
}

#[test]
fn servers_and_probes_of_a_held_pod_work_as_without_a_sidecar() {
    let stage = Stage::new();
    let podman = stage.podman();
    let mut bare = injected("bare", &["sleep", "600"]);
    let spec = bare["spec"].as_object_mut().expect("a spec");
    assert!(spec.remove("initContainers").is_some() && spec.remove("volumes").is_some());
    let bare = podman.play(&bare, &[]);
    bare.start();
    let _servers = servers(&bare);
    let without: Vec<_> = answers(&stage, &bare).into_iter().map(|(_, http, tcp, udp)| (http, tcp, udp)).collect();
    assert_eq!(without, [(true, true, true); 2], "the test's own servers do not answer");

    let pod = podman.play(&injected("alerts", &["sleep", "600"]), &[stage::example("alerts")]);
    let watcher = pod.pod().watch();
    pod.start();
    let (_http, _udp) = servers(&pod);
    let held = || answers(&stage, &pod).into_iter().map(|(_, http, tcp, udp)| (http, tcp, udp)).collect::<Vec<_>>();
    assert_eq!(held(), without, "{}", pod.logs("portreeve"));
    // What Prometheus asks is inbound too.
    let scrape = format!("http://{}:9464/metrics", pod.pod().v4());
    let scraped = stage.world().command("curl").args(["--silent", "--max-time", "2", &scrape]).output().expect_ok("a scrape");
    assert!(scraped.contains("portreeve_ready"), "{scraped}");
    // Whoever came in is not a way out: to the same peer, another connection is held.
    let peer = pod.pod().gateway();
    let _target = TcpTarget::on(stage.world().outside(), &format!("{peer}:443"), RESPONSE);
    stage.attempt(&pod, &watcher, &format!("http://{peer}:443/"), Must::BeHeld);
    // Without a sidecar for a while, until the kubelet has made it anew: probes must not fail and have the app restarted.
    pod.kill("portreeve");
    assert_eq!(held(), without, "after the sidecar's death");
}
