//! Vhosts, users, permissions, policies, limits: what they allow, and that they outlive a restart.

use bowline_model::meta::{
    ApplyTo, Binding, Command, Destination, ExchangeKind, ExchangeSpec, LimitScope, PermissionSpec,
    PolicySpec, QueueDeclaration, Reason, ScramCredential, ScramMechanism, Table, TopicPermissionSpec,
    UserSpec, Value, VhostSpec,
};
use bowline_model::settings::Overflow;
use bowline_model::{QueueId, SessionId};
use bowline_topology::{Access, Applied, Check, Defaults, Targets, Topology, password};

fn new() -> Topology {
    Topology::new(2, Defaults::default())
}

fn int(value: i128) -> Value {
    Value::Int { tag: b'l', value }
}

fn text(value: &str) -> Value {
    Value::Str(value.as_bytes().to_vec())
}

fn table(entries: &[(&str, Value)]) -> Table {
    entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn queue(vhost: &str, name: &str, arguments: &[(&str, Value)]) -> Command {
    Command::QueueDeclare(QueueDeclaration {
        vhost: vhost.to_owned(),
        name: name.to_owned(),
        durable: true,
        auto_delete: false,
        exclusive: None,
        arguments: table(arguments),
    })
}

fn exchange(name: &str, kind: ExchangeKind, arguments: &[(&str, Value)]) -> Command {
    Command::ExchangeDeclare(ExchangeSpec {
        vhost: "/".to_owned(),
        name: name.to_owned(),
        kind,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: table(arguments),
    })
}

fn bind(source: &str, queue: &str, key: &str) -> Command {
    Command::Bind(Binding {
        vhost: "/".to_owned(),
        source: source.to_owned(),
        destination: Destination::Queue(queue.to_owned()),
        routing_key: key.to_owned(),
        arguments: Table::new(),
    })
}

fn vhost(name: &str) -> VhostSpec {
    VhostSpec { name: name.to_owned(), ..VhostSpec::default() }
}

fn user(name: &str) -> Command {
    let password = Some(password::sha256([1, 2, 3, 4], b"secret"));
    Command::UserPut(UserSpec { name: name.to_owned(), password, tags: vec!["monitoring".to_owned()] })
}

fn permission(user: &str, vhost: &str, [configure, write, read]: [&str; 3]) -> Command {
    Command::PermissionPut(PermissionSpec {
        user: user.to_owned(),
        vhost: vhost.to_owned(),
        configure: configure.to_owned(),
        write: write.to_owned(),
        read: read.to_owned(),
    })
}

fn policy(name: &str, pattern: &str, priority: i64, definition: &[(&str, Value)]) -> PolicySpec {
    PolicySpec {
        vhost: "/".to_owned(),
        name: name.to_owned(),
        operator: false,
        pattern: pattern.to_owned(),
        apply_to: ApplyTo::All,
        priority,
        definition: table(definition),
    }
}

fn done(topology: &mut Topology, command: Command) -> Applied {
    let check = topology.check(&command, SessionId(1));
    let applied = topology.apply(1, &command).unwrap_or_else(|refused| panic!("{command:?}: {refused:?}"));
    match check {
        Check::Done(expected) => assert_eq!(applied, expected),
        Check::Log => assert_ne!(applied, Applied::Unchanged, "{command:?}"),
        Check::Refuse(rejection) => panic!("{rejection:?}"),
    }
    applied
}

fn refused(topology: &mut Topology, command: Command, reason: Reason, expected: &str) {
    let rejection = topology.apply(1, &command).expect_err(expected);
    assert_eq!((rejection.reason, rejection.text.as_str()), (reason, expected));
}

fn routed(topology: &Topology, exchange: &str, key: &str) -> Vec<QueueId> {
    let mut out = Targets::default();
    topology.route("/", exchange, key.as_bytes(), &mut Table::new, &mut out).expect("it is there");
    out.queues.iter().map(|target| target.queue).collect()
}

/// As it is after a checkpoint and a restart.
fn restarted(topology: &Topology) -> Topology {
    let bytes = topology.checkpoint();
    let restored = Topology::restore(&bytes, Defaults::default()).expect("our own checkpoint");
    assert_eq!(restored.checkpoint(), bytes);
    restored
}

#[test]
fn guest_comes_from_this_host_only_and_configured_users_do_everything() {
    let mut t = new();
    let hash = t.login("guest", true).expect("predeclared");
    assert!(password::accepts(&hash, b"guest") && !password::accepts(&hash, b"other"));
    assert_eq!(t.login("guest", false), None);
    assert_eq!(t.login("nobody", true), None);
    assert!(t.may("guest", "/", Access::Configure, "anything") && t.has_tag("guest", "administrator"));

    assert!(!t.may_enter("app", "/"));
    t.set_configured_users([("app".to_owned(), password::sha256([0; 4], b"pw"))].into_iter().collect());
    assert!(password::accepts(&t.login("app", false).unwrap(), b"pw"));
    assert!(t.may_enter("app", "/") && t.may("app", "/", Access::Read, "q"));
    assert_eq!(restarted(&t).login("app", false), None, "not part of the state");
}

#[test]
fn three_patterns_per_vhost() {
    let mut t = new();
    refused(&mut t, permission("ann", "/", ["", "", ""]), Reason::NotFound, "user 'ann' not found");
    done(&mut t, user("ann"));
    assert!(!t.may_enter("ann", "/"), "no permission yet");
    refused(&mut t, permission("ann", "v", ["", "", ""]), Reason::NotFound, "vhost 'v' not found");
    assert!(t.apply(1, &permission("ann", "/", ["(", "", ""])).is_err());
    done(&mut t, permission("ann", "/", ["^ann-", "^(ann-.*|amq\\.default)$", ".*"]));
    for mut t in [restarted(&t), t] {
        assert!(t.may_enter("ann", "/") && t.has_tag("ann", "monitoring"));
        assert!(t.may("ann", "/", Access::Configure, "ann-q") && !t.may("ann", "/", Access::Configure, "q"));
        assert!(t.may("ann", "/", Access::Write, ""), "the default exchange is amq.default");
        assert!(
            !t.may("ann", "/", Access::Write, "amq.topic") && t.may("ann", "/", Access::Read, "amq.topic")
        );
        done(&mut t, Command::PermissionDelete { user: "ann".to_owned(), vhost: "/".to_owned() });
        assert!(!t.may_enter("ann", "/") && !t.may("ann", "/", Access::Read, "q"));
        let gone = done(&mut t, Command::UserDelete { name: "ann".to_owned() });
        assert_eq!(gone, Applied::UserRemoved { name: "ann".into() });
        assert!(!t.has_user("ann"));
    }
}

#[test]
fn topic_permissions_know_their_user() {
    let mut t = new();
    done(&mut t, user("a.n"));
    done(&mut t, permission("a.n", "/", [".*", ".*", ".*"]));
    assert!(t.may_topic("a.n", "/", Access::Write, "amq.topic", "any"), "none set");
    done(
        &mut t,
        Command::TopicPermissionPut(TopicPermissionSpec {
            user: "a.n".to_owned(),
            vhost: "/".to_owned(),
            exchange: "amq.topic".to_owned(),
            write: "^{username}\\.".to_owned(),
            read: ".*".to_owned(),
        }),
    );
    let t = restarted(&t);
    assert!(t.checks_topics("a.n", "/", "amq.topic") && !t.checks_topics("a.n", "/", "other"));
    assert!(t.may_topic("a.n", "/", Access::Write, "amq.topic", "a.n.x"));
    assert!(!t.may_topic("a.n", "/", Access::Write, "amq.topic", "axn.x"), "the name is taken literally");
    assert!(t.may_topic("a.n", "/", Access::Read, "amq.topic", "x"));
    assert!(t.may_topic("a.n", "/", Access::Write, "other", "x"));
}

#[test]
fn a_vhost_comes_with_its_exchanges_and_goes_with_all_in_it() {
    let mut t = new();
    let missing = "vhost 'v' not found";
    refused(&mut t, queue("v", "q", &[]), Reason::NotFound, missing);
    done(&mut t, Command::VhostPut(vhost("v")));
    assert_eq!(done(&mut t, Command::VhostPut(vhost("v"))), Applied::Unchanged);
    assert!(t.exchange("v", "amq.topic").is_some() && t.exchange("v", "").is_some());
    done(&mut t, queue("v", "q", &[]));
    done(&mut t, queue("/", "q", &[]));
    done(&mut t, user("ann"));
    done(&mut t, permission("ann", "v", [".*", ".*", ".*"]));
    let mut t = restarted(&t);
    assert_eq!(t.vhosts().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["/", "v"]);
    let gone = done(&mut t, Command::VhostDelete { name: "v".to_owned() });
    assert_eq!(
        gone,
        Applied::VhostRemoved { name: "v".into(), queues: vec![QueueId(1)], partitions: vec![] }
    );
    assert!(!t.has_vhost("v") && t.queue("/", "q").is_some() && !t.may_enter("ann", "v"));
    refused(&mut t, Command::VhostDelete { name: "v".to_owned() }, Reason::NotFound, missing);
    let default = Command::VhostDelete { name: "/".to_owned() };
    assert_eq!(t.apply(1, &default).unwrap_err().reason, Reason::Forbidden);
    restarted(&t);
}

#[test]
fn a_vhost_has_a_default_queue_type_and_limits() {
    let mut t = new();
    let spec = VhostSpec { default_queue_type: Some("quorum".to_owned()), ..vhost("v") };
    done(&mut t, Command::VhostPut(spec));
    done(&mut t, queue("v", "q", &[]));
    assert_eq!(t.queue("v", "q").unwrap().settings.delivery_limit, Some(20));
    // Declared again it is the same, and so it is with the type said.
    for arguments in [&[][..], &[("x-queue-type", text("quorum"))]] {
        let again = done(&mut t, queue("v", "q", arguments));
        assert!(matches!(again, Applied::ExistingQueue { .. }), "{again:?}");
    }
    let scope = LimitScope::Vhost("v".to_owned());
    let unknown = Command::LimitsPut { scope: scope.clone(), limits: vec![("max-love".to_owned(), 1)] };
    refused(&mut t, unknown, Reason::InvalidArgument, "unknown limit 'max-love'");
    let limits = vec![("max-connections".to_owned(), 0), ("max-queues".to_owned(), 1)];
    done(&mut t, Command::LimitsPut { scope: scope.clone(), limits });
    let mut t = restarted(&t);
    assert_eq!(t.vhost_limit("v", "max-connections"), Some(0));
    let full = "cannot declare queue 'other': queue limit in vhost 'v' (1) is reached";
    refused(&mut t, queue("v", "other", &[]), Reason::Limit, full);
    done(&mut t, queue("v", "q", &[]));
    done(&mut t, Command::LimitsPut { scope, limits: vec![("max-queues".to_owned(), -1)] });
    done(&mut t, queue("v", "other", &[]));
}

#[test]
fn the_policy_with_the_highest_priority_is_in_force_on_living_queues() {
    let mut t = new();
    done(&mut t, queue("/", "jobs.a", &[]));
    done(&mut t, queue("/", "other", &[]));
    let put = |spec: &PolicySpec| Command::PolicyPut(spec.clone());
    // `overflow` alone is acted on from the first day.
    let low = policy("low", "^jobs", 1, &[("overflow", text("drop-head"))]);
    assert_eq!(done(&mut t, put(&low)), Applied::Reconfigured { queues: vec![], partitions: vec![] });
    let in_force = |t: &Topology, name: &str| {
        let queue = t.queue("/", name).unwrap();
        queue.in_force.as_ref().and_then(|in_force| in_force.policy.as_deref().map(str::to_owned))
    };
    assert_eq!(in_force(&t, "jobs.a").as_deref(), Some("low"));
    assert_eq!(in_force(&t, "other"), None);
    let high = policy("high", "a$", 2, &[("alternate-exchange", text("amq.fanout"))]);
    done(&mut t, put(&high));
    let mut t = restarted(&t);
    assert_eq!(in_force(&t, "jobs.a").as_deref(), Some("high"));
    done(&mut t, queue("/", "later.a", &[]));
    assert_eq!(in_force(&t, "later.a").as_deref(), Some("high"));
    let gone = Command::PolicyDelete { vhost: "/".to_owned(), name: "high".to_owned(), operator: false };
    done(&mut t, gone.clone());
    assert_eq!(done(&mut t, gone), Applied::Unchanged);
    assert_eq!(in_force(&t, "jobs.a").as_deref(), Some("low"));
    assert_eq!(in_force(&t, "later.a"), None);
    let mut bad = policy("bad", "(", 0, &[("overflow", text("drop-head"))]);
    assert!(t.apply(1, &Command::PolicyPut(bad.clone())).is_err());
    bad.pattern = ".*".to_owned();
    bad.definition = table(&[("nonsense", int(1))]);
    let unknown = "[{<<\"nonsense\">>,<<\"is not recognised\">>}]";
    refused(&mut t, Command::PolicyPut(bad), Reason::InvalidArgument, unknown);
}

#[test]
fn a_policy_changes_what_a_living_queue_enforces_and_an_operator_bounds_it() {
    let mut t = new();
    done(&mut t, queue("/", "q", &[("x-message-ttl", int(5000))]));
    let ttl = |t: &Topology| t.queue("/", "q").unwrap().settings.message_ttl_ms;
    let spec = policy("p", ".*", 0, &[("message-ttl", int(1000)), ("max-length", int(9))]);
    let Applied::Reconfigured { queues, .. } = done(&mut t, Command::PolicyPut(spec)) else { panic!() };
    assert_eq!((queues.len(), queues[0].0, queues[0].2.message_ttl_ms), (1, QueueId(1), Some(1000)));
    let mut operator = policy("o", ".*", 0, &[("max-length", int(3)), ("expires", int(60))]);
    operator.operator = true;
    operator.definition.push(("max-age".to_owned(), text("1D")));
    let not = "'max-age' is not recognised in operator policies";
    refused(&mut t, Command::PolicyPut(operator.clone()), Reason::InvalidArgument, not);
    operator.definition.pop();
    done(&mut t, Command::PolicyPut(operator));
    let mut t = restarted(&t);
    let settings = &t.queue("/", "q").unwrap().settings;
    assert_eq!(
        (settings.max_length, settings.expires_ms, settings.message_ttl_ms),
        (Some(3), Some(60), Some(1000))
    );
    let gone = Command::PolicyDelete { vhost: "/".to_owned(), name: "p".to_owned(), operator: false };
    done(&mut t, gone);
    assert_eq!(ttl(&t), Some(5000));
    assert_eq!(t.queue("/", "q").unwrap().settings.max_length, Some(3));
}

#[test]
fn of_two_numbers_the_smaller_counts_and_of_two_words_the_operators() {
    let cases: &[(&str, Value, Value, Value)] = &[
        ("max-length", int(5), int(3), int(3)),
        ("max-length", int(3), int(5), int(3)),
        ("max-length-bytes", int(7), int(9), int(7)),
        ("message-ttl", int(1), int(2), int(1)),
        ("expires", int(20), int(10), int(10)),
        ("max-in-memory-length", int(2), int(1), int(1)),
        ("max-in-memory-bytes", int(1), int(2), int(1)),
        ("delivery-limit", int(3), int(9), int(3)),
        ("delivery-limit", int(-1), int(9), int(9)),
        ("overflow", text("drop-head"), text("reject-publish"), text("reject-publish")),
    ];
    for (key, said, bound, expected) in cases {
        let mut t = new();
        done(&mut t, queue("/", "q", &[("x-queue-type", text("quorum"))]));
        done(&mut t, Command::PolicyPut(policy("p", "^q$", 0, &[(key, said.clone())])));
        let operator = PolicySpec { operator: true, ..policy("o", "q", 0, &[(key, bound.clone())]) };
        done(&mut t, Command::PolicyPut(operator));
        for t in [&t, &restarted(&t)] {
            let in_force = t.queue("/", "q").unwrap().in_force.as_deref().unwrap();
            assert_eq!(
                in_force.definition,
                [((*key).to_owned(), expected.clone())],
                "{key} {said:?} {bound:?}"
            );
            let names = (in_force.policy.as_deref(), in_force.operator_policy.as_deref());
            assert_eq!(names, (Some("p"), Some("o")));
        }
    }
}

#[test]
fn patterns_that_would_take_for_ever_do_not() {
    let mut t = new();
    let name = format!("{}b", "a".repeat(250));
    done(&mut t, queue("/", &name, &[]));
    // Each would take an engine that goes back longer than there is time.
    for (i, pattern) in ["^(a+)+$", "^(a|aa)+$", "^(a|a?)+$", "(.*a){20}c", "^(([a-z])+.)+[A-Z]([a-z])+$"]
        .into_iter()
        .cycle()
        .take(200)
        .enumerate()
    {
        done(&mut t, Command::PolicyPut(policy(&format!("p{i}"), pattern, 0, &[("max-length", int(1))])));
    }
    assert!(t.queue("/", &name).unwrap().in_force.is_none());
    for pattern in [r"((\w{100}){100}){100}", r"(x+x+)+y(?=z)", r"\1", "("] {
        let rejection = t.apply(1, &Command::PolicyPut(policy("bad", pattern, 0, &[("max-length", int(1))])));
        assert_eq!(rejection.unwrap_err().reason, Reason::InvalidArgument, "{pattern}");
    }
}

#[test]
fn a_policy_that_changes_touches_whom_it_was_or_is_about() {
    let mut t = new();
    for name in ["a.1", "a.2", "b.1"] {
        done(&mut t, queue("/", name, &[]));
    }
    let touched = |applied: Applied| match applied {
        Applied::Reconfigured { queues, .. } => queues.into_iter().map(|(id, ..)| id.0).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let put = |pattern: &str, n: i128| Command::PolicyPut(policy("p", pattern, 0, &[("max-length", int(n))]));
    assert_eq!(touched(done(&mut t, put("^a\\.", 3))), [1, 2]);
    // Its pattern changes: some lose it, others get it, and those in both have what it says now.
    assert_eq!(touched(done(&mut t, put("1$", 4))), [1, 2, 3]);
    let length = |t: &Topology, name: &str| t.queue("/", name).unwrap().settings.max_length;
    assert_eq!((length(&t, "a.1"), length(&t, "a.2"), length(&t, "b.1")), (Some(4), None, Some(4)));
    let gone = Command::PolicyDelete { vhost: "/".to_owned(), name: "p".to_owned(), operator: false };
    assert_eq!(touched(done(&mut t, gone)), [1, 3]);
}

#[test]
fn a_policy_gives_an_exchange_its_alternate() {
    let mut t = new();
    done(&mut t, queue("/", "q", &[]));
    done(&mut t, bind("amq.fanout", "q", ""));
    done(&mut t, exchange("x", ExchangeKind::Direct, &[]));
    assert_eq!(routed(&t, "x", "k"), []);
    let mut spec = policy("ae", "^x$", 0, &[("alternate-exchange", text("amq.fanout"))]);
    spec.apply_to = ApplyTo::Exchanges;
    done(&mut t, Command::PolicyPut(spec));
    let mut t = restarted(&t);
    assert_eq!(routed(&t, "x", "k"), [QueueId(1)]);
    let gone = Command::PolicyDelete { vhost: "/".to_owned(), name: "ae".to_owned(), operator: false };
    done(&mut t, gone);
    assert_eq!(routed(&t, "x", "k"), []);
}

#[test]
fn hashing_exchanges_choose_one_queue_and_stay_with_it() {
    let mut t = new();
    for name in ["a", "b", "c"] {
        done(&mut t, queue("/", name, &[]));
    }
    for (name, kind) in [("hash", ExchangeKind::ConsistentHash), ("mod", ExchangeKind::ModulusHash)] {
        done(&mut t, exchange(name, kind, &[]));
        for queue in ["a", "b", "c"] {
            done(&mut t, bind(name, queue, "1"));
        }
    }
    let bad = bind("hash", "a", "x");
    refused(&mut t, bad, Reason::InvalidArgument, "The binding key must be an integer: x");
    let keys: Vec<String> = (0..50).map(|n| format!("key-{n}")).collect();
    let again = restarted(&t);
    for exchange in ["hash", "mod"] {
        let mut seen = std::collections::BTreeSet::new();
        for key in &keys {
            let found = routed(&t, exchange, key);
            assert_eq!(found.len(), 1);
            assert_eq!(found, routed(&again, exchange, key), "the same after a restart");
            seen.extend(found);
        }
        assert_eq!(seen.len(), 3, "{exchange}");
    }
    let both = [("hash-header", text("h")), ("hash-property", text("message_id"))];
    let rejection = t.apply(1, &exchange("bad", ExchangeKind::ConsistentHash, &both)).unwrap_err();
    assert_eq!(rejection.reason, Reason::InvalidArgument);
}

#[test]
fn a_hash_over_a_header_is_asked_for_every_time() {
    let mut t = new();
    done(&mut t, queue("/", "a", &[]));
    done(&mut t, queue("/", "b", &[]));
    done(&mut t, exchange("x", ExchangeKind::ConsistentHash, &[("hash-header", text("id"))]));
    done(&mut t, bind("x", "a", "1"));
    done(&mut t, bind("x", "b", "1"));
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..20 {
        let mut out = Targets::default();
        let mut headers = || table(&[("id", int(n))]);
        t.route("/", "x", b"", &mut headers, &mut out).unwrap();
        assert!(out.needs_headers && out.queues.len() == 1);
        seen.insert(out.queues[0].queue);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_delayed_exchange_routes_as_its_inner_type() {
    let mut t = new();
    done(&mut t, queue("/", "q", &[]));
    let none = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
    refused(&mut t, exchange("d", ExchangeKind::Delayed, &[]), Reason::InvalidArgument, none);
    done(&mut t, exchange("d", ExchangeKind::Delayed, &[("x-delayed-type", text("topic"))]));
    done(&mut t, bind("d", "q", "a.*"));
    let mut t = restarted(&t);
    assert!(t.exchange("/", "d").unwrap().delayed());
    assert_eq!((routed(&t, "d", "a.b"), routed(&t, "d", "b")), (vec![QueueId(1)], vec![]));
    let again = exchange("d", ExchangeKind::Delayed, &[("x-delayed-type", text("direct"))]);
    assert_eq!(t.apply(1, &again).unwrap_err().reason, Reason::Inequivalent);
}

#[test]
fn checkpoints_of_before_there_were_users_are_read() {
    // Version 1 was what version 2 begins with.
    let mut t = new();
    done(&mut t, queue("/", "q", &[("x-queue-type", text("quorum"))]));
    let security = {
        let mut empty = new();
        let before = empty.checkpoint().len();
        done(&mut empty, user("x"));
        assert!(empty.checkpoint().len() > before);
        t.checkpoint()
    };
    let mut old = security;
    old[..4].copy_from_slice(&1u32.to_le_bytes());
    let restored = Topology::restore(&old, Defaults::default()).expect("version 1");
    assert!(restored.may("guest", "/", Access::Write, "q"));
    assert_eq!(restored.queue("/", "q").unwrap().settings.delivery_limit, Some(20));
    assert_eq!(restored.queue("/", "q").unwrap().settings.overflow, Overflow::DropHead);
}

fn scram(fill: u8) -> (ScramMechanism, ScramCredential) {
    let keys = vec![fill; 32];
    let credential =
        ScramCredential { salt: vec![1], iterations: 4096, stored_key: keys.clone(), server_key: keys };
    (ScramMechanism::Sha256, credential)
}

fn alter(user: &str, put: &[u8], remove: bool) -> Command {
    Command::ScramAlter {
        user: user.to_owned(),
        put: put.iter().map(|fill| scram(*fill)).collect(),
        remove: remove.then_some(ScramMechanism::Sha256).into_iter().collect(),
    }
}

#[test]
fn scram_credentials_are_kept_until_the_password_changes() {
    let mut t = new();
    let found = |t: &Topology, user: &str| {
        t.scram_login(user, ScramMechanism::Sha256, true).map(|credential| credential.stored_key[0])
    };
    // Of a name that is no user of AMQP's, too.
    done(&mut t, alter("kim", &[1], false));
    assert_eq!(t.apply(0, &alter("kim", &[1], false)), Ok(Applied::Unchanged));
    assert_eq!((found(&t, "kim"), found(&t, "ann")), (Some(1), None));
    assert_eq!(t.scram_login("kim", ScramMechanism::Sha512, true), None);
    let gone = |t: &mut Topology, user: &str| t.apply(0, &alter(user, &[], true)).unwrap_err().reason;
    assert_eq!(gone(&mut t, "ann"), Reason::NotFound);
    let mut short = scram(1);
    short.1.server_key.pop();
    let short = Command::ScramAlter { user: "kim".to_owned(), put: vec![short], remove: vec![] };
    assert_eq!(t.apply(0, &short).unwrap_err().reason, Reason::InvalidArgument);

    let ann = |password: &[u8], tag: &str| {
        let password = Some(password::sha256([9; 4], password));
        Command::UserPut(UserSpec { name: "ann".to_owned(), password, tags: vec![tag.to_owned()] })
    };
    done(&mut t, ann(b"old", "a"));
    done(&mut t, alter("ann", &[2], false));
    done(&mut t, ann(b"old", "b"));
    assert_eq!(found(&t, "ann"), Some(2), "other tags, the same password");
    let restored = Topology::restore(&t.checkpoint(), Defaults::default()).unwrap();
    assert_eq!((found(&restored, "ann"), found(&restored, "kim")), (Some(2), Some(1)));
    assert_eq!(restored.checkpoint(), t.checkpoint());
    done(&mut t, ann(b"new", "b"));
    assert_eq!(found(&t, "ann"), None, "an old password opens nothing");
    done(&mut t, alter("ann", &[3], false));
    done(&mut t, Command::UserDelete { name: "ann".to_owned() });
    assert_eq!(found(&t, "ann"), None);
    done(&mut t, alter("kim", &[], true));
    assert!(t.scram_users().is_empty());
}

#[test]
fn the_secret_is_made_once() {
    let mut t = new();
    assert_eq!(t.secret(), None);
    done(&mut t, Command::SecretSet([1; 32]));
    assert_eq!(t.apply(0, &Command::SecretSet([2; 32])), Ok(Applied::Unchanged));
    let restored = Topology::restore(&t.checkpoint(), Defaults::default()).unwrap();
    assert_eq!(restored.secret(), Some(&[1; 32]));
}

#[test]
fn guest_can_be_kept_out() {
    let mut t = new();
    assert!(t.login("guest", true).is_some() && t.may_log_in("guest", true));
    assert!(t.login("guest", false).is_none() && !t.may_log_in("guest", false));
    done(&mut t, alter("guest", &[1], false));
    assert!(t.scram_login("guest", ScramMechanism::Sha256, false).is_none());
    t.keep_guest_out();
    assert!(t.login("guest", true).is_none() && !t.may_log_in("guest", true));
    assert!(t.scram_login("guest", ScramMechanism::Sha256, true).is_none());
}
