use super::{Script, client};
use bowline_model::group::{Leaving, Request};

/// A stable pair whose second member is `i2`, static.
fn pair(s: &mut Script) -> (super::Client, super::Client) {
    let (one, two) = (client(1), client(2).instance("i2"));
    s.join(&one);
    s.join(&two);
    s.pass(700);
    let (one, two) = (one.named("m1").generation(1), two.named("m2").generation(1));
    s.sync(&two, &[]);
    assert_eq!(s.sync(&one, &[("m1", "A"), ("m2", "B")]), ["1: sync A", "2: sync B"]);
    (one, two)
}

#[test]
fn a_restart_takes_its_place_without_a_rebalance() {
    let mut s = Script::new();
    let (one, old) = pair(&mut s);
    let new = client(3).instance("i2");
    assert_eq!(s.join(&new), ["3: join m3 gen 1 range leader m1"]);
    let new = new.named("m3").generation(1);
    assert_eq!(s.sync(&new, &[]), ["3: sync B"]);
    assert_eq!(s.beat(&one), ["1: beat ok"]);
    // The former self is fenced everywhere.
    assert_eq!(s.beat(&old), ["2: beat 82"]);
    assert_eq!(s.sync(&old, &[]), ["2: sync 82"]);
    assert_eq!(s.join(&old), ["2: join 82 for 'm2'"]);
    assert_eq!(s.commit(&old, "t", 1, ""), ["2: commit 82"]);
    assert_eq!(s.leave(&old), ["2: leave 82"]);
    assert_eq!(s.beat(&client(4).named("m4").instance("i4").generation(1)), ["4: beat 25"]);
}

#[test]
fn a_restarted_leader_leads_but_need_not_assign() {
    let mut s = Script::new();
    let one = client(1).instance("i1");
    s.join(&one);
    s.pass(300);
    assert_eq!(s.sync(&one.named("m1").generation(1), &[("m1", "A")]), ["1: sync A"]);
    assert_eq!(s.join(&client(2).instance("i1")), ["2: join m2 gen 1 range leader m2 of m2 skip m1"]);
    let back = client(2).named("m2").instance("i1").generation(1);
    assert_eq!(s.sync(&back, &[("m2", "Z")]), ["2: sync A"]);
}

#[test]
fn other_protocols_or_an_assignment_under_way_rebalance() {
    let mut s = Script::new();
    let (one, two) = (client(1).instance("i1"), client(2).instance("i2"));
    let both: &[(&str, &[&str])] = &[("range", &["t"]), ("sticky", &["t"])];
    s.join(&one.clone().offering(both));
    s.join(&two.clone().offering(both));
    s.pass(700);
    s.sync(&one.clone().named("m1").generation(1), &[]);
    // i2 comes back with less: range is no longer what all prefer.
    assert!(s.join(&client(3).instance("i2").offering(&[("sticky", &["t"])])).is_empty());
    let one = one.named("m1").generation(1);
    assert_eq!(s.beat(&one), ["1: beat 27"]);
    assert_eq!(
        s.join(&one.clone().offering(both)),
        ["1: join m1 gen 2 sticky leader m1 of m1,m3", "3: join m3 gen 2 sticky leader m1"]
    );
    // In CompletingRebalance: the wait of the former self ends, and all begin again.
    assert!(s.sync(&client(3).named("m3").instance("i2").generation(2), &[]).is_empty());
    assert_eq!(s.join(&client(4).instance("i2").offering(both)), ["3: sync 82"]);
    assert_eq!(s.sync(&one.clone().generation(2), &[]), ["1: sync 27"]);
    // And while the join itself waits.
    assert_eq!(s.join(&client(5).instance("i2").offering(both)), ["4: join 82 for 'm4'"]);
    assert_eq!(
        s.join(&one.offering(both)),
        ["1: join m1 gen 3 range leader m1 of m1,m5", "5: join m5 gen 3 range leader m1"]
    );
}

#[test]
fn absence_is_tolerated_until_the_session_ends() {
    let mut s = Script::new();
    let (one, two) = pair(&mut s);
    // A rebalance ends without i2 at its timeout, and keeps it.
    assert!(s.join(&one).is_empty());
    for _ in 0..19 {
        s.pass(3_000);
        assert_eq!(s.beat(&two), ["2: beat 27"]);
    }
    assert_eq!(s.pass(3_000), ["1: join m1 gen 2 range leader m1 of m1,m2"]);
    assert_eq!(s.sync(&one.clone().generation(2), &[("m1", "A"), ("m2", "B")]), ["1: sync A"]);
    assert_eq!(s.beat(&two), ["2: beat 22"]);
    // Silent for its session timeout, it goes.
    for _ in 0..4 {
        s.pass(3_000);
        s.beat(&one.clone().generation(2));
    }
    assert_eq!(s.beat(&one.clone().generation(2)), ["1: beat 27"]);
    assert_eq!(s.join(&one), ["1: join m1 gen 3 range leader m1 of m1"]);
}

#[test]
fn an_administrator_removes_by_instance() {
    let mut s = Script::new();
    pair(&mut s);
    let all = ["i2", "i9"].map(|id| Leaving { member_id: String::new(), instance_id: Some(id.into()) });
    let request = Request::Leave { group: "g".into(), members: all.to_vec() };
    assert_eq!(s.ask(9, request), ["9: leave ok,25"]);
    assert_eq!(s.describe(), ["0: PreparingRebalance  m1="]);
}
