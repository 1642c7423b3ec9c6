use std::{fmt, path::PathBuf, str::FromStr};

use stillpoint_model::{Error, Result};

use crate::stream::Boxed;

/// Longest path of a Unix socket that Linux takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Registered with IANA.
const PORT: u16 = 10809;

/// Where a server listens. Text: `unix:/PATH` or `tcp:HOST:PORT` (IPv6 in brackets); `nbd://HOST[:PORT]` and
/// `nbd+unix:///?socket=/PATH` are understood too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// Name or IP address, the latter without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

impl Address {
    /// The address of a Unix socket.
    ///
    /// # Errors
    /// `invalid` for a path that is relative, or longer than Linux takes (107 bytes).
    pub fn unix(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let bytes = path.as_os_str().len();
        if !path.is_absolute() {
            return Err(Error::invalid(format!(
                "the path of a socket must be absolute, not '{}'",
                shown(&path.to_string_lossy())
            )));
        }
        if bytes > SOCKET_PATH_BYTES_MAX {
            let path = shown(&path.to_string_lossy());
            return Err(Error::invalid(format!("'{path}' is {bytes} bytes long; sockets have at most {SOCKET_PATH_BYTES_MAX}")));
        }
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(Error::invalid("the path of a socket holds a zero byte"));
        }
        Ok(Self::Unix(path))
    }

    fn tcp(text: &str, port: Option<u16>) -> Result<Self> {
        let refused = || Error::invalid(format!("'{}' is no HOST:PORT", shown(text)));
        let (host, rest) = match text.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']').ok_or_else(refused)?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| refused())?,
            None if rest.is_empty() => port.ok_or_else(refused)?,
            None => return Err(refused()),
        };
        let in_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(in_host) {
            return Err(refused());
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }

    /// The name that a server's certificate is expected to have.
    pub(crate) fn server_name(&self) -> &str {
        match self {
            Self::Unix(_) => "localhost",
            Self::Tcp { host, .. } => host,
        }
    }

    pub(crate) async fn connect(&self) -> Result<Boxed> {
        let stream: std::io::Result<Boxed> = match self {
            Self::Unix(path) => tokio::net::UnixStream::connect(path).await.map(|stream| Box::new(stream) as _),
            Self::Tcp { host, port } => tokio::net::TcpStream::connect((host.as_str(), *port)).await.and_then(|stream| {
                stream.set_nodelay(true)?;
                Ok(Box::new(stream) as _)
            }),
        };
        stream.map_err(|error| {
            let message = format!("cannot connect to {self}");
            match error.kind() {
                std::io::ErrorKind::PermissionDenied => Error::denied(message),
                _ => Error::unavailable(message),
            }
            .with_source(error)
        })
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:").or_else(|| text.strip_prefix("nbd+unix:///?socket=")) {
            return Self::unix(path);
        }
        if let Some(rest) = text.strip_prefix("tcp:") {
            return Self::tcp(rest, None);
        }
        if let Some(rest) = text.strip_prefix("nbd://") {
            return Self::tcp(rest.strip_suffix('/').unwrap_or(rest), Some(PORT));
        }
        Err(Error::invalid(format!("'{}' is no address of an NBD server, as unix:/PATH or tcp:HOST:PORT", shown(text))))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_read() {
        for text in ["unix:/run/nbd.sock", "tcp:host-1.example:10809", "tcp:[::1]:1", "tcp:127.0.0.1:65535"] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
        for (url, text) in [
            ("nbd://host", "tcp:host:10809"),
            ("nbd://host:7/", "tcp:host:7"),
            ("nbd://[::1]", "tcp:[::1]:10809"),
            ("nbd+unix:///?socket=/run/s", "unix:/run/s"),
        ] {
            assert_eq!(url.parse::<Address>().expect(url).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_line() {
        let long = format!("unix:/{}", "s".repeat(107));
        let bad = [
            "",
            "unix:",
            "unix:run/s",
            "tcp:",
            "tcp:host",
            "tcp::1",
            "tcp:h:65536",
            "tcp:h:1:2",
            "tcp:a b:1",
            "tcp:[::1",
            "nbd://",
            "nbd://h/e",
            "unix:/\0",
            &long,
        ];
        for text in bad {
            let line = text.parse::<Address>().expect_err(text).one_line();
            assert!(!line.is_empty() && !line.contains(char::is_control), "{line}");
        }
        assert!(long.parse::<Address>().expect_err("long").one_line().contains("107"));
    }
}
