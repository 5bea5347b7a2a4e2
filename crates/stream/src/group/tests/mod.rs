//! Scripted traces: what clients say at which time, and what they hear, as text.

mod consumer;
mod membership;
mod offsets;
mod static_members;

use crate::Stream;
use crate::testing::World;
use bowline_model::event::Event;
use bowline_model::group::{Commit, Error, Join, Leaving, Member, PartitionCommit, Reply, Request, Sync};
use bowline_model::{Millis, SessionId, Token};
use bytes::Bytes;

/// A group `g`, and the clock.
struct Script {
    world: World,
    now: Millis,
}

/// A client: its session's number, and who it says it is.
#[derive(Clone)]
struct Client {
    session: u64,
    id: String,
    instance: Option<String>,
    generation: i32,
    protocols: Vec<(String, Bytes)>,
    known_id_required: bool,
}

fn client(session: u64) -> Client {
    Client {
        session,
        id: String::new(),
        instance: None,
        generation: -1,
        protocols: vec![protocol("range", &["t"])],
        known_id_required: false,
    }
}

fn protocol(name: &str, topics: &[&str]) -> (String, Bytes) {
    let mut metadata = vec![0, 3];
    metadata.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        metadata.extend((topic.len() as i16).to_be_bytes());
        metadata.extend(topic.as_bytes());
    }
    // No user data, nothing owned, generation −1, no rack.
    metadata.extend(b"\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff");
    (name.to_owned(), metadata.into())
}

impl Client {
    fn named(mut self, id: &str) -> Client {
        self.id = id.to_owned();
        self
    }

    fn instance(mut self, id: &str) -> Client {
        self.instance = Some(id.to_owned());
        self
    }

    fn generation(mut self, generation: i32) -> Client {
        self.generation = generation;
        self
    }

    fn offering(mut self, protocols: &[(&str, &[&str])]) -> Client {
        self.protocols = protocols.iter().map(|(name, topics)| protocol(name, topics)).collect();
        self
    }

    fn member(&self) -> Member {
        Member {
            group: "g".into(),
            member_id: self.id.clone(),
            generation: self.generation,
            instance_id: self.instance.clone(),
        }
    }

    fn join(&self) -> Join {
        Join {
            group: "g".into(),
            member_id: self.id.clone(),
            instance_id: self.instance.clone(),
            new_member_id: format!("m{}", self.session),
            require_known_member_id: self.known_id_required,
            client_id: "test".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: self.protocols.clone(),
        }
    }
}

impl Script {
    fn new() -> Script {
        Script { world: World::new(), now: 1_000_000 }
    }

    /// Sends a request; returns what is heard at once, by anybody.
    fn ask(&mut self, session: u64, request: Request) -> Vec<String> {
        let world = &mut self.world;
        world.stream.group(self.now, SessionId(session), Token(session), request, &mut world.out);
        self.heard()
    }

    fn join(&mut self, client: &Client) -> Vec<String> {
        self.ask(client.session, Request::Join(client.join()))
    }

