//! Rules against Kafka's semantics, and the table against a plain list.

use super::*;
use proptest::prelude::*;

const HOST: &str = "10.0.0.1";

fn acl(text: &str) -> Acl {
    // "allow alice@* Read Topic prefixed foo"
    let words: Vec<&str> = text.split(' ').collect();
    let [permission, who, operation, resource, pattern, name] = words[..] else { panic!("{text}") };
    let (user, host) = who.split_once('@').unwrap();
    let named = |all: &[Operation]| {
        *all.iter().find(|known| format!("{known:?}") == operation).unwrap_or_else(|| panic!("{operation}"))
    };
    Acl {
        resource: *ResourceKind::ALL.iter().find(|known| format!("{known:?}") == resource).unwrap(),
        pattern: if pattern == "prefixed" { PatternKind::Prefixed } else { PatternKind::Literal },
        name: name.into(),
        principal: Principal::user(user),
        host: host.into(),
        operation: named(Operation::ALL),
        permission: if permission == "deny" { Permission::Deny } else { Permission::Allow },
    }
}

fn acls(rules: &[&str]) -> Acls {
    let mut acls = Acls::default();
    rules.iter().for_each(|rule| acls.add(acl(rule)));
    acls
}

fn verdict(rules: &[&str], operation: Operation, resource: Resource<'_>) -> Verdict {
    let alice = Principal::user("alice");
    acls(rules).verdict(Asker { principal: &alice, host: HOST }, operation, resource)
}

#[test]
fn who_from_where_and_what() {
    use Operation::*;
    use Verdict::*;
    let topic = Resource::Topic("foobar");
    let one = |rule, operation| verdict(&[rule], operation, topic);
    assert_eq!(verdict(&[], Read, topic), NoRules);
    assert_eq!(one("allow alice@* Read Topic literal foobar", Read), Allowed);
    assert_eq!(one("allow alice@* Read Topic literal foobar", Write), Denied);
    assert_eq!(one("allow *@* Read Topic literal foobar", Read), Allowed);
    assert_eq!(one("allow bob@* Read Topic literal foobar", Read), Denied);
    assert_eq!(one("allow alice@10.0.0.1 Read Topic literal foobar", Read), Allowed);
    assert_eq!(one("allow alice@10.0.0.2 Read Topic literal foobar", Read), Denied);
    assert_eq!(one("allow alice@* All Topic literal *", AlterConfigs), Allowed);
    assert_eq!(one("allow alice@* Read Topic prefixed foo", Read), Allowed);
    assert_eq!(one("allow alice@* Read Topic prefixed foobar", Read), Allowed);
    assert_eq!(one("allow alice@* Read Topic prefixed fox", Read), NoRules);
    assert_eq!(one("allow alice@* Read Topic literal foo", Read), NoRules);
    assert_eq!(one("allow alice@* Read Group literal foobar", Read), NoRules);
    assert_eq!(
        verdict(&["allow alice@* Alter Cluster literal kafka-cluster"], Alter, Resource::Cluster),
        Allowed
    );
}

#[test]
fn a_denial_wins_wherever_it_stands() {
    use Verdict::*;
    let allow = "allow alice@* Read Topic literal foobar";
    for deny in [
        "deny alice@* Read Topic literal foobar",
        "deny *@* All Topic literal *",
        "deny alice@10.0.0.1 Read Topic prefixed f",
    ] {
        assert_eq!(verdict(&[allow, deny], Operation::Read, Resource::Topic("foobar")), Denied, "{deny}");
    }
    let elsewhere = "deny alice@10.0.0.9 Read Topic prefixed f";
    assert_eq!(verdict(&[allow, elsewhere], Operation::Read, Resource::Topic("foobar")), Allowed);
}

#[test]
fn what_implies_what() {
    use Operation::*;
    use Verdict::*;
    let topic = Resource::Topic("t");
    for (given, asked, expected) in [
        ("Read", Describe, Allowed),
        ("Write", Describe, Allowed),
        ("Delete", Describe, Allowed),
        ("Alter", Describe, Allowed),
        ("Create", Describe, Denied),
        ("AlterConfigs", DescribeConfigs, Allowed),
        ("AlterConfigs", Describe, Denied),
        ("Describe", Read, Denied),
    ] {
        let rule = format!("allow alice@* {given} Topic literal t");
        assert_eq!(verdict(&[&rule], asked, topic), expected, "{given} and {asked:?}");
    }
    // Denials do not reach further than they say.
    let rules = ["allow alice@* Describe Topic literal t", "deny alice@* Read Topic literal t"];
    assert_eq!(verdict(&rules, Describe, topic), Allowed);
}

