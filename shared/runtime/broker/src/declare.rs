use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use stillpoint_events::Function;

use crate::topology::{Argument, EXCHANGE, Topology};

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

    /// Binds the queues of `functions` to what they follow where the vault is a replica, or takes it back: of one that was promoted.
    pub(crate) async fn follow(&self, channel: &Channel, functions: &[Function], is_replica: bool) -> lapin::Result<()> {
        for (queue, key) in functions.iter().flat_map(|function| self.followed_by(*function)) {
            let (queue, key, none) = (queue.into(), key.into(), FieldTable::default());
            if is_replica {
                channel.queue_bind(queue, EXCHANGE.into(), key, QueueBindOptions::default(), none).await?;
            } else {
                channel.queue_unbind(queue, EXCHANGE.into(), key, none).await?;
            }
        }
        Ok(())
    }
}
