//! What no policy opens: forged replies, raw frames, raw errors.

use socket2::{Domain, Protocol, Socket, Type};

use super::*;

#[test]
fn forged_replies_do_not_leave() {
    in_namespace(|| {
        let peer = Peer::new();
        let target = servers(&peer, 7000);
        let forge = || {
            for (own, foreign) in [(POD4, OTHER4), (POD6, OTHER6)] {
                // "A question" from the foreign address arrives over loopback; the answer to it is a reply.
                let listener = UdpSocket::bind(SocketAddr::new(ip(own), 7001)).unwrap();
                listener.set_read_timeout(Some(SHORT)).unwrap();
                let source = SocketAddr::new(ip(foreign), 7000);
                let forged = Socket::new(Domain::for_address(source), Type::DGRAM, Some(Protocol::UDP)).unwrap();
                if source.is_ipv4() { forged.set_freebind_v4(true) } else { forged.set_freebind_v6(true) }.unwrap();
                forged.bind(&source.into()).unwrap();
                let _ = forged.send_to(b"forged", &SocketAddr::new(ip(own), 7001).into());
                let _ = listener.recv_from(&mut [0; 16]);
                let _ = listener.send_to(b"secret", source);
            }
        };
        forge();
        assert_eq!(target.datagrams(), 2, "without rules the datagrams arrive: the test can fail");
        let _ = shared().install(&ruleset(Vec::new()), &[]).unwrap();
        run("conntrack", &["-F"]);
        forge();
        assert_eq!(target.datagrams(), 2);
    });
}

#[test]
fn raw_frames_do_not_leave_and_the_stack_still_does() {
    in_namespace(|| {
        let peer = Peer::new();
        let target = servers(&peer, 7000);
        let mac = peer.there(|| std::fs::read_to_string("/proc/net/arp").map(|_| run("ip", &["-br", "link", "show", "eth0"])).unwrap());
        let mac: Vec<u8> = mac.split_whitespace().nth(2).unwrap().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let send = || {
            // Python has AF_PACKET without a line of unsafe.
            let script = format!(
                "import socket,struct\n\
                 def csum(b):\n s=sum(struct.unpack('!%dH'%(len(b)//2),b)); s=(s>>16)+(s&0xffff); s+=s>>16; return ~s&0xffff\n\
                 a,b=socket.inet_aton('{POD4}'),socket.inet_aton('{PEER4}')\n\
                 udp=struct.pack('!HHHH',7001,7000,14,0)+b'secret'\n\
                 h=struct.pack('!BBHHHBBH4s4s',0x45,0,20+len(udp),1,0,64,17,0,a,b)\n\
                 h=h[:10]+struct.pack('!H',csum(h))+h[12:]\n\
                 s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,0); s.bind(('eth0',0x800))\n\
                 try: s.send(bytes({mac:?})+b'\\x02'*6+struct.pack('!H',0x800)+h+udp)\n\
                 except OSError: pass\n\
                 s=socket.socket(socket.AF_PACKET,socket.SOCK_DGRAM,0)\n\
                 for p in (0x800,0x806):\n\
                 \x20try: s.sendto(h+udp,('eth0',p,0,0,bytes({mac:?})))\n\
                 \x20except OSError: pass\n"
            );
            run("python3", &["-c", &script]);
        };
        send();
        assert_eq!(target.datagrams(), 2, "without rules the frames arrive: the test can fail");
        let mut open = web();
        open.openings[0].ports = Ports::udp_port(7000);
        let _ = shared().install(&open, &web_leases()).unwrap();
        send();
        assert_eq!(target.datagrams(), 2);
        ask_anew(PEER4, 7000).unwrap();
        ask_anew(PEER6, 7000).unwrap();
        // What is larger than a frame leaves in fragments, which have a route too.
        let large = UdpSocket::bind("0.0.0.0:0").unwrap();
        large.send_to(&[7; 5000], (PEER4, 7000)).unwrap();
        assert_eq!(target.datagrams(), 5);
    });
}

#[test]
fn errors_about_open_flows_leave_and_raw_ones_do_not() {
    in_namespace(|| {
        let peer = Peer::new();
        let mut firewall = shared();
        let mut rules = web();
        rules.openings[0].ports = Ports::udp_port(7000);
        let _ = firewall.install(&rules, &web_leases()).unwrap();
        for (address, any) in [(PEER4, "0.0.0.0:0"), (PEER6, "[::]:0")] {
            let far = peer.there(move || UdpSocket::bind(SocketAddr::new(ip(address), 7000)).unwrap());
            let near = UdpSocket::bind(any).unwrap();
            near.send_to(b"x", SocketAddr::new(ip(address), 7000)).unwrap();
            far.set_read_timeout(Some(SHORT)).unwrap();
            let (_, from) = far.recv_from(&mut [0; 8]).unwrap();
            drop(near);
            let before = firewall.denied().unwrap().packets;
            far.connect(from).unwrap();
            far.send(b"late").unwrap();
            assert_eq!(far.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{address}");
            assert_eq!(firewall.denied().unwrap().packets, before);
        }
        // A neighbour solicitation with a payload, by a raw socket.
        let script = format!(
            "import socket\ns=socket.socket(socket.AF_INET6,socket.SOCK_RAW,58)\n\
             s.setsockopt(socket.IPPROTO_IPV6,socket.IPV6_UNICAST_HOPS,255)\n\
             try: s.sendto(bytes([135,0,0,0])+b'secret'*8,('{OTHER6}',0)); print('sent')\n\
             except OSError as e: print(e.errno)\n"
        );
        assert_ne!(run("python3", &["-c", &script]).trim(), "sent", "a raw socket passes for the kernel");
    });
}
