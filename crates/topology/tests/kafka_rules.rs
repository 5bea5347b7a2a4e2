//! Access rules and quotas as commands: logged once, kept by checkpoints.

use bowline_model::acl::{Acl, Operation, PatternKind, Permission, ResourceKind};
use bowline_model::meta::{Command, Reason};
use bowline_model::quota::{QuotaEntity, QuotaKey};
use bowline_model::{Principal, SessionId};
use bowline_topology::{Applied, Check, Defaults, Topology};

fn rule(name: &str) -> Acl {
    Acl {
        resource: ResourceKind::Topic,
        pattern: PatternKind::Prefixed,
        name: name.into(),
        principal: Principal::user("alice"),
        host: "*".into(),
        operation: Operation::Read,
        permission: Permission::Allow,
    }
}

fn quota(rate: f64) -> Command {
    let entity = QuotaEntity { user: Some(None), client_id: Some(Some("c".into())), ip: None };
    Command::QuotasSet { entity, changes: vec![(QuotaKey::ConsumerByteRate, Some(rate))] }
}

#[test]
fn rules_and_quotas_are_kept_by_a_checkpoint() {
    let mut topology = Topology::new(2, Defaults::default());
    let commands = [Command::AclsAdd(vec![rule("b"), rule("a")]), quota(7.0)];
    for command in &commands {
        assert_eq!(topology.check(command, SessionId(1)), Check::Log);
        let applied = topology.apply(1, command).unwrap();
        assert!(applied.changes_topology(), "sessions look again");
        assert_eq!(topology.check(command, SessionId(1)), Check::Done(Applied::Unchanged));
    }
    let restored = Topology::restore(&topology.checkpoint(), Defaults::default()).unwrap();
    assert_eq!(restored.checkpoint(), topology.checkpoint());
    assert_eq!(restored.acls().iter().collect::<Vec<_>>(), [rule("a"), rule("b")]);
    assert_eq!(restored.quotas(), topology.quotas());
    assert_eq!(restored.quotas().of_client(QuotaKey::ConsumerByteRate, "u", "c").unwrap().0, 7.0);

    let removal = Command::AclsRemove(vec![rule("a"), rule("none")]);
    assert_eq!(topology.apply(1, &removal), Ok(Applied::Changed));
    assert_eq!(topology.apply(1, &removal), Ok(Applied::Unchanged));
    assert_eq!(topology.acls().len(), 1);
}

#[test]
fn what_cannot_be_meant_is_not_logged() {
    let topology = Topology::new(2, Defaults::default());
    for command in [Command::AclsAdd(vec![rule("a"), rule("")]), quota(-1.0)] {
        let Check::Refuse(rejection) = topology.check(&command, SessionId(1)) else { panic!("{command:?}") };
        assert_eq!(rejection.reason, Reason::InvalidArgument);
    }
}
