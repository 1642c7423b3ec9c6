use bytes::{BufMut, BytesMut};
use stillpoint_model::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    stream::Boxed,
    tls::Tls,
    wire::{self, take_u16, take_u32, take_u64},
};

/// Longest reply to an option; names have at most 4096 bytes.
const REPLY_BYTES_MAX: u32 = 16 << 10;
/// Most replies to one option.
const REPLIES_MAX: usize = 1024;
/// Largest smallest unit that the protocol lets a server ask for.
const BLOCK_BYTES_MIN_MAX: u32 = 64 << 10;

/// Sizes of requests that a server wants, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSizes {
    /// Offsets and lengths are multiples of it.
    pub minimum: u32,
    /// Requests of multiples of it cost the server no extra work.
    pub preferred: u32,
    /// Most that is read or written at once.
    pub maximum: u32,
}

/// What a server says of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    pub size_bytes: u64,
    pub flags: u16,
    pub blocks: BlockSizes,
    pub structured: bool,
    /// Metadata contexts that were granted, by their number on this connection.
    pub contexts: Vec<(u32, String)>,
}

/// What a client wants of a server.
pub struct Wanted<'a> {
    pub export: &'a str,
    pub contexts: &'a [&'a str],
    /// Settings, and the name of the host.
    pub tls: Option<(&'a Tls, &'a str)>,
}

/// Negotiates until requests may be sent.
pub async fn handshake(stream: Boxed, wanted: &Wanted<'_>) -> Result<(Boxed, Details)> {
    let mut talk = Talk { stream };
    talk.greet().await?;
    if let Some((tls, host)) = wanted.tls {
        talk.start_tls().await?;
        talk.stream = tls.secure(talk.stream, host).await?;
    }
    let structured = talk.ask_structured().await?;
    let contexts = match structured && !wanted.contexts.is_empty() {
        true => talk.ask_contexts(wanted).await?,
        false => Vec::new(),
    };
    let (size_bytes, flags, blocks) = talk.go(wanted.export).await?;
    Ok((talk.stream, Details { size_bytes, flags, blocks, structured, contexts }))
}

/// Options and their replies.
struct Talk {
    stream: Boxed,
}

struct Reply {
    kind: u32,
    data: Vec<u8>,
}

impl Talk {
    async fn greet(&mut self) -> Result<()> {
        if self.stream.read_u64().await.map_err(lost)? != wire::MAGIC {
            return Err(Error::invalid("it is no NBD server"));
        }
        let magic = self.stream.read_u64().await.map_err(lost)?;
        let offered = self.stream.read_u16().await.map_err(lost)?;
        if magic != wire::OPTION_MAGIC || offered & wire::FIXED_NEWSTYLE == 0 {
            return Err(Error::invalid("the server is too old: it does not negotiate"));
        }
        let flags = wire::FIXED_NEWSTYLE | offered & wire::NO_ZEROES;
        self.stream.write_u32(u32::from(flags)).await.map_err(lost)
    }

    async fn start_tls(&mut self) -> Result<()> {
        self.send(wire::OPTION_STARTTLS, &[]).await?;
        match self.reply(wire::OPTION_STARTTLS).await?.kind {
            wire::REPLY_ACK => Ok(()),
            _ => Err(Error::denied("the server does not offer TLS")),
        }
    }

    /// Whether the server sends structured replies; old ones do not.
    async fn ask_structured(&mut self) -> Result<bool> {
        self.send(wire::OPTION_STRUCTURED_REPLY, &[]).await?;
        let reply = self.reply(wire::OPTION_STRUCTURED_REPLY).await?;
        match reply.kind {
            wire::REPLY_ACK => Ok(true),
            wire::REPLY_UNSUPPORTED | wire::REPLY_POLICY | wire::REPLY_INVALID => Ok(false),
            _ => Err(refusal(&reply)),
        }
    }

    async fn ask_contexts(&mut self, wanted: &Wanted<'_>) -> Result<Vec<(u32, String)>> {
        let mut data = BytesMut::new();
        put_text(&mut data, wanted.export);
        data.put_u32(u32::try_from(wanted.contexts.len()).map_err(|_| Error::invalid("too many metadata contexts"))?);
        wanted.contexts.iter().for_each(|context| put_text(&mut data, context));
        self.send(wire::OPTION_SET_META_CONTEXT, &data).await?;
        let mut granted: Vec<(u32, String)> = Vec::new();
        for _ in 0..REPLIES_MAX {
            let reply = self.reply(wire::OPTION_SET_META_CONTEXT).await?;
            match reply.kind {
                wire::REPLY_ACK => return Ok(granted),
                wire::REPLY_UNSUPPORTED => return Ok(Vec::new()),
                wire::REPLY_META_CONTEXT => granted.push(granted_context(&reply.data, wanted.contexts, &granted)?),
                _ => return Err(refusal(&reply)),
            }
        }
        Err(broken("it grants no end of metadata contexts"))
    }

