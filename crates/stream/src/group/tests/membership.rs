use super::{Script, client};
use bowline_model::SessionId;
use bowline_model::group::{Leaving, Request};

#[test]
fn a_first_generation_waits_for_more_members_and_elects_the_first() {
    let mut s = Script::new();
    let offers: [&[(&str, &[&str])]; 2] =
        [&[("range", &["t"]), ("sticky", &["t"])], &[("sticky", &["t"]), ("range", &["t"])]];
    assert!(s.join(&client(1).offering(offers[0])).is_empty());
    assert!(s.pass(200).is_empty());
    assert!(s.join(&client(2).offering(offers[1])).is_empty());
    assert!(s.pass(150).is_empty(), "prolonged, as somebody came");
    assert!(s.join(&client(3).offering(offers[1])).is_empty());
    assert!(s.pass(249).is_empty());
    assert!(s.pass(1).is_empty(), "and again");
    assert_eq!(
        s.pass(300),
        [
            "1: join m1 gen 1 sticky leader m1 of m1,m2,m3",
            "2: join m2 gen 1 sticky leader m1",
            "3: join m3 gen 1 sticky leader m1"
        ]
    );
    assert_eq!(s.describe(), ["0: CompletingRebalance  m1=,m2=,m3="]);
    let [one, two, three] = [1, 2, 3].map(|i| client(i).named(&format!("m{i}")).generation(1));
    assert!(s.sync(&three, &[]).is_empty());
    assert_eq!(s.beat(&two), ["2: beat ok"]);
    assert_eq!(s.sync(&one, &[("m1", "A"), ("m2", "B"), ("nobody", "X")]), ["1: sync A", "3: sync "]);
    assert_eq!(s.sync(&two, &[]), ["2: sync B"]);
    assert_eq!(s.describe(), ["0: Stable sticky m1=A,m2=B,m3="]);
}

#[test]
fn member_ids_are_handed_out_first() {
    let mut s = Script::new();
    let mut new = client(1);
    new.known_id_required = true;
    assert_eq!(s.join(&new), ["1: join 79 for 'm1'"]);
    assert_eq!(s.ask(0, Request::List), ["0: list g  Empty"]);
    assert!(s.join(&new.clone().named("m1")).is_empty());
    assert_eq!(s.pass(300), ["1: join m1 gen 1 range leader m1 of m1"]);
    // An id that is not taken up is forgotten; a rebalance waits for it no longer than that.
    new.session = 2;
    assert_eq!(s.join(&new), ["2: join 79 for 'm2'"]);
    assert!(s.join(&client(3)).is_empty());
    let one = client(1).named("m1").generation(1);
    assert_eq!(s.beat(&one), ["1: beat 27"]);
    assert!(s.join(&one).is_empty(), "all members have joined, but m2 is expected");
    assert_eq!(
        s.pass(10_000),
        ["1: join m1 gen 2 range leader m1 of m1,m3", "3: join m3 gen 2 range leader m1"]
    );
    assert_eq!(s.join(&new.named("m2")), ["2: join 25 for 'm2'"]);
}

#[test]
fn a_newcomer_rebalances_all() {
    let mut s = Script::new();
    let (one, two) = s.stable_pair();
    assert!(s.join(&client(3)).is_empty());
    assert_eq!(s.beat(&two), ["2: beat 27"]);
    assert!(s.join(&two).is_empty());
    assert_eq!(
        s.join(&one),
        [
            "1: join m1 gen 2 range leader m1 of m1,m2,m3",
            "2: join m2 gen 2 range leader m1",
            "3: join m3 gen 2 range leader m1"
        ]
    );
    assert_eq!(s.beat(&one), ["1: beat 22"]);
    assert_eq!(s.sync(&two, &[]), ["2: sync 22"]);
    assert_eq!(s.beat(&one.generation(2)), ["1: beat ok"]);
}

#[test]
fn joining_again_without_news_changes_nothing() {
    let mut s = Script::new();
    let (one, two) = s.stable_pair();
    assert_eq!(s.join(&two), ["2: join m2 gen 1 range leader m1"]);
    assert_eq!(s.sync(&two, &[]), ["2: sync B"]);
    // The leader does so because something has changed.
    assert!(s.join(&one).is_empty());
    assert_eq!(s.beat(&two), ["2: beat 27"]);
    s.join(&two);
    assert_eq!(s.describe(), ["0: CompletingRebalance  m1=,m2="]);
    // A lost answer is given again, to the leader too.
    assert_eq!(s.join(&one), ["1: join m1 gen 2 range leader m1 of m1,m2"]);
    // Other metadata is news.
    let changed = two.offering(&[("range", &["t", "u"])]);
    assert!(s.join(&changed).is_empty());
    assert_eq!(s.beat(&one.generation(2)), ["1: beat 27"]);
}

