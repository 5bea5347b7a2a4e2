//! Whether the connection's user may do what a method asks. The topology knows the permissions; publishes have their
//! answer remembered with their route (see `routes`).

use bowline_model::meta::{ExchangeKind, Rejection, Table, Value};
use bowline_topology::access::DEFAULT_EXCHANGE;
use bowline_topology::refusal::Resource;
use bowline_topology::{Access, Topology};

use crate::broker::{Broker, look_up};
use crate::refusal::Step;
use crate::session::Session;

/// Who asks, and where.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub topology: &'a Topology,
    pub vhost: &'a str,
    pub user: &'a str,
}

impl Asking<'_> {
    pub fn queue(&self, access: Access, name: &str) -> Result<(), Rejection> {
        self.resource(access, Resource::queue(self.vhost, name), name)
    }

    pub fn exchange(&self, access: Access, name: &str) -> Result<(), Rejection> {
        let shown = if name.is_empty() { DEFAULT_EXCHANGE } else { name };
        self.resource(access, Resource::exchange(self.vhost, shown), name)
    }

    /// Whether the routing key may be used with the exchange, if that is one that goes by topics.
    pub fn topic(&self, access: Access, exchange: &str, key: &str) -> Result<(), Rejection> {
        let Asking { topology, vhost, user } = *self;
        let is_topic = |exchange: &bowline_topology::Exchange| exchange.routes_as() == ExchangeKind::Topic;
        if topology.checks_topics(user, vhost, exchange)
            && topology.exchange(vhost, exchange).is_some_and(is_topic)
            && !topology.may_topic(user, vhost, access, exchange, key)
        {
            return Err(access.topic_refusal(vhost, exchange, key, user));
        }
        Ok(())
    }

    /// Passive declarations need any permission on the name.
    pub fn any(&self, name: &str) -> Result<(), Rejection> {
        let may = |access| self.topology.may(self.user, self.vhost, access, name);
        if may(Access::Read) || may(Access::Write) || may(Access::Configure) {
            return Ok(());
        }
        Err(Access::Configure.refusal(Resource::queue(self.vhost, name), self.user))
    }

    /// Whoever names an exchange that takes what a queue or exchange does not keep must be able to publish there.
    pub fn forwarding(&self, arguments: &Table, argument: &str) -> Result<(), Rejection> {
        let value = arguments.iter().find(|(name, _)| name == argument).map(|(_, value)| value);
        let Some(Value::Str(exchange)) = value else { return Ok(()) };
        self.exchange(Access::Write, &String::from_utf8_lossy(exchange))
    }

    fn resource(&self, access: Access, resource: Resource<'_>, name: &str) -> Result<(), Rejection> {
        if self.topology.may(self.user, self.vhost, access, name) {
            return Ok(());
        }
        Err(access.refusal(resource, self.user))
    }
}

impl Session {
    /// Runs checks under the topology's lock.
    pub(crate) fn permit(
        &self,
        broker: &dyn Broker,
        checks: impl FnOnce(Asking<'_>) -> Result<(), Rejection>,
    ) -> Step {
        look_up(broker, |topology| checks(Asking { topology, vhost: &self.vhost, user: &self.client.user }))?;
        Ok(())
    }
}