    async fn go(&mut self, export: &str) -> Result<(u64, u16, BlockSizes)> {
        let mut data = BytesMut::new();
        put_text(&mut data, export);
        data.put_u16(1);
        data.put_u16(wire::INFO_BLOCK_SIZE);
        self.send(wire::OPTION_GO, &data).await?;
        let mut size = None;
        let mut blocks = BlockSizes { minimum: 1, preferred: 4096, maximum: wire::PAYLOAD_BYTES_MAX };
        for _ in 0..REPLIES_MAX {
            let reply = self.reply(wire::OPTION_GO).await?;
            let mut data = reply.data.as_slice();
            match reply.kind {
                wire::REPLY_INFO => match take_u16(&mut data) {
                    Some(wire::INFO_EXPORT) => size = Some(export_size(data)?),
                    Some(wire::INFO_BLOCK_SIZE) => blocks = block_sizes(data)?,
                    // The protocol has clients ignore what they do not know.
                    Some(_) => {}
                    None => return Err(broken("an information of it is cut short")),
                },
                wire::REPLY_ACK => {
                    let (size, flags) = size.ok_or_else(|| broken("it does not tell the size of the export"))?;
                    return Ok((size, flags, blocks));
                }
                wire::REPLY_UNSUPPORTED => return Err(Error::invalid("the server is too old: it does not know NBD_OPT_GO")),
                _ => return Err(refusal(&reply)),
            }
        }
        Err(broken("it has no end of informations"))
    }

    async fn send(&mut self, option: u32, data: &[u8]) -> Result<()> {
        let mut message = BytesMut::with_capacity(16 + data.len());
        message.put_u64(wire::OPTION_MAGIC);
        message.put_u32(option);
        message.put_u32(u32::try_from(data.len()).map_err(|_| Error::invalid("too long an option"))?);
        message.put_slice(data);
        self.stream.write_all(&message).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    async fn reply(&mut self, option: u32) -> Result<Reply> {
        let magic = self.stream.read_u64().await.map_err(lost)?;
        let answered = self.stream.read_u32().await.map_err(lost)?;
        if magic != wire::OPTION_REPLY_MAGIC || answered != option {
            return Err(broken("a reply to an option is none"));
        }
        let kind = self.stream.read_u32().await.map_err(lost)?;
        let length = self.stream.read_u32().await.map_err(lost)?;
        if length > REPLY_BYTES_MAX {
            return Err(broken("a reply to an option is too long"));
        }
        let mut data = vec![0; length as usize];
        self.stream.read_exact(&mut data).await.map_err(lost)?;
        Ok(Reply { kind, data })
    }
}

fn put_text(into: &mut BytesMut, text: &str) {
    // At most 4096 bytes: looked at before the first byte is sent.
    into.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    into.put_slice(text.as_bytes());
}

/// A context that was granted: one of those asked for, once.
fn granted_context(mut data: &[u8], wanted: &[&str], granted: &[(u32, String)]) -> Result<(u32, String)> {
    let id = take_u32(&mut data).ok_or_else(|| broken("a metadata context is cut short"))?;
    let name = wanted.iter().find(|name| name.as_bytes() == data);
    let name = name.ok_or_else(|| broken(&format!("it grants a metadata context not asked for{}", wire::quoted(data))))?;
    if granted.iter().any(|(known, text)| *known == id || text == name) {
        return Err(broken("it grants a metadata context twice"));
    }
    Ok((id, (*name).to_owned()))
}

fn export_size(mut data: &[u8]) -> Result<(u64, u16)> {
    let fields = take_u64(&mut data).zip(take_u16(&mut data));
    let (size_bytes, flags) = fields.ok_or_else(|| broken("the size of the export is cut short"))?;
    if flags & wire::HAS_FLAGS == 0 || size_bytes > i64::MAX as u64 {
        return Err(broken("the size of the export is none"));
    }
    Ok((size_bytes, flags))
}

fn block_sizes(mut data: &[u8]) -> Result<BlockSizes> {
    let mut next = || take_u32(&mut data).ok_or_else(|| broken("the block sizes are cut short"));
    let (minimum, preferred, maximum) = (next()?, next()?, next()?);
    if !minimum.is_power_of_two() || minimum > BLOCK_BYTES_MIN_MAX || maximum < minimum {
        return Err(broken(&format!("block sizes of {minimum} to {maximum} bytes cannot be")));
    }
    Ok(BlockSizes { minimum, preferred, maximum: maximum.min(wire::PAYLOAD_BYTES_MAX) / minimum * minimum })
}

fn refusal(reply: &Reply) -> Error {
    let said = wire::quoted(&reply.data);
    match reply.kind {
        wire::REPLY_UNKNOWN => Error::missing(format!("the server has no such export{said}")),
        wire::REPLY_TLS_REQUIRED => Error::denied(format!("the server talks to TLS clients only{said}")),
        wire::REPLY_POLICY => Error::denied(format!("the server refuses{said}")),
        wire::REPLY_INVALID => Error::invalid(format!("the server takes the request for invalid{said}")),
        kind if kind & wire::REPLY_ERROR != 0 => {
            Error::unavailable(format!("the server refuses (error {}){said}", kind & !wire::REPLY_ERROR))
        }
        _ => broken("a reply to an option is of a kind that does not answer it"),
    }
}

/// The error of a server that does not keep to the protocol.
pub fn broken(what: &str) -> Error {
    Error::internal(format!("the server breaks the protocol: {what}"))
}

/// The error of a connection that ended or failed.
pub fn lost(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::unavailable("the server closed the connection"),
        _ => Error::unavailable("the connection is lost").with_source(error),
    }
}