#[test]
fn syncs_that_wait_learn_of_a_new_rebalance() {
    let mut s = Script::new();
    let (one, two) = s.stable_pair();
    s.join(&one);
    s.join(&two);
    let two = two.generation(2);
    assert!(s.sync(&two, &[]).is_empty());
    assert_eq!(s.join(&client(3)), ["2: sync 27"]);
    assert_eq!(s.sync(&two, &[]), ["2: sync 27"]);
}

#[test]
fn silent_members_are_given_up() {
    let mut s = Script::new();
    let (one, two) = s.stable_pair();
    for _ in 0..4 {
        assert!(s.pass(3_000).is_empty());
        s.beat(&one);
    }
    // m2 was last heard of at its sync: by now it is out and the rebalance is on.
    assert_eq!(s.beat(&two), ["2: beat 25"]);
    assert_eq!(s.beat(&one), ["1: beat 27"]);
    assert_eq!(s.join(&one), ["1: join m1 gen 2 range leader m1 of m1"]);
    // Nobody is left in the end; the group stays for its offsets, without any here it goes.
    assert!(s.pass(10_000).is_empty());
    assert_eq!(s.describe(), ["0: Empty  "]);
    s.pass(20 * 60 * 1000);
    assert_eq!(s.describe(), ["0: Dead  "]);
    assert_eq!(s.world.stream.groups.next_deadline(), None);
}

#[test]
fn laggards_are_left_behind_when_a_rebalance_takes_too_long() {
    let mut s = Script::new();
    let (one, two) = s.stable_pair();
    assert!(s.join(&two.clone().offering(&[("range", &["u"])])).is_empty());
    // m1 goes on working and beating, but does not join.
    for _ in 0..19 {
        assert!(s.pass(3_000).is_empty());
        assert_eq!(s.beat(&one), ["1: beat 27"]);
    }
    assert_eq!(s.pass(3_000), ["2: join m2 gen 2 range leader m2 of m2"]);
    assert_eq!(s.beat(&one), ["1: beat 25"]);
}

#[test]
fn who_does_not_sync_is_given_up() {
    let mut s = Script::new();
    let (one, two) = s.stable_pair();
    s.join(&one);
    s.join(&two);
    let (one, two) = (one.generation(2), two.generation(2));
    assert!(s.sync(&two, &[]).is_empty());
    for _ in 0..19 {
        assert!(s.pass(3_000).is_empty());
        assert_eq!(s.beat(&one), ["1: beat ok"]);
    }
    assert_eq!(s.pass(3_000), ["2: sync 27"], "the leader never sent an assignment");
    assert_eq!(s.beat(&one), ["1: beat 25"]);
    assert_eq!(s.join(&two), ["2: join m2 gen 3 range leader m2 of m2"]);
}

#[test]
fn leaving_rebalances_the_rest() {
    let mut s = Script::new();
    let (one, two) = s.stable_pair();
    assert_eq!(s.leave(&one), ["1: leave ok"]);
    assert_eq!(s.leave(&one), ["1: leave 25"]);
    assert_eq!(s.beat(&two), ["2: beat 27"]);
    assert_eq!(s.join(&two), ["2: join m2 gen 2 range leader m2 of m2"]);
    // Somebody leaves while others wait for him.
    assert!(s.join(&client(3)).is_empty());
    assert_eq!(s.leave(&two), ["3: join m3 gen 3 range leader m3 of m3", "2: leave ok"]);
    let all = ["m3", "m9"].map(|id| Leaving { member_id: id.into(), instance_id: None });
    let request = Request::Leave { group: "g".into(), members: all.to_vec() };
    assert_eq!(s.ask(9, request), ["9: leave ok,25"]);
    assert_eq!(s.describe(), ["0: Empty  "]);
    assert_eq!(s.leave(&client(4).named("m4")), ["4: leave 25"]);
}

#[test]
fn a_member_that_leaves_while_it_waits_hears_of_it() {
    let mut s = Script::new();
    assert!(s.join(&client(1)).is_empty());
    assert_eq!(s.leave(&client(2).named("m1")), ["1: join 25 for 'm1'", "2: leave ok"]);
    assert!(s.pass(300).is_empty());
    assert_eq!(s.describe(), ["0: Empty  "]);
}

