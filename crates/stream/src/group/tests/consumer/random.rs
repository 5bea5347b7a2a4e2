//! Readers that come, go, lose answers, dawdle and change their minds: no partition is ever two readers', and when
//! they calm down everything is read, and evenly.

use super::{Reader, Script, reader, topic};
use bowline_model::consumer_group::{Beat, Heartbeat, Partitions, Refused};
use bowline_model::group::State;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Step {
    /// Reader n sends a heartbeat and does what it is told.
    Live(usize),
    /// Its answer is lost.
    Lost(usize),
    /// It is told, and does not give anything back yet.
    Dawdle(usize),
    Leave(usize),
    LeaveForAWhile(usize),
    /// It is there again under another id.
    Restart(usize),
    Subscribe(usize, usize),
    Topics(usize),
    /// The coordinator's node starts again.
    Crash,
}

const READERS: usize = 5;
const SUBSCRIPTIONS: &[&[&str]] = &[&["t"], &["t", "u"], &["u"], &[]];
const TOPICS: &[&[(&str, u8, u32)]] =
    &[&[("t", 1, 6), ("u", 2, 3)], &[("t", 1, 8), ("u", 2, 3)], &[("t", 1, 8)], &[("u", 3, 2), ("t", 1, 8)]];

fn step() -> impl Strategy<Value = Step> {
    let who = 0..READERS;
    prop_oneof![
        12 => who.clone().prop_map(Step::Live),
        2 => who.clone().prop_map(Step::Lost),
        2 => who.clone().prop_map(Step::Dawdle),
        1 => who.clone().prop_map(Step::Leave),
        1 => who.clone().prop_map(Step::LeaveForAWhile),
        1 => who.clone().prop_map(Step::Restart),
        1 => (who, 0..SUBSCRIPTIONS.len()).prop_map(|(n, s)| Step::Subscribe(n, s)),
        1 => (0..TOPICS.len()).prop_map(Step::Topics),
        1 => Just(Step::Crash),
    ]
}

struct Client {
    reader: Reader,
    /// What it was told and has not done.
    told: Option<Result<Beat, Refused>>,
    there: bool,
    names: usize,
}

impl Client {
    fn new(n: usize) -> Client {
        let id = format!("m{n}");
        let reader = if n < 2 { reader(&id).of(&format!("i{n}")) } else { reader(&id) };
        Client { reader, told: None, there: true, names: 0 }
    }

    fn renamed(&mut self) {
        self.names += 1;
        let id = self.reader.id.split('.').next().unwrap_or_default();
        self.reader.id = format!("{id}.{}", self.names);
        self.reader.epoch = 0;
        self.reader.owned.clear();
        self.told = None;
        self.there = true;
    }
}

fn no_two_read_the_same(clients: &[Client]) {
    let mut seen = BTreeSet::new();
    for client in clients.iter().filter(|client| client.there) {
        for pair in super::super::super::consumer::pairs_of(&client.reader.owned) {
            assert!(seen.insert(pair), "{pair:?} is read by two, one of them {}", client.reader.id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_read_by_two_and_all_is_read_in_the_end(steps in proptest::collection::vec(step(), 1..120)) {
        let mut s = Script::with_topics(TOPICS[0]);
        let mut topics = 0;
        let mut clients: Vec<Client> = (0..READERS).map(Client::new).collect();
        for step in steps {
            match step {
                Step::Live(n) => {
                    let client = &mut clients[n];
                    if let Some(told) = client.told.take() {
                        client.reader.obey(&told);
                    }
                    if client.there {
                        let _ = s.live(&mut client.reader);
                    }
                }
                Step::Lost(n) if clients[n].there => {
                    let client = &mut clients[n];
                    if let Some(told) = client.told.take() {
                        client.reader.obey(&told);
                    }
                    let _ = s.send(client.reader.heartbeat());
                    client.reader.full = true;
                }
                Step::Dawdle(n) if clients[n].there && clients[n].told.is_none() => {
                    let heartbeat = clients[n].reader.heartbeat();
                    clients[n].told = Some(s.send(heartbeat));
                }
                Step::Leave(n) if clients[n].there => {
                    let _ = s.send(Heartbeat { epoch: -1, ..clients[n].reader.heartbeat() });
                    clients[n].there = false;
                    clients[n].told = None;
                }
                Step::LeaveForAWhile(n) if clients[n].there && clients[n].reader.instance.is_some() => {
                    let _ = s.send(Heartbeat { epoch: -2, ..clients[n].reader.heartbeat() });
                    clients[n].there = false;
                    clients[n].told = None;
                }
                Step::Restart(n) if !clients[n].there => clients[n].renamed(),
                Step::Subscribe(n, which) => {
                    let topics = SUBSCRIPTIONS[which].iter().map(|t| t.to_string()).collect();
                    if let Some(told) = clients[n].told.take() {
                        clients[n].reader.obey(&told);
                    }
                    clients[n].reader.topics = topics;
                    if clients[n].there && clients[n].reader.epoch > 0 {
                        let topics = Some(clients[n].reader.topics.clone());
                        let result = s.send(Heartbeat { topics, ..clients[n].reader.heartbeat() });
                        clients[n].reader.obey(&result);
                    }
                }
                Step::Topics(which) => {
                    topics = which;
                    s.topics(TOPICS[which]);
                }
                Step::Crash => {
                    s.world.assert_replays(None, 0);
                    s.world.stream = {
                        let checkpoint = s.world.checkpoint();
                        s.world.replayed(Some(&checkpoint), s.world.blocks.all.len())
                    };
                    s.topics(TOPICS[topics]);
                }
                _ => {}
            }
            no_two_read_the_same(&clients);
        }
        // Those who are there calm down; the others' places are given up.
        for client in &mut clients {
            if let Some(told) = client.told.take() {
                client.reader.obey(&told);
            }
        }
        for _ in 0..40 {
            s.pass(5_000);
            for client in clients.iter_mut().filter(|client| client.there) {
                let _ = s.live(&mut client.reader);
            }
            no_two_read_the_same(&clients);
        }
        let there: Vec<&Reader> = clients.iter().filter(|c| c.there).map(|c| &c.reader).collect();
        if there.is_empty() {
            return Ok(());
        }
        prop_assert_eq!(s.group().state, State::Stable);
        for (name, id, partitions) in TOPICS[topics] {
            let wanted = there.iter().any(|reader| reader.topics.iter().any(|t| t == name));
            let read: BTreeSet<u32> = there
                .iter()
                .flat_map(|reader| reader.owned.get(&topic(*id)).cloned().unwrap_or_default())
                .collect();
            prop_assert_eq!(read.len(), if wanted { *partitions as usize } else { 0 }, "{}", name);
        }
        // Nothing happens any more.
        let before: Vec<Partitions> = there.iter().map(|reader| reader.owned.clone()).collect();
        for client in clients.iter_mut().filter(|client| client.there) {
            prop_assert_eq!(s.live(&mut client.reader).unwrap().assignment, None);
        }
        let after: Vec<Partitions> =
            clients.iter().filter(|c| c.there).map(|c| c.reader.owned.clone()).collect();
        prop_assert_eq!(before, after);
        s.logged();
        s.world.assert_replays(None, 0);
    }
}
