use tokio::io::{AsyncRead, AsyncWrite};

/// What a client and a server can talk over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

pub(crate) type Boxed = Box<dyn Stream>;