#[test]
fn sessions_that_close_take_their_waits_along() {
    let mut s = Script::new();
    let (one, two) = s.stable_pair();
    assert!(s.join(&two.clone().offering(&[("range", &["u"])])).is_empty());
    s.world.stream.close_session(s.now, SessionId(2), &mut s.world.out);
    // m1 joins, m2 has gone: it is not waited for longer than its session timeout.
    assert!(s.join(&one).is_empty());
    assert!(s.pass(9_999).is_empty());
    assert_eq!(s.pass(1), ["1: join m1 gen 2 range leader m1 of m1"]);

    // It comes back on another connection, under the same id.
    let mut s = Script::new();
    let (one, two) = s.stable_pair();
    s.join(&one);
    s.world.stream.close_session(s.now, SessionId(1), &mut s.world.out);
    assert!(s.join(&two).is_empty());
    let mut back = one.clone();
    back.session = 7;
    assert_eq!(
        s.join(&back),
        ["7: join m1 gen 2 range leader m1 of m1,m2", "2: join m2 gen 2 range leader m1"]
    );
    assert!(s.sync(&two.clone().generation(2), &[]).is_empty());
    s.world.stream.close_session(s.now, SessionId(2), &mut s.world.out);
    assert_eq!(s.sync(&back.generation(2), &[("m1", "A")]), ["7: sync A"]);
}

#[test]
fn a_wait_that_is_asked_again_replaces_the_first() {
    let mut s = Script::new();
    let (one, _) = s.stable_pair();
    assert!(s.join(&one).is_empty());
    let mut again = one;
    again.session = 5;
    assert_eq!(s.join(&again), ["1: join 27 for 'm1'"]);
}

#[test]
fn refusals() {
    let mut s = Script::new();
    let join = client(1).join();
    let mut ask = |change: &dyn Fn(&mut bowline_model::group::Join)| {
        let mut join = join.clone();
        change(&mut join);
        s.ask(1, Request::Join(join)).remove(0)
    };
    assert_eq!(ask(&|j| j.group.clear()), "1: join 24 for ''");
    assert_eq!(ask(&|j| j.session_timeout_ms = 5_999), "1: join 26 for ''");
    assert_eq!(ask(&|j| j.session_timeout_ms = 1_800_001), "1: join 26 for ''");
    assert_eq!(ask(&|j| j.member_id = "x".into()), "1: join 25 for 'x'");
    assert_eq!(ask(&|j| j.protocols.clear()), "1: join 23 for ''");
    assert_eq!(ask(&|j| j.protocol_type.clear()), "1: join 23 for ''");
    assert_eq!(ask(&|j| j.protocols[0].1 = vec![0; 2 << 20].into()), "1: join 23 for ''");
    assert!(s.world.stream.groups.is_empty(), "nothing came of it");
    let (one, two) = s.stable_pair();
    assert_eq!(s.join(&client(3).offering(&[("other", &["t"])])), ["3: join 23 for ''"]);
    assert_eq!(s.join(&two.clone().named("m9")), ["2: join 25 for 'm9'"]);
    assert_eq!(s.beat(&two.clone().named("m9")), ["2: beat 25"]);
    assert_eq!(s.sync(&one.clone().named("m9"), &[]), ["1: sync 25"]);
    let mut sync = bowline_model::group::Sync {
        member: two.member(),
        protocol_type: Some("connect".into()),
        protocol_name: None,
        assignments: Vec::new(),
    };
    assert_eq!(s.ask(2, Request::Sync(sync.clone())), ["2: sync 23"]);
    sync.protocol_type = None;
    sync.protocol_name = Some("sticky".into());
    assert_eq!(s.ask(2, Request::Sync(sync)), ["2: sync 23"]);
    assert_eq!(s.describe(), ["0: Stable range m1=A,m2=B"]);
}

#[test]
fn groups_are_bounded() {
    let mut s = Script::new();
    let options = super::super::Options { members_max: 2, ..Default::default() };
    s.world.stream.groups = super::super::Groups::new(options);
    let (one, _) = s.stable_pair();
    assert_eq!(s.join(&client(3)), ["3: join 81 for ''"]);
    assert!(s.join(&one).is_empty(), "who is in stays in");
}

/// Any order of requests, valid or not: no panic, and everybody who waits hears in the end.
#[test]
fn nobody_waits_for_ever() {
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    for _ in 0..300 {
        let mut s = Script::new();
        let (mut asked, mut heard) = (0, 0);
        for _ in 0..60 {
            // The session's number also makes the new member's id.
            let session = 1 + random(8);
            let id = if random(3) == 0 { String::new() } else { format!("m{}", 1 + random(8)) };
            let mut client = client(session).named(&id).generation(random(4) as i32);
            client.known_id_required = random(2) == 0;
            if random(4) == 0 {
                client.instance = Some(format!("i{}", random(2)));
            }
            if random(3) == 0 {
                client = client.offering(&[("range", &["t", "u"])]);
            }
            asked += 1;
            let replies = match random(7) {
                0..3 => s.join(&client),
                3 => s.sync(&client, &[("m1", "A")]),
                4 => s.beat(&client),
                5 => s.leave(&client),
                _ => s.commit(&client, "t", 1, ""),
            };
            heard += replies.len() + s.logged().len();
            heard += s.pass(random(4_000)).len();
        }
        heard += s.pass(30 * 60 * 1000).len();
        assert_eq!(asked, heard);
        s.world.assert_replays(None, 0);
    }
}
