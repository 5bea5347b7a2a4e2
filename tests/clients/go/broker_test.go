// Package clients holds what Go programs do with RabbitMQ and Kafka, run against Bowline.
//
// BOWLINE_BIN names the binary; BOWLINE_AMQP=host:port and BOWLINE_KAFKA=host:port point the tests at a running broker
// instead (any RabbitMQ or Kafka).
package clients

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Broker is a Bowline process, or the addresses of brokers that run already.
type Broker struct {
	AMQP, Kafka string
	dir         string
	options     []string
	process     *exec.Cmd
}

var shared *Broker

func elsewhere() bool {
	return os.Getenv("BOWLINE_AMQP") != "" || os.Getenv("BOWLINE_KAFKA") != ""
}

func TestMain(m *testing.M) {
	if elsewhere() {
		shared = &Broker{AMQP: os.Getenv("BOWLINE_AMQP"), Kafka: os.Getenv("BOWLINE_KAFKA")}
		os.Exit(m.Run())
	}
	broker, err := startBroker()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared = broker
	code := m.Run()
	if err := broker.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "the broker did not end cleanly:", err)
		code = 1
	}
	os.Exit(code)
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

func startBroker(options ...string) (*Broker, error) {
	dir, err := os.MkdirTemp("", "bowline-go-")
	if err != nil {
		return nil, err
	}
	broker := &Broker{dir: dir, options: options}
	if broker.AMQP, err = freeAddress(); err != nil {
		return nil, err
	}
	if broker.Kafka, err = freeAddress(); err != nil {
		return nil, err
	}
	return broker, broker.start()
}

func (b *Broker) start() error {
	b.process = exec.Command(os.Getenv("BOWLINE_BIN"), append([]string{"serve", "--no-probe", "--log-level", "warn",
		"--data-dir", b.dir + "/data", "--amqp-addr", b.AMQP, "--kafka-addr", b.Kafka}, b.options...)...)
	b.process.Stderr = os.Stderr
	out, err := b.process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.process.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(out)
	// The first line is printed when the listeners are up.
	first, err := lines.ReadString('\n')
	if err != nil || !strings.Contains(first, "is ready") {
		return fmt.Errorf("bowline did not start: %q %v", first, err)
	}
	go lines.WriteTo(discard{})
	return nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (b *Broker) stop() error {
	defer os.RemoveAll(b.dir)
	b.process.Process.Signal(syscall.SIGTERM)
	return b.process.Wait()
}

func (b *Broker) killAndRestart() error {
	b.process.Process.Kill()
	b.process.Wait()
	return b.start()
}

// ownBroker is one that the test may kill.
func ownBroker(t *testing.T) *Broker {
	if elsewhere() {
		t.Skip("needs a broker of its own")
	}
	broker, err := startBroker()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.stop() })
	return broker
}

var serial atomic.Int64

func unique(what string) string {
	return fmt.Sprintf("go-%s-%d-%d", what, time.Now().UnixNano(), serial.Add(1))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until check is true.
func eventually(t *testing.T, check func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !check(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came true")
		}
	}
}
