//! What producers, readers and group members do next.

use crate::clients::Asked;
use crate::clients::Note;
use crate::clients::groups::{Group, Member, Question, Stage, assignment};
use crate::clients::partition::{BatchId, Records};
use crate::clients::streams::{Appends, RETENTION_BYTES};
use crate::node::Input;
use crate::note;
use crate::plan::Class;
use crate::world::World;
use bowline_model::group::{self, Commit, Join, Leaving, PartitionCommit, Sync};
use bowline_model::meta::{Command, MetaRequest, TopicSpec};
use bowline_model::record::{APPEND_CONVERTED, Append};
use bowline_model::request::{Fetch, FetchPartition, OffsetQuery, Propose, Request, Want};
use bowline_model::{PartitionId, SessionId, ShardId, Token, TopicId};
use std::collections::BTreeSet;

/// Batches that an idempotent producer has under way, at most (Kafka's `max.in.flight.requests.per.connection` is 5).
const IN_FLIGHT_MAX: usize = 4;

impl World {
    pub(crate) fn stream_action(&mut self) {
        if crate::workload::unanswered_bytes(&self.clients) > self.plan.unanswered_bytes_max() {
            return;
        }
        if self.clients.streams.topics.len() < 2 && self.chance.percent(30) {
            return self.create_topic();
        }
        match self.chance.weighted(&[40, 6, 14, 25, 8, 5, 4, 2, 2]) {
            0 => self.produce(),
            1 => self.want_producer(),
            2 => self.produce_plainly(),
            3 => self.fetch_some(),
            4 => self.watch(),
            5 => self.list_offsets(),
            6 => self.trim(),
            7 => self.delete_topic(),
            _ => self.create_topic(),
        }
    }

    pub(crate) fn group_action(&mut self) {
        match self.chance.weighted(&[25, 15, 30, 8, 2]) {
            0 => self.commit_offset(),
            1 => self.ask_offset(),
            2 => self.member_goes_on(),
            3 => self.heartbeat(),
            _ => self.leave_group(),
        }
    }

    fn some_partition(&mut self) -> Option<u32> {
        let known = self.known_partitions();
        self.chance.pick(&known).copied()
    }

    /// Of topics that nobody has asked to delete.
    fn known_partitions(&self) -> Vec<u32> {
        let topics = self.clients.streams.topics.values().filter(|topic| !topic.going);
        topics.flat_map(|topic| topic.partitions.iter().copied()).collect()
    }

