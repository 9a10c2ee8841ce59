use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

#[derive(Debug, Deserialize)]
struct Nothing {}

/// What is told of a server that says this to the first who comes.
fn told(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(head).unwrap()
    });
    let client = Client { most_bytes: 1_000, ..Client::new(url.parse().unwrap(), Some("secret".to_owned())) };
    let told = match client.query::<Nothing>("sum(x{a=\"b\"})") {
        Ok(rows) => format!("{:?}", rows.iter().map(Row::count).collect::<Vec<_>>()),
        Err(error) => crate::exit::chain(&error).replace(url.trim_end_matches('/'), "URL"),
    };
    let head = server.join().unwrap();
    assert!(head.starts_with("GET /api/v1/query?query=sum(x%7Ba%3D%22b%22%7D) HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("authorization: bearer secret\r\n"), "{head}");
    told
}

const VECTOR: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":[1,\"3.6\"]},{\"metric\":{},\"value\":[1,\"NaN\"]}]}}";

/// 1,200 octets in one chunk.
const LARGE: &str =
    concat!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4b0\r\n", include_str!("../../../assets/vendor/dagre.LICENSE.txt"),);

#[test]
fn every_answer_is_understood_or_said_with_what_to_do() {
    assert_eq!(told(VECTOR), "[4, 0]");
    for (answer, wanted) in [
        (
            "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\nhello",
            "what answers at URL is no Prometheus: URL/api/v1/query gave status 404 and not its JSON",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
            "URL does not let just anybody ask (status 401); PORTREEVE_PROMETHEUS_TOKEN",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: https://x/\r\ncontent-length: 0\r\n\r\n",
            "URL leads on to https, which this binary does not speak",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n{\"status\":\"error\",\"errorType\":\"timeout\",\"error\":\"query timed out\"}\n",
            "URL did not answer the question: query timed out (a shorter --since",
        ),
        (LARGE, "URL answers with more than 64 MiB (a shorter --since has fewer rows)"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", "the answer of URL broke off: "),
        ("\x16\x03\x01\r\n\r\n", "what answers at URL is no Prometheus: URL/api/v1/query gave no HTTP"),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"status\":\"success\"}", "what answers at URL is no Prometheus"),
    ] {
        assert!(told(answer).starts_with(wanted), "{answer}: {}", told(answer));
    }
}

#[test]
fn nobody_there_is_said_with_the_way_there() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Client::new(format!("http://{free}").parse().unwrap(), None).query::<Nothing>("x").unwrap_err();
    let told = crate::exit::chain(&error);
    assert!(told.starts_with(&format!("cannot reach http://{free} (is it there?")) && told.contains("port-forward"), "{told}");
}

#[test]
fn only_plain_urls_are_taken() {
    let parse = |text: &str| text.parse::<PrometheusUrl>().map(|url| url.to_string());
    assert_eq!(parse("http://127.0.0.1:9090/").as_deref(), Ok("http://127.0.0.1:9090"));
    let proxied = "http://localhost:8001/api/v1/namespaces/monitoring/services/prometheus:9090/proxy";
    assert_eq!(parse(proxied).as_deref(), Ok(proxied));
    assert_eq!(parse("https://prometheus.example"), Err(UrlError::Https));
    for other in ["", "localhost:9090", "127.0.0.1", "ftp://x", "http://", "http://u:p@x", "http://x?a=b", "/x"] {
        assert_eq!(parse(other), Err(UrlError::Form), "{other}");
    }
}
