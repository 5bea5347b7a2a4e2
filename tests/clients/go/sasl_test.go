package clients

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func lockedBroker(t *testing.T, options ...string) *Broker {
	if elsewhere() {
		t.Skip("needs a broker of its own")
	}
	broker, err := startBroker(append([]string{"--anonymous", "off", "--user", "ann:secret"}, options...)...)
	must(t, err)
	t.Cleanup(func() { must(t, broker.stop()) })
	return broker
}

func byPassword(user, password string) []sasl.Mechanism {
	auth := scram.Auth{User: user, Pass: password}
	return []sasl.Mechanism{
		plain.Auth{User: user, Pass: password}.AsMechanism(), auth.AsSha256Mechanism(), auth.AsSha512Mechanism(),
	}
}

// tour sends messages and reads them back.
func tour(t *testing.T, broker *Broker, mechanism sasl.Mechanism) {
	t.Helper()
	topic := unique("sasl")
	options := []kgo.Opt{kgo.SASL(mechanism), kgo.AllowAutoTopicCreation()}
	produce(t, client(t, broker, options...), topic, values(0, 10))
	consumer := client(t, broker, append(options, kgo.ConsumeTopics(topic))...)
	if got := poll(t, consumer, 10); string(got[9].Value) != "9" {
		t.Fatal(got)
	}
}

func refused(t *testing.T, broker *Broker, mechanism sasl.Mechanism) {
	t.Helper()
	if err := client(t, broker, kgo.SASL(mechanism)).Ping(deadline(t)); !errors.Is(err, kerr.SaslAuthenticationFailed) {
		t.Fatal(mechanism.Name(), err)
	}
}

func TestPasswordsWithFranz(t *testing.T) {
	broker := lockedBroker(t)
	for _, mechanism := range byPassword("ann", "secret") {
		tour(t, broker, mechanism)
	}
	for _, wrong := range append(byPassword("ann", "wrong"), byPassword("nobody", "secret")...) {
		refused(t, broker, wrong)
	}
}

func TestScramCredentialsWithFranz(t *testing.T) {
	broker := lockedBroker(t)
	admin := kadm.NewClient(client(t, broker, kgo.SASL(byPassword("ann", "secret")[0])))
	put := kadm.UpsertSCRAM{User: "kim", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "kims"}
	altered, err := admin.AlterUserSCRAMs(deadline(t), nil, []kadm.UpsertSCRAM{put})
	must(t, err)
	must(t, altered["kim"].Err)
	tour(t, broker, byPassword("kim", "kims")[1])
	refused(t, broker, byPassword("kim", "kims")[2])
}

// franz-go renews its login before it ends.
func TestLoginsAreRenewedByFranz(t *testing.T) {
	broker := lockedBroker(t, "--kafka-reauth", "3000")
	topic := unique("renewed")
	producer := client(t, broker, kgo.SASL(byPassword("ann", "secret")[1]), kgo.AllowAutoTopicCreation())
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); {
		produce(t, producer, topic, values(0, 1))
	}
}

func TestTokensWithFranz(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	text := base64.RawURLEncoding.EncodeToString
	jwks, _ := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "kid": "k", "n": text(key.N.Bytes()), "e": text(big.NewInt(int64(key.E)).Bytes()),
	}}})
	file := filepath.Join(t.TempDir(), "jwks.json")
	must(t, os.WriteFile(file, jwks, 0o600))
	broker := lockedBroker(t, "--oauth-jwks", file, "--oauth-issuer", "us", "--oauth-audience", "any")
	token := func(expires time.Duration) sasl.Mechanism {
		claims := fmt.Sprintf(`{"iss":"us","sub":"svc","exp":%d}`, time.Now().Add(expires).Unix())
		message := text([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + text([]byte(claims))
		digest := sha256.Sum256([]byte(message))
		signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		must(t, err)
		return oauth.Auth{Token: message + "." + text(signature)}.AsMechanism()
	}
	tour(t, broker, token(time.Minute))
	if err := client(t, broker, kgo.SASL(token(-time.Minute))).Ping(deadline(t)); err == nil {
		t.Fatal("an expired token opens")
	}
}