    fn create_topic(&mut self) {
        let Some(session) = self.some_session() else { return };
        let name = format!("topic.{}", self.chance.below(3));
        let retains_bytes = self.chance.percent(20);
        let configs =
            if retains_bytes { vec![(RETENTION_BYTES.to_owned(), "3000".to_owned())] } else { Vec::new() };
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.chance.number().to_le_bytes());
        let partitions = self.chance.within(1..=3) as u32;
        let token = self.clients.ask(session, 0, Asked::CreateTopic { name: name.clone(), retains_bytes });
        note!(self.clients.trace, "create topic t{} {} partitions", token.0, partitions);
        let spec = TopicSpec {
            vhost: "/".into(),
            name,
            id: TopicId(id),
            partitions,
            configs,
            arguments: Vec::new(),
        };
        self.ask_meta(session, token, Command::TopicCreate(spec));
    }

    fn delete_topic(&mut self) {
        if !self.plan.has(Class::Deletes) {
            return;
        }
        let Some(session) = self.some_session() else { return };
        let names: Vec<String> = self.clients.streams.topics.keys().cloned().collect();
        let Some(name) = self.chance.pick(&names).cloned() else { return };
        let streams = &mut self.clients.streams;
        streams.deleted.insert(name.clone());
        if let Some(topic) = streams.topics.get_mut(&name) {
            topic.going = true;
            for id in &topic.partitions {
                streams.partitions.entry(*id).and_modify(|p| p.going = true);
            }
        }
        let token = self.clients.ask(session, 0, Asked::DeleteTopic { name: name.clone() });
        note!(self.clients.trace, "delete topic t{}", token.0);
        self.ask_meta(session, token, Command::TopicDelete { vhost: "/".into(), name });
    }

    fn ask_meta(&mut self, session: u64, token: Token, command: Command) {
        if let Some(node) = &mut self.node {
            node.ask_meta(session, token, MetaRequest::Propose(command));
        }
    }

    fn want_producer(&mut self) {
        let (Some(session), Some(partition)) = (self.some_session(), self.some_partition()) else { return };
        if self.clients.streams.producers.len() < 4 {
            let token = self.clients.ask(session, 0, Asked::ProducerId { partition });
            self.ask_meta(session, token, Command::ProducerId);
        }
    }

    fn new_batch(&mut self, partition: u32, producer: Option<(i64, i16, i32)>) -> BatchId {
        let id = self.clients.streams.batches.len() as u64;
        let batch = Records {
            partition,
            count: self.chance.within(1..=5) as u32,
            producer,
            body_len: self.chance.below(self.plan.body_bytes_max) as u32,
            timestamp: self.now as i64,
        };
        self.clients.streams.batches.push(batch);
        id
    }

    /// An idempotent producer sends something new, or something again.
    fn produce(&mut self) {
        let n = self.clients.streams.producers.len();
        if n == 0 {
            return self.want_producer();
        }
        let i = self.chance.index(n);
        let Some(session) = self.session_of_producer(i) else { return };
        let fresh = self.chance.percent(75);
        let bump = self.chance.percent(3);
        let producer = &mut self.clients.streams.producers[i];
        let partition = producer.partition;
        let batches: Vec<BatchId> = if producer.stumbled {
            if producer.requests > 0 {
                return;
            }
            // Everything again, in order, before anything new.
            (producer.stumbled, producer.excused) = (false, false);
            producer.unanswered.iter().copied().collect()
        } else if fresh && producer.unanswered.len() < IN_FLIGHT_MAX {
            if bump && producer.unanswered.is_empty() {
                producer.epoch += 1;
                producer.next_sequence = 0;
            }
            let identity = (producer.id, producer.epoch, producer.next_sequence);
            let id = self.new_batch(partition, Some(identity));
            let count = self.clients.streams.batches[id as usize].count;
            let producer = &mut self.clients.streams.producers[i];
            producer.next_sequence += count as i32;
            producer.unanswered.push_back(id);
            vec![id]
        } else {
            // It does not believe that the answer will come.
            producer.unanswered.front().copied().into_iter().collect()
        };
        for id in batches {
            self.clients.streams.producers[i].requests += 1;
            self.append(session, partition, vec![id], Want::Appended);
        }
    }

    /// The producer's connection; another one if that is gone.
    fn session_of_producer(&mut self, i: usize) -> Option<u64> {
        let session = self.clients.streams.producers[i].session;
        if self.clients.sessions.contains_key(&session) {
            return Some(session);
        }
        let session = self.some_session()?;
        let producer = &mut self.clients.streams.producers[i];
        producer.session = session;
        producer.stumbled = true;
        Some(session)
    }

    /// Batches without idempotence, to one or two partitions.
    fn produce_plainly(&mut self) {
        let (Some(session), Some(partition)) = (self.some_session(), self.some_partition()) else { return };
        let mut batches = vec![self.new_batch(partition, None)];
        if self.chance.percent(40)
            && let Some(other) = self.some_partition()
            && self.shard_of(other) == self.shard_of(partition)
        {
            batches.push(self.new_batch(other, None));
        }
        self.append(session, partition, batches, Want::Appended);
    }

    fn append(&mut self, session: u64, partition: u32, batches: Vec<BatchId>, want: Want) {
        let shard = self.shard_of(partition);
        let (records, count) = self.encode_appends(&batches);
        let first = batches[0];
        let token = self.clients.ask(session, shard.0, Asked::Append(Appends { batches }));
        note!(self.clients.trace, "append s{} t{} p{} b{} ({})", session, token.0, partition, first, count);
        let propose = Propose { token, records: records.into(), count, want, checked: false };
        self.send(shard, session, Request::Propose(propose), Note::Nothing);
    }

    pub(crate) fn encode_appends(&self, batches: &[BatchId]) -> (Vec<u8>, u32) {
        let mut records = Vec::new();
        for id in batches {
            let batch = &self.clients.streams.batches[*id as usize];
            let flags = if id % 2 == 0 { 0 } else { APPEND_CONVERTED };
            Append::encode(&mut records, batch.partition, flags, &batch.bytes(*id));
        }
        (records, batches.len() as u32)
    }

    /// A batch for a topic that rides along with AMQP messages to `shard`.
    pub(crate) fn riding_batch(&mut self, shard: ShardId) -> Option<BatchId> {
        let partition = self.some_partition()?;
        (self.shard_of(partition) == shard).then(|| self.new_batch(partition, None))
    }

    fn fetch_some(&mut self) {
        let (Some(session), Some(partition)) = (self.some_session(), self.some_partition()) else { return };
        let mut partitions = vec![partition];
        if self.chance.percent(30)
            && let Some(other) = self.some_partition()
            && other != partition
            && self.shard_of(other) == self.shard_of(partition)
        {
            partitions.push(other);
        }
        let max_bytes = self.chance.choose([1, 500, 5_000, 1 << 20]);
        self.fetch(session, &partitions, max_bytes);
    }

    /// All of `partitions` are of one shard.
    fn fetch(&mut self, session: u64, partitions: &[u32], max_bytes: u32) {
        let shard = self.shard_of(partitions[0]);
        let mut asked = Vec::new();
        for id in partitions {
            let (start, end) = self.clients.bounds(*id);
            let at = match self.clients.streams.readers.get(id) {
                Some(at) if !self.chance.percent(20) => *at,
                _ => self.chance.within(start..=end.max(start)),
            };
            asked.push((*id, at, (start, end)));
        }
        let wanted = asked
            .iter()
            .map(|(id, offset, _)| FetchPartition { partition: PartitionId(*id), offset: *offset, max_bytes })
            .collect();
        let token = self.clients.ask(session, shard.0, Asked::Fetch(asked));
        note!(self.clients.trace, "fetch s{} t{} p{}", session, token.0, partitions[0]);
        let fetch = Fetch { token, partitions: wanted, max_bytes, committed: false };
        self.send(shard, session, Request::Fetch(fetch), Note::Nothing);
    }

    fn watch(&mut self) {
        let (Some(session), Some(partition)) = (self.some_session(), self.some_partition()) else { return };
        let shard = self.shard_of(partition);
        let (_, end) = self.clients.bounds(partition);
        let offset = end + self.chance.below(2);
        let token = self.clients.ask(session, shard.0, Asked::Watch(vec![(partition, offset)]));
        note!(self.clients.trace, "watch t{} p{} {}", token.0, partition, offset);
        let partitions = vec![(PartitionId(partition), offset)];
        self.send(shard, session, Request::Watch { token, partitions, committed: false }, Note::Nothing);
    }

    fn list_offsets(&mut self) {
        let (Some(session), Some(partition)) = (self.some_session(), self.some_partition()) else { return };
        let shard = self.shard_of(partition);
        let known = self.clients.bounds(partition);
        let (latest, query) = match self.chance.below(4) {
            0 => (false, OffsetQuery::Earliest),
            1 => (true, OffsetQuery::Latest),
            2 => (false, OffsetQuery::MaxTimestamp),
            _ => (false, OffsetQuery::Timestamp(self.now as i64 - self.chance.below(1000) as i64)),
        };
        let token = self.clients.ask(session, shard.0, Asked::Offsets(vec![(partition, latest, known)]));
        let queries = vec![(PartitionId(partition), query)];
        self.send(shard, session, Request::ListOffsets { token, queries }, Note::Nothing);
    }

    fn trim(&mut self) {
        let (Some(session), Some(id)) = (self.some_session(), self.some_partition()) else { return };
        let shard = self.shard_of(id);
        let (start, end) = self.clients.bounds(id);
        let offset = self.chance.within(start..=end.max(start));
        if let Some(partition) = self.clients.streams.partitions.get_mut(&id) {
            partition.trim_asked = partition.trim_asked.max(offset);
        }
        let token = self.clients.ask(session, shard.0, Asked::Trim { partition: id, offset });
        note!(self.clients.trace, "trim t{} p{} to {}", token.0, id, offset);
        let request = Request::Trim { token, partition: PartitionId(id), offset: Some(offset) };
        self.send(shard, session, request, Note::Nothing);
    }

    /// Reads every partition from its beginning to its end, and compares with what was promised.
    pub(crate) fn read_everything(&mut self) {
        let Some(session) = self.some_session() else { return };
        let ids = self.known_partitions();
        for id in &ids {
            self.clients.streams.seen.insert(*id, BTreeSet::new());
            let start = self.clients.bounds(*id).0;
            self.clients.streams.readers.insert(*id, start);
        }
        for id in ids {
            loop {
                let before = self.clients.streams.readers.get(&id).copied();
                let shard = self.shard_of(id);
                let (start, end) = self.clients.bounds(id);
                let offset = before.unwrap_or(start);
                let token =
                    self.clients.ask(session, shard.0, Asked::Fetch(vec![(id, offset, (start, end))]));
                let partitions = vec![FetchPartition { partition: PartitionId(id), offset, max_bytes: 4000 }];
                let fetch = Fetch { token, partitions, max_bytes: 4000, committed: false };
                self.send(shard, session, Request::Fetch(fetch), Note::Nothing);
                self.rest();
                if self.node.as_ref().is_none_or(|n| n.is_dead) {
                    return;
                }
                if self.clients.streams.readers.get(&id).copied() == before {
                    break;
                }
            }
            if let (Some(partition), Some(seen)) =
                (self.clients.streams.partitions.get(&id), self.clients.streams.seen.get(&id))
            {
                partition.check_complete(seen, &self.clients.streams.batches);
            }
        }
        self.clients.streams.seen.clear();
        for (group, place) in self.clients.committed_places() {
            self.ask_committed(session, &group, place);
        }
        self.rest();
    }

    fn some_group(&mut self) -> String {
        format!("group.{}", self.chance.below(3))
    }

    fn ask_group(&mut self, session: u64, question: Question, request: group::Request, name: &str) {
        let shard = ShardId::of_group(name, self.plan.data_shards);
        let token = self.clients.ask(session, shard.0, Asked::Group(question));
        if let Some(node) = &mut self.node {
            let request = Request::Group { token, request };
            let input = Input::Request(SessionId(session), request, Note::Nothing);
            node.data[usize::from(shard.0) - 1].inbox.push_back(input);
        }
    }

    fn some_place(&mut self) -> (String, i32) {
        match self.chance.below(3) {
            0 => (format!("topic.{}", self.chance.below(3)), self.chance.below(2) as i32),
            _ => ("elsewhere".to_owned(), self.chance.below(2) as i32),
        }
    }

    /// A consumer outside of any group's membership commits; or a member does.
    fn commit_offset(&mut self) {
        let Some(session) = self.some_session() else { return };
        let name = self.some_group();
        let place = self.some_place();
        let group = self.clients.groups.by_name.entry(name.clone()).or_default();
        let sent = group.sent.entry(place.clone()).or_insert(0);
        *sent += 1 + (self.chance.below(5) as i64);
        let offset = *sent;
        let members: Vec<(String, i32, u64)> = group
            .members
            .iter()
            .filter(|m| m.stage == Stage::Member)
            .map(|m| (m.id.clone(), m.generation, m.session))
            .collect();
        let (member_id, generation, session) = match self.chance.pick(&members) {
            Some(member) => member.clone(),
            None => (String::new(), -1, session),
        };
        let member = group::Member { group: name.clone(), member_id, generation, instance_id: None };
        let commit = PartitionCommit { partition: place.1, offset, leader_epoch: -1, metadata: None };
        let request = group::Request::Commit(Commit {
            member,
            topics: vec![(place.0.clone(), vec![commit])],
            knows_epochs: true,
        });
        note!(self.clients.trace, "commit {} of generation {}", offset, generation);
        self.ask_group(session, Question::Commit { group: name.clone(), place, offset }, request, &name);
    }

    fn ask_offset(&mut self) {
        let Some(session) = self.some_session() else { return };
        let name = self.some_group();
        let place = self.some_place();
        self.ask_committed(session, &name, place);
    }

    fn ask_committed(&mut self, session: u64, name: &str, place: (String, i32)) {
        let topics = Some(vec![(place.0.clone(), vec![place.1])]);
        let request = group::Request::FetchOffsets {
            group: name.to_owned(),
            topics,
            member: None,
            require_stable: false,
        };
        self.ask_group(session, Question::Offsets { group: name.to_owned(), place }, request, name);
    }

    /// A member of a group takes its next step: joins, or asks for its assignment.
    fn member_goes_on(&mut self) {
        let Some(session) = self.some_session() else { return };
        // The first group has offsets only.
        let name = format!("group.{}", 1 + self.chance.below(2));
        let groups = &mut self.clients.groups;
        let group: &mut Group = groups.by_name.entry(name.clone()).or_default();
        let joined = |m: &Member| matches!(m.stage, Stage::Joined { .. });
        let joined: Vec<usize> = (0..group.members.len()).filter(|i| joined(&group.members[*i])).collect();
        // Whoever has joined goes on, lest the generation is over before it has begun.
        let member = match self.chance.pick(&joined) {
            Some(member) if self.chance.percent(80) => *member,
            _ => self.chance.index(4),
        };
        if member >= group.members.len() {
            groups.next_member += 1;
            group.members.push(Member {
                session,
                id: String::new(),
                generation: -1,
                stage: Stage::Outside,
                attempt: 0,
                new_id: format!("member-{}", groups.next_member),
            });
            return;
        }
        let me = &mut group.members[member];
        if !self.clients.sessions.contains_key(&me.session) {
            me.session = session;
        }
        let session = me.session;
        match me.stage.clone() {
            Stage::Waiting => {}
            Stage::Outside | Stage::Member if me.stage == Stage::Outside || self.chance.percent(5) => {
                me.attempt += 1;
                me.stage = Stage::Waiting;
                groups.next_member += 1;
                me.new_id = format!("member-{}", groups.next_member);
                let join = Join {
                    group: name.clone(),
                    member_id: me.id.clone(),
                    instance_id: None,
                    new_member_id: me.new_id.clone(),
                    require_known_member_id: self.chance.percent(50),
                    client_id: "sim".into(),
                    client_host: "here".into(),
                    session_timeout_ms: 10_000,
                    rebalance_timeout_ms: 20_000,
                    protocol_type: "consumer".into(),
                    protocols: vec![("range".into(), bytes::Bytes::from_static(b"\0\0"))],
                };
                let question = Question::Join { group: name.clone(), member, attempt: me.attempt };
                note!(self.clients.trace, "join member {}", member);
                self.ask_group(session, question, group::Request::Join(join), &name);
            }
            Stage::Joined { members } => {
                me.attempt += 1;
                me.stage = Stage::Waiting;
                let generation = me.generation;
                let assignments =
                    members.iter().map(|id| (id.clone(), assignment(generation, id).into())).collect();
                let sync = Sync {
                    member: group::Member {
                        group: name.clone(),
                        member_id: me.id.clone(),
                        generation,
                        instance_id: None,
                    },
                    protocol_type: Some("consumer".into()),
                    protocol_name: Some("range".into()),
                    assignments,
                };
                let question = Question::Sync { group: name.clone(), member, attempt: me.attempt };
                note!(self.clients.trace, "sync member {}", member);
                self.ask_group(session, question, group::Request::Sync(sync), &name);
            }
            Stage::Outside | Stage::Member => {}
        }
    }

    /// Some member that has its assignment: its place, and how it names itself.
    fn some_member(&mut self) -> Option<(String, usize, Member)> {
        let mut all = Vec::new();
        for (name, group) in &self.clients.groups.by_name {
            let members = group.members.iter().enumerate().filter(|(_, m)| m.stage == Stage::Member);
            all.extend(members.map(|(i, m)| (name.clone(), i, m.clone())));
        }
        all.retain(|(_, _, m)| self.clients.sessions.contains_key(&m.session));
        self.chance.pick(&all).cloned()
    }

    fn heartbeat(&mut self) {
        let Some((group, member, me)) = self.some_member() else { return };
        let question = Question::Heartbeat { group: group.clone(), member, attempt: me.attempt };
        let request = group::Request::Heartbeat(group::Member {
            group: group.clone(),
            member_id: me.id,
            generation: me.generation,
            instance_id: None,
        });
        self.ask_group(me.session, question, request, &group);
    }

    fn leave_group(&mut self) {
        let Some((group, member, me)) = self.some_member() else { return };
        let question = Question::Leave { group: group.clone(), member, attempt: me.attempt };
        let members = vec![Leaving { member_id: me.id, instance_id: None }];
        self.ask_group(me.session, question, group::Request::Leave { group: group.clone(), members }, &group);
    }
}
