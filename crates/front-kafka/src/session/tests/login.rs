//! Logins: what they demand, what they open, and what becomes of those that do not succeed.

use super::*;
use crate::accounts::ScramUser;
use crate::authentication::{Anonymous, Authentication};
use crate::passwords;
use bowline_model::meta::{PasswordHash, Reason, Rejection, ScramCredential, ScramMechanism};
use bowline_sasl::{jwt, scram};
use bowline_topology::password;
use messages::*;

/// One user, ann, with password `pw`.
pub(super) struct Ann;

impl Accounts for Ann {
    fn password(&self, user: &str, _from_loopback: bool) -> Option<PasswordHash> {
        (user == "ann").then(|| password::sha256([0; 4], b"pw"))
    }

    fn scram(&self, user: &str, mechanism: ScramMechanism, _loopback: bool) -> Option<ScramCredential> {
        let known = user == "ann" || user == "bob";
        known.then(|| scram::of_configured(&self.secret(), mechanism, user, b"pw"))
    }

    fn scram_users(&self) -> Vec<ScramUser> {
        vec![self.scram_user("ann").unwrap()]
    }

    fn scram_user(&self, user: &str) -> Option<ScramUser> {
        (user == "ann").then(|| ("ann".into(), vec![(ScramMechanism::Sha256, 4096)]))
    }

    fn secret(&self) -> [u8; 32] {
        [3; 32]
    }
}

fn demanding(authentication: Authentication) -> Bench {
    let authentication = Authentication { anonymous: Anonymous::Nobody, ..authentication };
    Bench::with(near(), Options { authentication, ..Options::default() })
}

fn handshake(bench: &mut Bench, version: i16, mechanism: &str) -> SaslHandshakeResponse {
    bench.send(version, &SaslHandshakeRequest { mechanism: mechanism.into() });
    bench.receive::<SaslHandshakeResponse>(version).unwrap().1
}

fn send_token(bench: &mut Bench, token: &[u8]) {
    bench.send(2, &SaslAuthenticateRequest { auth_bytes: Bytes::copy_from_slice(token) });
}

fn answer(bench: &mut Bench) -> Option<SaslAuthenticateResponse> {
    bench.receive::<SaslAuthenticateResponse>(2).map(|(_, answer)| answer)
}

/// Plays the thread that checks passwords.
fn check(bench: &mut Bench) {
    let (token, check) = bench.session.outgoing().check.take().expect("a password to be checked");
    let passwords::Check { hash, password, .. } = check;
    let is_right = hash.is_some_and(|hash| password::accepts(&hash, &password));
    bench.session.checked(token, is_right, bench.now);
}

fn plain(bench: &mut Bench, user: &str, password: &str) -> Option<SaslAuthenticateResponse> {
    assert_eq!(handshake(bench, 1, "PLAIN").error_code, 0);
    send_token(bench, format!("\0{user}\0{password}").as_bytes());
    check(bench);
    answer(bench)
}

fn metadata(bench: &mut Bench) -> bool {
    bench.send(9, &MetadataRequest::default());
    bench.receive::<MetadataResponse>(9).is_some()
}

fn name(bench: &Bench) -> String {
    bench.session.principal.to_string()
}

/// A refusal is told after a while, in the same words whoever it is, and ends the connection.
fn is_refused(bench: &mut Bench, mechanism: &str) {
    assert!(answer(bench).is_none() && bench.session.closed().is_none(), "not at once");
    let told = bench.session.deadline().unwrap();
    assert_eq!(told, bench.now.instant + Duration::from_millis(100));
    bench.now.instant = told;
    bench.session.expire(bench.now);
    let answer = answer(bench).unwrap();
    assert_eq!(answer.error_code, ErrorCode::SaslAuthenticationFailed.code());
    assert_eq!(answer.error_message.unwrap(), format!("authentication with {mechanism} failed"));
    assert!(answer.auth_bytes.is_empty());
    assert!(matches!(bench.session.closed(), Some(Closed::LoginRefused)));
}