    fn sync(&mut self, client: &Client, assignments: &[(&str, &'static str)]) -> Vec<String> {
        let all = assignments.iter().map(|(id, blob)| (id.to_string(), Bytes::from_static(blob.as_bytes())));
        let sync = Sync {
            member: client.member(),
            protocol_type: Some("consumer".into()),
            protocol_name: None,
            assignments: all.collect(),
        };
        self.ask(client.session, Request::Sync(sync))
    }

    fn beat(&mut self, client: &Client) -> Vec<String> {
        self.ask(client.session, Request::Heartbeat(client.member()))
    }

    fn leave(&mut self, client: &Client) -> Vec<String> {
        let leaving = Leaving { member_id: client.id.clone(), instance_id: client.instance.clone() };
        self.ask(client.session, Request::Leave { group: "g".into(), members: vec![leaving] })
    }

    fn commit(&mut self, client: &Client, topic: &str, offset: i64, metadata: &str) -> Vec<String> {
        let one = PartitionCommit { partition: 0, offset, leader_epoch: -1, metadata: Some(metadata.into()) };
        let commit =
            Commit { member: client.member(), topics: vec![(topic.into(), vec![one])], knows_epochs: true };
        self.ask(client.session, Request::Commit(commit))
    }

    fn describe(&mut self) -> Vec<String> {
        self.ask(0, Request::Describe { group: "g".into() })
    }

    /// Lets time pass, waking the groups whenever they want to be woken.
    fn pass(&mut self, ms: u64) -> Vec<String> {
        let until = self.now + ms;
        while let Some(at) = self.world.stream.groups.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let Stream { groups, pending, .. } = &mut self.world.stream;
            groups.tick(self.now, pending, &mut self.world.out);
            assert!(
                self.world.stream.groups.next_deadline().is_none_or(|next| next > self.now),
                "a tick must do all that is due"
            );
        }
        self.now = until;
        self.heard()
    }

    /// Logs what was proposed.
    fn logged(&mut self) -> Vec<String> {
        self.world.settle(self.now);
        self.heard()
    }

    fn heard(&mut self) -> Vec<String> {
        let one = |(session, event): (SessionId, Event)| match event {
            Event::Group { token, reply } => {
                assert_eq!(token.0, session.0);
                format!("{}: {}", session.0, text(&reply))
            }
            other => panic!("{other:?}"),
        };
        self.world.replies().into_iter().map(one).collect()
    }

    /// Two dynamic members `m1` (leader) and `m2` in a stable group of generation 1.
    fn stable_pair(&mut self) -> (Client, Client) {
        let (one, two) = (client(1), client(2));
        assert!(self.join(&one).is_empty());
        assert!(self.join(&two).is_empty());
        self.pass(700);
        let (one, two) = (one.named("m1").generation(1), two.named("m2").generation(1));
        assert!(self.sync(&two, &[]).is_empty());
        assert_eq!(self.sync(&one, &[("m1", "A"), ("m2", "B")]), ["1: sync A", "2: sync B"]);
        (one, two)
    }
}

fn code<T>(result: &Result<T, Error>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(error) => format!("{}", *error as i16),
    }
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Join(Ok(j)) => {
            let ids: Vec<&str> = j.members.iter().map(|(id, _, _)| id.as_str()).collect();
            let members = if ids.is_empty() { String::new() } else { format!(" of {}", ids.join(",")) };
            let skip = j.led_as.as_ref().map(|id| format!(" skip {id}")).unwrap_or_default();
            format!(
                "join {} gen {} {} leader {}{members}{skip}",
                j.member_id, j.generation, j.protocol_name, j.leader
            )
        }
        Reply::Join(Err(refused)) => format!("join {} for '{}'", refused.error as i16, refused.member_id),
        Reply::Sync(Ok(synced)) => format!("sync {}", String::from_utf8_lossy(&synced.assignment)),
        Reply::Sync(Err(error)) => format!("sync {}", *error as i16),
        Reply::Heartbeat(result) => format!("beat {}", code(result)),
        Reply::Leave(all) => {
            format!("leave {}", all.iter().map(|(_, result)| code(result)).collect::<Vec<_>>().join(","))
        }
        Reply::Commit(Err(error)) => format!("commit {}", *error as i16),
        Reply::OffsetDelete(Err(error)) => format!("forget {}", *error as i16),
        Reply::Commit(Ok(all)) | Reply::OffsetDelete(Ok(all)) => {
            let results = all.iter().flat_map(|(topic, all)| {
                all.iter().map(move |(partition, result)| format!("{topic}/{partition} {}", code(result)))
            });
            format!("each {}", results.collect::<Vec<_>>().join(","))
        }
        Reply::FetchOffsets(Err(error)) => format!("offsets {}", *error as i16),
        Reply::FetchOffsets(Ok(all)) => {
            let offsets = all.iter().flat_map(|(topic, all)| {
                all.iter().map(move |p| {
                    format!("{topic}/{}={}{}", p.partition, p.offset, p.metadata.as_deref().unwrap_or("-"))
                })
            });
            format!("offsets {}", offsets.collect::<Vec<_>>().join(","))
        }
        Reply::Describe(d) => {
            let member = |m: &bowline_model::group::DescribedMember| {
                format!("{}={}", m.member_id, String::from_utf8_lossy(&m.assignment))
            };
            let members: Vec<String> = d.members.iter().map(member).collect();
            format!("{} {} {}", d.state.name(), d.protocol_name, members.join(","))
        }
        Reply::List(all) => {
            let groups = all.iter().map(|l| format!("{} {} {}", l.group, l.protocol_type, l.state.name()));
            format!("list {}", groups.collect::<Vec<_>>().join(","))
        }
        Reply::Delete(result) => format!("delete {}", code(result)),
        Reply::ConsumerHeartbeat(Err(refused)) => format!("lives {}", refused.error as i16),
        Reply::ConsumerHeartbeat(Ok(beat)) => format!("lives {} in {}", beat.member_id, beat.epoch),
        Reply::ConsumerDescribe(described) => format!("{described:?}"),
        Reply::KindOf(kind) => format!("{kind:?}"),
    }
}
