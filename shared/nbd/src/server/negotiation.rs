use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use rustls::ServerConfig;
use stillpoint_model::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    export::{Export, Exports, find},
    lost,
};
use crate::{
    stream::Boxed,
    tls,
    wire::{self, take_u16, take_u32},
};

/// Longest option: some names of 4096 bytes.
const OPTION_BYTES_MAX: u32 = 64 << 10;
/// The one metadata context there is.
const ALLOCATION: &[u8] = b"base:allocation";
/// Its number.
pub const ALLOCATION_ID: u32 = 1;

/// What a client and the server agreed on.
pub struct Agreed {
    pub stream: Boxed,
    pub export: Arc<dyn Export>,
    pub structured: bool,
    /// Whether the client may ask what is allocated.
    pub allocation: bool,
}

/// How an option leaves the negotiation.
enum Next {
    Go(Arc<dyn Export>),
    Secure,
    More,
    End,
}

/// Answers options until the client goes on to requests; none where it takes its leave.
pub async fn negotiate(stream: Boxed, exports: &Exports, secure: Option<&Arc<ServerConfig>>) -> Result<Option<Agreed>> {
    let mut talk = Talk { stream, exports, secure, is_plain: true, no_zeroes: false, structured: false, allocation: None };
    talk.greet().await?;
    loop {
        match talk.option().await? {
            Next::Go(export) => {
                let allocation = talk.allocation.as_ref().is_some_and(|asked| Arc::ptr_eq(asked, &export));
                return Ok(Some(Agreed { stream: talk.stream, export, structured: talk.structured, allocation }));
            }
            Next::Secure => {
                if let Some(settings) = secure {
                    talk.stream = tls::accept(settings, talk.stream).await?;
                }
                (talk.is_plain, talk.structured, talk.allocation) = (false, false, None);
            }
            Next::More => {}
            Next::End => return Ok(None),
        }
    }
}

struct Talk<'a> {
    stream: Boxed,
    exports: &'a Exports,
    secure: Option<&'a Arc<ServerConfig>>,
    is_plain: bool,
    no_zeroes: bool,
    structured: bool,
    /// The export for which the client asked what is allocated.
    allocation: Option<Arc<dyn Export>>,
}

