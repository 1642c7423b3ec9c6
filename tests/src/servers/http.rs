//! As much of HTTP/1.1 as the tests need, on both sides.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use crate::PATIENCE;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For instance 200.
    pub status: u16,
    /// As text.
    pub body: String,
}

/// What a client asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Without the question mark; empty where there is none.
    pub query: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// One header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Reads a request's head; none at the end of the connection.
    pub(crate) fn head(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some((line, headers)) = head(from)? else { return Ok(None) };
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
        Ok(Some(Self { method, path, query, headers, body: Vec::new() }))
    }

    /// Bytes of the body that follows the head.
    pub(crate) fn body_length(&self) -> usize {
        self.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
    }
}

type Head = (String, Vec<(String, String)>);

fn head(from: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut first = String::new();
    if from.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some((first.trim_end().to_owned(), headers)))
}

/// One unsigned request to a server on this machine; none while it does not listen or does not speak HTTP.
#[must_use]
pub fn ask(port: u16, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n");
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(&[text.as_bytes(), body].concat()).ok()?;
    let mut from = BufReader::new(stream);
    let (line, _) = head(&mut from).ok()??;
    let status = line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let mut body = Vec::new();
    // A server may end the connection roughly once it has said all.
    drop(from.read_to_end(&mut body));
    Some(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Ports on which nobody listens just now.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let listener = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    // All at once, so that they differ.
    let listeners: Vec<TcpListener> = (0..count).map(listener).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("a listener has a port").port()).collect()
}

/// A port on which nobody listens.
#[must_use]
pub fn closed_port() -> u16 {
    free_ports(1)[0]
}
