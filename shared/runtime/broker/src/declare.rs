use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use crate::topology::{Argument, Topology};

impl Topology {
    /// Declares everything on the broker; what exists already and is the same stays.
    pub(crate) async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        for (name, kind) in Self::exchanges() {
            let kind = if kind == "topic" { ExchangeKind::Topic } else { ExchangeKind::Fanout };
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await?;
        }
        for queue in self.queues() {
            let mut arguments = FieldTable::default();
            for (name, value) in queue.arguments {
                let value = match value {
                    Argument::Text(text) => AMQPValue::LongString(text.into()),
                    Argument::Number(number) => AMQPValue::LongLongInt(number.into()),
                };
                arguments.insert(name.into(), value);
            }
            channel.queue_declare(queue.name.into(), QueueDeclareOptions::durable(), arguments).await?;
        }
        for (queue, exchange, key) in self.bindings() {
            channel
                .queue_bind(queue.into(), exchange.into(), key.into(), QueueBindOptions::default(), FieldTable::default())
                .await?;
        }
        Ok(())
    }
}