impl Talk<'_> {
    async fn greet(&mut self) -> Result<()> {
        let mut greeting = BytesMut::new();
        greeting.put_u64(wire::MAGIC);
        greeting.put_u64(wire::OPTION_MAGIC);
        greeting.put_u16(wire::FIXED_NEWSTYLE | wire::NO_ZEROES);
        self.send(&greeting).await?;
        let flags = self.stream.read_u32().await.map_err(lost)?;
        if flags & !u32::from(wire::FIXED_NEWSTYLE | wire::NO_ZEROES) != 0 {
            return Err(Error::invalid("the client wants what is not known here"));
        }
        self.no_zeroes = flags & u32::from(wire::NO_ZEROES) != 0;
        Ok(())
    }

    async fn option(&mut self) -> Result<Next> {
        let magic = self.stream.read_u64().await.map_err(lost)?;
        let option = self.stream.read_u32().await.map_err(lost)?;
        let length = self.stream.read_u32().await.map_err(lost)?;
        if magic != wire::OPTION_MAGIC || length > OPTION_BYTES_MAX {
            return Err(Error::invalid("an option of the client is none"));
        }
        let mut data = vec![0; length as usize];
        self.stream.read_exact(&mut data).await.map_err(lost)?;
        let barred = self.secure.is_some() && self.is_plain;
        match option {
            wire::OPTION_ABORT => {
                self.reply(option, wire::REPLY_ACK, &[]).await?;
                Ok(Next::End)
            }
            wire::OPTION_STARTTLS => self.start_tls(&data).await,
            wire::OPTION_EXPORT_NAME if barred => Err(Error::denied("the client does not talk TLS")),
            _ if barred => self.reply(option, wire::REPLY_TLS_REQUIRED, b"this server talks TLS only").await,
            wire::OPTION_EXPORT_NAME => self.export_name(&data).await,
            wire::OPTION_LIST => self.list(&data).await,
            wire::OPTION_INFO | wire::OPTION_GO => self.info(option, &data).await,
            wire::OPTION_STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                self.reply(option, wire::REPLY_ACK, &[]).await
            }
            wire::OPTION_STRUCTURED_REPLY => self.invalid(option).await,
            wire::OPTION_LIST_META_CONTEXT | wire::OPTION_SET_META_CONTEXT => self.contexts(option, &data).await,
            _ => self.reply(option, wire::REPLY_UNSUPPORTED, b"not known here").await,
        }
    }

    async fn start_tls(&mut self, data: &[u8]) -> Result<Next> {
        let option = wire::OPTION_STARTTLS;
        match (self.secure, self.is_plain && data.is_empty()) {
            (None, _) => self.reply(option, wire::REPLY_POLICY, b"this server has no TLS").await,
            (Some(_), false) => self.invalid(option).await,
            (Some(_), true) => {
                self.reply(option, wire::REPLY_ACK, &[]).await?;
                Ok(Next::Secure)
            }
        }
    }

    /// The way of old clients: no refusal can be told.
    async fn export_name(&mut self, name: &[u8]) -> Result<Next> {
        let export = std::str::from_utf8(name).ok().and_then(|name| find(self.exports, name)).cloned();
        let export = export.ok_or_else(|| Error::missing("the client wants an export that is not there"))?;
        let mut answer = BytesMut::new();
        answer.put_u64(export.size_bytes());
        answer.put_u16(self.flags(export.as_ref()));
        if !self.no_zeroes {
            answer.put_bytes(0, 124);
        }
        self.send(&answer).await?;
        Ok(Next::Go(export))
    }

    async fn list(&mut self, data: &[u8]) -> Result<Next> {
        if !data.is_empty() {
            return self.invalid(wire::OPTION_LIST).await;
        }
        let exports = self.exports;
        for name in exports.keys() {
            let mut listed = BytesMut::new();
            listed.put_u32(u32::try_from(name.len()).unwrap_or(u32::MAX));
            listed.put_slice(name.as_bytes());
            self.reply(wire::OPTION_LIST, wire::REPLY_SERVER, &listed).await?;
        }
        self.reply(wire::OPTION_LIST, wire::REPLY_ACK, &[]).await
    }

    async fn info(&mut self, option: u32, data: &[u8]) -> Result<Next> {
        let Some(name) = parse_info(data) else { return self.invalid(option).await };
        let Some(export) = find(self.exports, name).cloned() else {
            return self.reply(option, wire::REPLY_UNKNOWN, b"no such export").await;
        };
        let mut size = BytesMut::new();
        size.put_u16(wire::INFO_EXPORT);
        size.put_u64(export.size_bytes());
        size.put_u16(self.flags(export.as_ref()));
        self.reply(option, wire::REPLY_INFO, &size).await?;
        let mut blocks = BytesMut::new();
        blocks.put_u16(wire::INFO_BLOCK_SIZE);
        [1, 4096, wire::PAYLOAD_BYTES_MAX].into_iter().for_each(|bytes| blocks.put_u32(bytes));
        self.reply(option, wire::REPLY_INFO, &blocks).await?;
        self.reply(option, wire::REPLY_ACK, &[]).await?;
        Ok(if option == wire::OPTION_GO { Next::Go(export) } else { Next::More })
    }

    async fn contexts(&mut self, option: u32, data: &[u8]) -> Result<Next> {
        let is_set = option == wire::OPTION_SET_META_CONTEXT;
        if is_set {
            self.allocation = None;
        }
        let parsed = parse_contexts(data).filter(|_| self.structured || !is_set);
        let Some((name, queries)) = parsed else { return self.invalid(option).await };
        let Some(export) = find(self.exports, name).cloned() else {
            return self.reply(option, wire::REPLY_UNKNOWN, b"no such export").await;
        };
        let is_listed = !is_set && (queries.is_empty() || queries.contains(&b"base:".as_slice()));
        if is_listed || queries.contains(&ALLOCATION) {
            let mut context = BytesMut::new();
            context.put_u32(if is_set { ALLOCATION_ID } else { 0 });
            context.put_slice(ALLOCATION);
            self.reply(option, wire::REPLY_META_CONTEXT, &context).await?;
            if is_set {
                self.allocation = Some(export);
            }
        }
        self.reply(option, wire::REPLY_ACK, &[]).await
    }

    fn flags(&self, export: &dyn Export) -> u16 {
        let structured = if self.structured { wire::SEND_DF } else { 0 };
        let writable = wire::SEND_FLUSH | wire::SEND_FUA | wire::SEND_TRIM | wire::SEND_WRITE_ZEROES;
        let writes = if export.is_read_only() { wire::READ_ONLY } else { writable };
        wire::HAS_FLAGS | wire::CAN_MULTI_CONN | structured | writes
    }

    async fn invalid(&mut self, option: u32) -> Result<Next> {
        self.reply(option, wire::REPLY_INVALID, b"not as the protocol has it").await
    }

    async fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> Result<Next> {
        let mut reply = BytesMut::with_capacity(20 + data.len());
        reply.put_u64(wire::OPTION_REPLY_MAGIC);
        reply.put_u32(option);
        reply.put_u32(kind);
        reply.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
        reply.put_slice(data);
        self.send(&reply).await?;
        Ok(Next::More)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }
}

fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_u32(from)? as usize;
    let (text, rest) = from.split_at_checked(length).filter(|_| length <= wire::NAME_BYTES_MAX)?;
    *from = rest;
    Some(text)
}

/// Name of an export. The informations that are wanted follow; all there are are sent.
fn parse_info(mut data: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(take_bytes(&mut data)?).ok()?;
    let count = take_u16(&mut data)?;
    (data.len() == usize::from(count) * size_of::<u16>()).then_some(name)
}

/// Name of an export and the contexts asked about.
fn parse_contexts(mut data: &[u8]) -> Option<(&str, Vec<&[u8]>)> {
    let name = std::str::from_utf8(take_bytes(&mut data)?).ok()?;
    let count = take_u32(&mut data)?;
    let queries = (0..count).map(|_| take_bytes(&mut data)).collect::<Option<Vec<_>>>()?;
    data.is_empty().then_some((name, queries))
}