#[test]
fn any_topic_at_all() {
    use Verdict::*;
    let any = |rules: &[&str]| {
        let alice = Principal::user("alice");
        let asker = Asker { principal: &alice, host: HOST };
        acls(rules).verdict_of_any(asker, Operation::Write, ResourceKind::Topic)
    };
    assert_eq!(any(&[]), NoRules);
    assert_eq!(any(&["allow alice@* Write Topic literal t"]), Allowed);
    assert_eq!(any(&["allow alice@* Read Topic literal t"]), Denied);
    assert_eq!(any(&["allow alice@* Write Topic literal t", "deny alice@* All Topic literal *"]), Denied);
    assert_eq!(any(&["allow alice@* Write Topic literal t", "deny alice@* Write Topic literal t"]), Denied);
    assert_eq!(any(&["allow alice@* Write Topic literal tt", "deny alice@* Write Topic prefixed t"]), Denied);
    assert_eq!(
        any(&["allow alice@* Write Topic prefixed t", "deny alice@* Write Topic prefixed tt"]),
        Allowed
    );
    assert_eq!(any(&["allow alice@* Write Topic prefixed t", "deny alice@* Write Topic literal t"]), Allowed);
    assert_eq!(any(&["allow alice@* Write Topic literal *", "deny alice@* Write Topic prefixed t"]), Allowed);
    let both = ["allow alice@* Write Topic literal t", "deny alice@* Write Topic literal t"];
    assert_eq!(any(&[both[0], both[1], "allow alice@* Write Topic literal u"]), Allowed);
}

#[test]
fn rules_that_cannot_be_meant_are_refused() {
    let mut empty = acl("allow alice@* Read Topic literal t");
    empty.name.clear();
    let mut cluster = acl("allow alice@* Alter Cluster literal kafka-cluster");
    assert!(check(&cluster).is_ok());
    cluster.name = "other".into();
    let mut long = acl("allow alice@* Read Topic literal t");
    long.name = "x".repeat(5000);
    for bad in [empty, cluster, long] {
        assert_eq!(check(&bad).unwrap_err().reason, Reason::InvalidArgument);
        assert!(acls(&[]).check_add(&[bad]).is_err());
    }
}

#[test]
fn adding_and_removing_are_idempotent_and_leave_nothing_behind() {
    let rule = acl("allow alice@* Read Topic prefixed t");
    let mut table = Acls::default();
    assert_eq!(table.check_add(std::slice::from_ref(&rule)), Ok(false));
    table.add(rule.clone());
    table.add(rule.clone());
    assert_eq!((table.len(), table.check_add(std::slice::from_ref(&rule))), (1, Ok(true)));
    assert!(table.iter().eq([rule.clone()]));
    table.remove(&rule);
    table.remove(&rule);
    assert_eq!(table, Acls::default());
}

/// As the words have it, rule by rule.
fn plainly(rules: &[Acl], asker: Asker<'_>, operation: Operation, resource: Resource<'_>) -> Verdict {
    let names = |acl: &&Acl| {
        acl.resource == resource.kind()
            && match acl.pattern {
                PatternKind::Literal => acl.name == resource.name() || acl.name == WILDCARD,
                PatternKind::Prefixed => resource.name().starts_with(&acl.name),
            }
    };
    let naming: Vec<&Acl> = rules.iter().filter(names).collect();
    let fits = |acl: &&&Acl| entry(acl).concerns(asker) && entry(acl).covers(operation);
    let fitting: Vec<_> = naming.iter().filter(fits).collect();
    let says = |permission| fitting.iter().any(|acl| acl.permission == permission);
    match (says(Permission::Deny), says(Permission::Allow), naming.is_empty()) {
        (true, ..) => Verdict::Denied,
        (_, true, _) => Verdict::Allowed,
        (.., true) => Verdict::NoRules,
        _ => Verdict::Denied,
    }
}

fn any_acl() -> impl Strategy<Value = Acl> {
    let pick = |all: &'static [&'static str]| proptest::sample::select(all);
    (
        proptest::sample::select(ResourceKind::ALL),
        proptest::sample::select(PatternKind::ALL),
        "[aäb]{1,4}|\\*",
        pick(&["alice", "bob", "*"]),
        pick(&["*", HOST, "10.0.0.2"]),
        proptest::sample::select(Operation::ALL),
        proptest::sample::select(Permission::ALL),
    )
        .prop_map(|(resource, pattern, name, user, host, operation, permission)| Acl {
            resource,
            pattern,
            name,
            principal: Principal::user(user),
            host: host.into(),
            operation,
            permission,
        })
}

proptest! {
    #[test]
    fn the_table_says_what_the_list_says(
        rules in proptest::collection::vec(any_acl(), 0..40),
        gone in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
        name in "[aäb]{0,5}|\\*",
        operation in proptest::sample::select(Operation::ALL),
    ) {
        let mut list: Vec<Acl> = rules.clone();
        let mut table = Acls::default();
        rules.iter().for_each(|rule| table.add(rule.clone()));
        for index in gone {
            if let Some(rule) = rules.get(index.index(rules.len().max(1))) {
                table.remove(rule);
                list.retain(|other| other != rule);
            }
        }
        list.sort();
        list.dedup();
        prop_assert_eq!(table.iter().collect::<Vec<_>>(), list.clone());
        prop_assert_eq!(table.len(), list.len());
        let alice = Principal::user("alice");
        let asker = Asker { principal: &alice, host: HOST };
        for resource in [Resource::Topic(&name), Resource::Group(&name), Resource::TransactionalId(&name)] {
            prop_assert_eq!(
                table.verdict(asker, operation, resource),
                plainly(&list, asker, operation, resource)
            );
        }
        // What may be done to some topic that we can name may be done to any at all.
        if table.verdict(asker, operation, Resource::Topic("b")) == Verdict::Allowed {
            prop_assert_eq!(table.verdict_of_any(asker, operation, ResourceKind::Topic), Verdict::Allowed);
        }
    }
}