#[test]
fn nothing_but_a_login_is_served_before_it() {
    for demanded in [true, false] {
        let mut bench = if demanded { demanding(Authentication::default()) } else { Bench::new() };
        assert_eq!(bench.session.must_log_in(), demanded);
        bench.send(0, &ApiVersionsRequest::default());
        assert!(bench.receive::<ApiVersionsResponse>(0).is_some());
        assert_eq!(metadata(&mut bench), !demanded);
        assert_eq!(
            matches!(bench.session.closed(), Some(Closed::NotLoggedIn { api: ApiKey::Metadata })),
            demanded
        );
    }
}

#[test]
fn who_may_stay_anonymous() {
    for (anonymous, near_in, far_in) in [
        (Anonymous::Loopback, true, false),
        (Anonymous::Nobody, false, false),
        (Anonymous::Everybody, true, true),
    ] {
        for (is_loopback, is_in) in [(true, near_in), (false, far_in)] {
            let authentication = Authentication { anonymous, ..Authentication::default() };
            let options = Options { authentication, ..Options::default() };
            let bench = Bench::with(Peer { is_loopback, ..near() }, options.clone());
            assert_eq!(bench.session.must_log_in(), !is_in, "{anonymous:?} {is_loopback}");
            assert_eq!(name(&bench), "User:ANONYMOUS");
            // A certificate is a login.
            let bench = Bench::with(Peer { is_loopback, certified: Some("app".into()), ..near() }, options);
            assert!(!bench.session.must_log_in());
            assert_eq!(name(&bench), "User:app");
        }
    }
}

#[test]
fn plain_opens_with_the_right_password_alone() {
    let mut bench = demanding(Authentication::default());
    let answer = plain(&mut bench, "ann", "pw").unwrap();
    assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, 0));
    assert_eq!(name(&bench), "User:ann");
    assert!(metadata(&mut bench) && !bench.session.must_log_in());
    for (user, password) in [("ann", "px"), ("bob", "pw"), ("ann", "p")] {
        let mut bench = demanding(Authentication::default());
        assert!(plain(&mut bench, user, password).is_none());
        is_refused(&mut bench, "PLAIN");
        assert_eq!(name(&bench), "User:ANONYMOUS");
    }
    for malformed in [&b""[..], b"ann\0pw", b"root\0ann\0pw"] {
        let mut bench = demanding(Authentication::default());
        handshake(&mut bench, 1, "PLAIN");
        send_token(&mut bench, malformed);
        is_refused(&mut bench, "PLAIN");
    }
}

/// Over a network that is slow, the check has not kept anybody waiting for longer.
#[test]
fn a_refusal_waits_from_the_tokens_arrival() {
    let mut bench = demanding(Authentication::default());
    handshake(&mut bench, 1, "PLAIN");
    send_token(&mut bench, b"\0ann\0px");
    let arrived = bench.now.instant;
    assert_eq!(bench.session.deadline(), None, "it is not the client that is waited for");
    bench.now.instant += Duration::from_millis(70);
    check(&mut bench);
    assert_eq!(bench.session.deadline(), Some(arrived + Duration::from_millis(100)));
}

#[test]
fn mechanisms_are_listed_and_others_refused() {
    let mut bench = demanding(Authentication::default());
    let answer = handshake(&mut bench, 1, "GSSAPI");
    assert_eq!(answer.error_code, ErrorCode::UnsupportedSaslMechanism.code());
    assert_eq!(answer.mechanisms, ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]);
    assert_eq!(
        handshake(&mut bench, 0, "OAUTHBEARER").error_code,
        ErrorCode::UnsupportedSaslMechanism.code(),
        "without keys there are no tokens"
    );
    assert!(plain(&mut bench, "ann", "pw").is_some(), "it may try another");
}

#[test]
fn steps_out_of_turn() {
    // A token without a handshake.
    let mut bench = demanding(Authentication::default());
    send_token(&mut bench, b"\0ann\0pw");
    assert_eq!(answer(&mut bench).unwrap().error_code, ErrorCode::IllegalSaslState.code());
    assert!(matches!(bench.session.closed(), Some(Closed::LoginOutOfTurn)));
    // The same where nobody has to log in: said, and no more.
    let mut bench = Bench::new();
    send_token(&mut bench, b"\0ann\0pw");
    assert_eq!(answer(&mut bench).unwrap().error_code, ErrorCode::IllegalSaslState.code());
    assert!(metadata(&mut bench));
    // A handshake upon a handshake.
    let mut bench = demanding(Authentication::default());
    handshake(&mut bench, 1, "PLAIN");
    assert_eq!(handshake(&mut bench, 1, "PLAIN").error_code, ErrorCode::IllegalSaslState.code());
    assert!(matches!(bench.session.closed(), Some(Closed::LoginOutOfTurn)));
    // Another request in the middle.
    let mut bench = demanding(Authentication::default());
    handshake(&mut bench, 1, "PLAIN");
    assert!(!metadata(&mut bench) && bench.session.closed().is_some());
    // A second token after the login.
    let mut bench = demanding(Authentication::default());
    plain(&mut bench, "ann", "pw").unwrap();
    send_token(&mut bench, b"\0ann\0pw");
    assert_eq!(answer(&mut bench).unwrap().error_code, ErrorCode::IllegalSaslState.code());
    assert!(metadata(&mut bench));
}

