//! One declared queue.

use crate::policy::InForce;
use crate::refusal::Resource;
use crate::settings::{Reads, Said};
use crate::{equivalence, refusal};
use bowline_model::meta::{QueueDeclaration, Rejection, Table};
use bowline_model::request::QueueSpec;
use bowline_model::settings::{Overflow, QueueSettings};
use bowline_model::{Millis, QueueId, SessionId, ShardId};

#[derive(Debug)]
pub struct Queue {
    pub id: QueueId,
    /// Where its messages are.
    pub shard: ShardId,
    pub kind: QueueType,
    /// As declared; an exclusive queue is never durable here, whatever was asked for (as in RabbitMQ).
    pub declared: QueueDeclaration,
    pub created: Millis,
    /// What arguments and policies amount to.
    pub settings: Box<QueueSettings>,
    /// What sessions have to read out of messages for it; `None` for nearly all queues.
    pub reads: Option<Box<Reads>>,
    /// Policies that hold for it, if any does.
    pub in_force: Option<Box<InForce>>,
}

/// Argument `x-queue-type`. Absent is classic. `stream` makes a topic instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueType {
    Classic,
    Quorum,
}

impl QueueType {
    pub fn name(self) -> &'static str {
        match self {
            QueueType::Classic => "classic",
            QueueType::Quorum => "quorum",
        }
    }
}

impl Queue {
    pub(crate) fn new(
        id: QueueId,
        shard: ShardId,
        kind: QueueType,
        declared: QueueDeclaration,
        created: Millis,
    ) -> Queue {
        let mut queue = Queue {
            id,
            shard,
            kind,
            declared,
            created,
            settings: Box::default(),
            reads: None,
            in_force: None,
        };
        queue.resolve(&Table::new());
        queue
    }

    /// Settles what its arguments and the policy in force amount to. True if it enforces something else now.
    pub(crate) fn resolve(&mut self, policy: &Table) -> bool {
        let said = Said { kind: self.kind, arguments: &self.declared.arguments, policy };
        let settings = said.settings();
        self.reads = Reads::of(&said);
        let changed = *self.settings != settings;
        *self.settings = settings;
        changed
    }

    /// It refuses messages that are too many.
    pub fn is_limited(&self) -> bool {
        self.settings.overflow != Overflow::DropHead
            && (self.settings.max_length.is_some() || self.settings.max_length_bytes.is_some())
    }

    /// Whether session `by` may use it: exclusive queues belong to one connection.
    pub fn open_to(&self, by: SessionId) -> bool {
        self.declared.exclusive.is_none_or(|owner| owner == by)
    }

    /// Whether declaring it again like this is no change; Locked or Inequivalent otherwise.
    pub fn check_redeclared(
        &self,
        durable: bool,
        auto_delete: bool,
        exclusive: Option<SessionId>,
        arguments: &Table,
    ) -> Result<(), Rejection> {
        let declared = &self.declared;
        if declared.exclusive != exclusive {
            return Err(refusal::locked(&declared.vhost, &declared.name));
        }
        let resource = Resource::queue(&declared.vhost, &declared.name);
        let durable = durable && exclusive.is_none();
        equivalence::check_field(&resource, "durable", declared.durable, durable)?;
        equivalence::check_field(&resource, "auto_delete", declared.auto_delete, auto_delete)?;
        equivalence::check_queue_arguments(&resource, self.kind.declared(), &declared.arguments, arguments)
    }

    pub fn spec(&self) -> QueueSpec {
        let declared = &self.declared;
        QueueSpec {
            queue: self.id,
            vhost: declared.vhost.clone(),
            name: declared.name.clone(),
            durable: declared.durable,
            auto_delete: declared.auto_delete,
            exclusive: declared.exclusive.is_some(),
            arguments: declared.arguments.clone(),
            settings: self.settings.clone(),
        }
    }
}
