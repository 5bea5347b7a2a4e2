use super::*;
use base64ct::{Base64, Encoding};
use bowline_model::meta::PasswordHash;
use bowline_topology::{Access, Defaults, Topology, password};
use serde_json::json;

/// `secret` with salt 01 02 03 04, as RabbitMQ writes it.
fn secret_hash() -> String {
    match password::sha256([1, 2, 3, 4], b"secret") {
        PasswordHash::Sha256(octets) => Base64::encode_string(&octets),
        _ => unreachable!("that is what was asked for"),
    }
}

/// In the form in which RabbitMQ 4 exports.
fn sample() -> serde_json::Value {
    json!({
        "rabbit_version": "4.0.5", "rabbitmq_version": "4.0.5", "product_name": "RabbitMQ",
        "rabbitmq_definition_format": "cluster",
        "users": [{
            "name": "app", "tags": ["monitoring"], "limits": {"max-connections": -1},
            "password_hash": secret_hash(),
            "hashing_algorithm": "rabbit_password_hashing_sha256"
        }],
        "vhosts": [
            {"name": "/", "description": "", "tags": [], "metadata": {"description": "", "tags": []}},
            {"name": "shop", "metadata": {"description": "the shop", "tags": ["eu"], "default_queue_type": "quorum"}},
        ],
        "permissions": [{"user": "app", "vhost": "shop", "configure": "", "write": "^orders", "read": ".*"}],
        "topic_permissions": [{"user": "app", "vhost": "shop", "exchange": "amq.topic", "write": "^a", "read": ".*"}],
        "parameters": [
            {"component": "operator_policy", "name": "cap", "vhost": "shop",
             "value": {"apply-to": "queues", "definition": {"overflow": "drop-head"}, "pattern": "^x$", "priority": 1}},
            {"component": "vhost-limits", "name": "limits", "vhost": "shop", "value": {"max-queues": 100}},
        ],
        "global_parameters": [{"name": "cluster_name", "value": "rabbit@old"}],
        "policies": [{"vhost": "shop", "name": "ae", "pattern": "^orders$", "apply-to": "exchanges",
                      "definition": {"alternate-exchange": "amq.fanout"}, "priority": 0}],
        "queues": [
            {"name": "orders.eu", "vhost": "shop", "durable": true, "auto_delete": false,
             "arguments": {"x-queue-type": "quorum"}},
            {"name": "log", "vhost": "shop", "durable": true, "auto_delete": false, "type": "stream", "arguments": {}},
        ],
        "exchanges": [{"name": "orders", "vhost": "shop", "type": "topic", "durable": true, "auto_delete": false,
                       "internal": false, "arguments": {}}],
        "bindings": [
            {"source": "orders", "vhost": "shop", "destination": "orders.eu", "destination_type": "queue",
             "routing_key": "eu.#", "arguments": {}},
            {"source": "amq.topic", "vhost": "shop", "destination": "orders", "destination_type": "exchange",
             "routing_key": "o", "arguments": {"n": 1, "f": 1.5, "list": ["a", true, null]}},
        ],
    })
}

fn imported(topology: &mut Topology, json: &serde_json::Value) {
    let current = |_: &str| None;
    for command in read::commands(json, &current, &mut random).unwrap().concat() {
        topology.apply(1, &command).unwrap_or_else(|refused| panic!("{command:?}: {refused:?}"));
    }
}

#[test]
fn a_rabbitmqs_topology_is_taken_over_and_given_back() {
    let mut topology = Topology::new(1, Defaults::default());
    imported(&mut topology, &sample());
    assert!(password::accepts(&topology.login("app", false).unwrap(), b"secret"));
    assert!(topology.may("app", "shop", Access::Write, "orders") && !topology.may_enter("app", "/"));
    assert_eq!(topology.exchange("shop", "orders").unwrap().alternate.as_deref(), Some("amq.fanout"));
    assert!(topology.topic("shop", "log").is_some());
    assert_eq!(topology.vhost_limit("shop", "max-queues"), Some(100));
    assert_eq!(topology.user_limit("app", "max-connections"), None);

    // Out and into another node: the same topology but for the stream's random id.
    let exported = write::definitions(&topology);
    let mut other = Topology::new(1, Defaults::default());
    imported(&mut other, &exported);
    assert_eq!(write::definitions(&other), exported);
    // Once more changes nothing.
    let before = other.checkpoint();
    imported(&mut other, &exported);
    assert_eq!(other.checkpoint(), before);
}

#[test]
fn what_is_not_of_the_right_form_is_told() {
    let error =
        |json: serde_json::Value| format!("{:#}", read::commands(&json, &|_| None, &mut random).unwrap_err());
    assert!(
        error(json!({"users": [{"name": "a", "password_hash": "x", "hashing_algorithm": "md5"}]}))
            .contains("md5")
    );
    assert!(error(json!({"users": [{"name": "a", "password_hash": "%"}]})).contains("base64"));
    assert!(error(json!({"queues": [{"name": 1}]})).contains("string"));
    assert!(
        error(json!({"bindings": [{"source": "a", "destination": "b", "destination_type": "c"}]}))
            .contains("'c'")
    );
}

#[test]
fn a_password_in_the_clear_is_hashed_once() {
    let json = json!({"users": [{"name": "ann", "password": "pw", "tags": "a, b"}]});
    let mut topology = Topology::new(1, Defaults::default());
    imported(&mut topology, &json);
    let user = topology.user("ann").unwrap().spec.clone();
    assert_eq!(user.tags, ["a", "b"]);
    let known = |has_scram| read::Known { password: user.password.clone().unwrap(), has_scram };
    let current = |name: &str| (name == "ann").then(|| known(true));
    let again = read::commands(&json, &current, &mut random).unwrap().concat();
    assert_eq!(again, [Command::UserPut(user.clone())]);
    // For SCRAM, too; a user that has been there for longer gets it later.
    assert_eq!(topology.scram_users()["ann"].len(), 2);
    let older = |_: &str| Some(known(false));
    let later = read::commands(&json, &older, &mut random).unwrap().concat();
    assert!(matches!(&later[..], [Command::UserPut(_), Command::ScramAlter { user, .. }] if user == "ann"));
}

#[test]
fn a_stopped_nodes_data_directory_is_imported_into_and_exported_from() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("definitions.json"), dir.path().join("data"));
    std::fs::write(&file, sample().to_string()).unwrap();
    let args = ImportArgs { file: file.clone(), data_dir: data.clone() };
    assert_eq!(import(args).unwrap(), ExitCode::SUCCESS);
    let out = dir.path().join("out.json");
    export(ExportArgs { data_dir: data, output: Some(out.clone()) }).unwrap();
    let exported: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap();
    assert_eq!(exported["queues"].as_array().unwrap().len(), 2);
    assert_eq!(exported["bindings"].as_array().unwrap().len(), 2);
}