#[test]
fn a_token_has_a_bound() {
    let mut bench = Bench::new();
    handshake(&mut bench, 1, "SCRAM-SHA-256");
    send_token(&mut bench, &vec![b'x'; bowline_sasl::TOKEN_BYTES_MAX + 1]);
    is_refused(&mut bench, "SCRAM-SHA-256");
}

/// The client's side of SCRAM: its proof for a challenge.
fn scram_login(bench: &mut Bench, mechanism: ScramMechanism, user: &str, password: &str) {
    let name = bowline_sasl::Mechanism::Scram(mechanism).name();
    assert_eq!(handshake(bench, 1, name).error_code, 0);
    let first = format!("n,,n={user},r=clientnonce");
    send_token(bench, first.as_bytes());
    let challenge = answer(bench).unwrap();
    assert_eq!((challenge.error_code, challenge.session_lifetime_ms), (0, 0));
    let challenge = std::str::from_utf8(&challenge.auth_bytes).unwrap().to_owned();
    assert!(challenge.starts_with("r=clientnonce") && challenge.ends_with(",i=4096"), "{challenge}");
    send_token(bench, scram::client::proof(mechanism, password, &first, &challenge).as_bytes());
}

#[test]
fn scram_opens_with_the_right_password_alone() {
    for mechanism in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
        let mut bench = demanding(Authentication::default());
        scram_login(&mut bench, mechanism, "ann", "pw");
        let last = answer(&mut bench).unwrap();
        assert_eq!(last.error_code, 0);
        assert!(last.auth_bytes.starts_with(b"v="));
        assert_eq!(name(&bench), "User:ann");
        assert!(metadata(&mut bench));
        for (user, password) in [("ann", "px"), ("nobody", "pw")] {
            let mut bench = demanding(Authentication::default());
            scram_login(&mut bench, mechanism, user, password);
            is_refused(&mut bench, bowline_sasl::Mechanism::Scram(mechanism).name());
        }
    }
}

/// After a handshake of version 0 tokens are frames of their own, and errors have no form.
#[test]
fn bare_tokens() {
    let mut bench = demanding(Authentication::default());
    handshake(&mut bench, 0, "PLAIN");
    bench.session.frame(Bytes::from_static(b"\0ann\0pw"), bench.now);
    check(&mut bench);
    assert_eq!(bench.frame().unwrap().len(), 0);
    assert_eq!(name(&bench), "User:ann");
    assert!(metadata(&mut bench), "requests have headers again");

    let mut bench = demanding(Authentication::default());
    handshake(&mut bench, 0, "SCRAM-SHA-256");
    let first = "n,,n=ann,r=x";
    bench.session.frame(Bytes::from_static(first.as_bytes()), bench.now);
    let challenge = String::from_utf8(bench.frame().unwrap().to_vec()).unwrap();
    let proof = scram::client::proof(ScramMechanism::Sha256, "pw", first, &challenge);
    bench.session.frame(proof.into(), bench.now);
    assert!(bench.frame().unwrap().starts_with(b"v="));
    assert!(metadata(&mut bench));

    let mut bench = demanding(Authentication::default());
    handshake(&mut bench, 0, "PLAIN");
    bench.session.frame(Bytes::from_static(b"\0ann\0px"), bench.now);
    check(&mut bench);
    assert!(bench.session.closed().is_none());
    bench.now.instant += Duration::from_millis(100);
    bench.session.expire(bench.now);
    assert!(bench.frame().is_none() && matches!(bench.session.closed(), Some(Closed::LoginRefused)));
}

fn tokens(issuer: &jwt::testing::Issuer) -> Authentication {
    let rules = jwt::Rules { issuer: Some("us".into()), audience: Some("kafka".into()), skew_ms: 0 };
    let keys = jwt::Keys::parse(issuer.jwks("k").as_bytes()).unwrap();
    Authentication { tokens: Some(Arc::new(jwt::Verifier::new(rules, keys))), ..Authentication::default() }
}

fn bearer(issuer: &jwt::testing::Issuer, subject: &str, expires: i64) -> String {
    let claims = format!(r#"{{"iss":"us","aud":"kafka","sub":"{subject}","exp":{expires}}}"#);
    format!("n,,\u{1}auth=Bearer {}\u{1}\u{1}", issuer.token(r#"{"alg":"ES256","kid":"k"}"#, &claims))
}

#[test]
fn a_token_of_the_issuers_opens() {
    let (issuer, stranger) = (jwt::testing::Issuer::new(), jwt::testing::Issuer::new());
    let mut bench = demanding(tokens(&issuer));
    let soon = bench.now.millis / 1000 + 60;
    assert!(handshake(&mut bench, 1, "OAUTHBEARER").mechanisms.contains(&"OAUTHBEARER".into()));
    send_token(&mut bench, bearer(&issuer, "svc", soon).as_bytes());
    let accepted = answer(&mut bench).unwrap();
    assert_eq!((accepted.error_code, accepted.auth_bytes.len(), accepted.session_lifetime_ms), (0, 0, 0));
    assert_eq!(name(&bench), "User:svc");
    // What is not good is told in the mechanism's own words first.
    for bad in [bearer(&stranger, "svc", soon), bearer(&issuer, "svc", 1), "n,,\u{1}\u{1}".into()] {
        let mut bench = demanding(tokens(&issuer));
        handshake(&mut bench, 1, "OAUTHBEARER");
        send_token(&mut bench, bad.as_bytes());
        let told = answer(&mut bench).unwrap();
        assert_eq!((told.error_code, &told.auth_bytes[..]), (0, br#"{"status":"invalid_token"}"#.as_slice()));
        send_token(&mut bench, b"\x01");
        is_refused(&mut bench, "OAUTHBEARER");
    }
}

/// KIP-368.
#[test]
fn a_login_ends_unless_it_is_renewed() {
    let lasts = Some(Duration::from_secs(60));
    let mut bench = demanding(Authentication { lasts, ..Authentication::default() });
    assert_eq!(plain(&mut bench, "ann", "pw").unwrap().session_lifetime_ms, 60_000);
    bench.now.instant += Duration::from_secs(50);
    assert!(metadata(&mut bench));
    // In the middle of a new login others' requests are served as before.
    handshake(&mut bench, 1, "SCRAM-SHA-256");
    assert!(metadata(&mut bench));
    bench.session.login.stage = Default::default();
    scram_login(&mut bench, ScramMechanism::Sha256, "ann", "pw");
    assert_eq!(answer(&mut bench).unwrap().session_lifetime_ms, 60_000);
    bench.now.instant += Duration::from_secs(59);
    assert!(metadata(&mut bench));
    // Over: a new login is still taken, and nothing else.
    bench.now.instant += Duration::from_secs(1);
    assert_eq!(plain(&mut bench, "ann", "pw").unwrap().error_code, 0);
    assert!(metadata(&mut bench));
    bench.now.instant += Duration::from_secs(60);
    assert!(!metadata(&mut bench));
    assert!(matches!(bench.session.closed(), Some(Closed::LoginOver { api: ApiKey::Metadata })));
}

#[test]
fn a_token_that_expires_ends_the_login_sooner() {
    let issuer = jwt::testing::Issuer::new();
    let lasts = Some(Duration::from_secs(60));
    let mut bench = demanding(Authentication { lasts, ..tokens(&issuer) });
    let expires = bench.now.millis / 1000 + 20;
    handshake(&mut bench, 1, "OAUTHBEARER");
    send_token(&mut bench, bearer(&issuer, "svc", expires).as_bytes());
    assert_eq!(answer(&mut bench).unwrap().session_lifetime_ms, 20_000);
    bench.now.instant += Duration::from_secs(20);
    assert!(!metadata(&mut bench));
}

#[test]
fn nobody_becomes_somebody_else() {
    let mut bench = demanding(Authentication::default());
    plain(&mut bench, "ann", "pw").unwrap();
    scram_login(&mut bench, ScramMechanism::Sha256, "bob", "pw");
    is_refused(&mut bench, "SCRAM-SHA-256");
    assert_eq!(name(&bench), "User:ann");
    // A certificate's owner may still say who it is.
    let peer = Peer { certified: Some("host".into()), ..near() };
    let mut bench = Bench::with(peer, Options::default());
    plain(&mut bench, "ann", "pw").unwrap();
    assert_eq!(name(&bench), "User:ann");
}

#[test]
fn scram_credentials_are_described() {
    let mut bench = Bench::new();
    let mut ask = |users: Option<Vec<&str>>| {
        let named = |name: &str| describe_user_scram_credentials_request::UserName { name: name.into() };
        let users = users.map(|users| users.into_iter().map(named).collect());
        bench.send(0, &DescribeUserScramCredentialsRequest { users });
        let results = bench.receive::<DescribeUserScramCredentialsResponse>(0).unwrap().1.results;
        let short = results.into_iter().map(|r| {
            let infos: Vec<_> = r.credential_infos.iter().map(|i| (i.mechanism, i.iterations)).collect();
            (r.user, r.error_code, infos)
        });
        short.collect::<Vec<_>>()
    };
    let ann = || ("ann".to_owned(), 0, vec![(1, 4096)]);
    assert_eq!(ask(None), [ann()]);
    assert_eq!(ask(Some(vec![])), [ann()]);
    assert_eq!(ask(Some(vec!["bob", "ann"])), [ann(), ("bob".to_owned(), 91, vec![])]);
    assert_eq!(ask(Some(vec!["ann", "ann"])), [("ann".to_owned(), 92, vec![])]);
}

#[test]
fn scram_credentials_are_altered_user_by_user() {
    use alter_user_scram_credentials_request::{ScramCredentialDeletion, ScramCredentialUpsertion};
    let deletion = |name: &str, mechanism| ScramCredentialDeletion { name: name.into(), mechanism };
    let upsertion = |name: &str, mechanism, iterations, bytes: usize| ScramCredentialUpsertion {
        name: name.into(),
        mechanism,
        iterations,
        salt: Bytes::from_static(b"salt"),
        salted_password: vec![1; bytes].into(),
    };
    let mut bench = Bench::new();
    bench.send(
        0,
        &AlterUserScramCredentialsRequest {
            deletions: vec![deletion("ann", 1), deletion("gone", 2), deletion("twice", 1)],
            upsertions: vec![
                upsertion("ann", 2, 4096, 64),
                upsertion("few", 1, 4095, 32),
                upsertion("many", 1, 16_385, 32),
                upsertion("new", 1, 16_384, 32),
                upsertion("none", 2, 4096, 0),
                upsertion("short", 2, 4096, 18),
                upsertion("twice", 1, 4096, 32),
                upsertion("what", 3, 4096, 32),
                upsertion("", 1, 4096, 32),
            ],
        },
    );
    let asked = bench.asked_meta();
    let altered = asked.iter().map(|(_, request)| match request {
        MetaRequest::Propose(Command::ScramAlter { user, put, remove }) => {
            (user.as_str(), put.len(), remove.len())
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(altered.collect::<Vec<_>>(), [("ann", 1, 1), ("gone", 0, 1), ("new", 1, 0), ("short", 1, 0)]);
    for (token, request) in asked {
        let gone = format!("{request:?}").contains("gone");
        let rejection = Rejection { reason: Reason::NotFound, text: "no".into() };
        let result = if gone { Err(rejection) } else { Ok(Outcome::Ok) };
        bench.event(Event::Meta { token, result });
    }
    let (_, response) = bench.receive::<AlterUserScramCredentialsResponse>(0).unwrap();
    let codes: Vec<_> = response.results.iter().map(|r| (r.user.as_str(), r.error_code)).collect();
    let expected = [
        ("", 93),
        ("ann", 0),
        ("few", 93),
        ("gone", 91),
        ("many", 93),
        ("new", 0),
        ("none", 93),
        ("short", 0),
        ("twice", 92),
        ("what", 33),
    ];
    assert_eq!(codes, expected);
}
