package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func dial(t *testing.T, broker *Broker) *amqp.Connection {
	connection, err := amqp.Dial("amqp://guest:guest@" + broker.AMQP + "/")
	must(t, err)
	t.Cleanup(func() { connection.Close() })
	return connection
}

func channel(t *testing.T, connection *amqp.Connection) *amqp.Channel {
	channel, err := connection.Channel()
	must(t, err)
	return channel
}

func exclusiveQueue(t *testing.T, ch *amqp.Channel) string {
	queue, err := ch.QueueDeclare("", false, false, true, false, nil)
	must(t, err)
	return queue.Name
}

// take receives n deliveries and leaves them unacknowledged.
func take(t *testing.T, deliveries <-chan amqp.Delivery, n int) []amqp.Delivery {
	t.Helper()
	var got []amqp.Delivery
	for len(got) < n {
		select {
		case delivery, open := <-deliveries:
			if !open {
				t.Fatalf("the channel closed after %d of %d", len(got), n)
			}
			got = append(got, delivery)
		case <-time.After(20 * time.Second):
			t.Fatalf("only %d of %d came", len(got), n)
		}
	}
	return got
}

func TestTutorial(t *testing.T) {
	ch := channel(t, dial(t, shared))
	name := unique("tutorial")
	_, err := ch.QueueDeclare(name, true, false, false, false, nil)
	must(t, err)
	ctx := context.Background()
	must(t, ch.PublishWithContext(ctx, "", name, false, false, amqp.Publishing{
		ContentType: "text/plain", DeliveryMode: amqp.Persistent, Body: []byte("hello")}))
	deliveries, err := ch.Consume(name, "", false, false, false, false, nil)
	must(t, err)
	got := take(t, deliveries, 1)[0]
	if string(got.Body) != "hello" || got.Redelivered || got.ContentType != "text/plain" {
		t.Fatalf("%+v", got)
	}
	must(t, got.Ack(false))
	purged, err := ch.QueueDelete(name, false, false, false)
	must(t, err)
	if purged != 0 {
		t.Fatal(purged)
	}
}

func TestConfirms(t *testing.T) {
	ch := channel(t, dial(t, shared))
	name := unique("confirms")
	_, err := ch.QueueDeclare(name, true, false, false, false, nil)
	must(t, err)
	must(t, ch.Confirm(false))
	const n = 500
	var pending []*amqp.DeferredConfirmation
	for i := range n {
		confirmation, err := ch.PublishWithDeferredConfirm("", name, false, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Body: []byte(fmt.Sprint(i))})
		must(t, err)
		pending = append(pending, confirmation)
	}
	for _, confirmation := range pending {
		if !confirmation.Wait() {
			t.Fatal("nack")
		}
	}
	must(t, ch.Qos(50, 0, false))
	deliveries, err := ch.Consume(name, "tag", false, false, false, false, nil)
	must(t, err)
	for i := range n {
		got := take(t, deliveries, 1)[0]
		if string(got.Body) != fmt.Sprint(i) || got.ConsumerTag != "tag" {
			t.Fatalf("%d: %+v", i, got)
		}
		must(t, got.Ack(false))
	}
	must(t, ch.Cancel("tag", false))
	_, err = ch.QueueDelete(name, false, false, false)
	must(t, err)
}

func TestPropertiesAndHeaders(t *testing.T) {
	ch := channel(t, dial(t, shared))
	queue := exclusiveQueue(t, ch)
	headers := amqp.Table{
		"text": "ü", "int": int32(-7), "long": int64(1) << 40, "bool": true, "double": 1.5, "float": float32(0.5), "byte": byte(200),
		"short": int16(-3), "list": []interface{}{int32(1), "two", amqp.Table{"three": nil}}, "table": amqp.Table{"deep": true},
		"void": nil, "octets": []byte{0, 255}, "time": time.Unix(1_700_000_000, 0), "decimal": amqp.Decimal{Scale: 2, Value: 314},
	}
	sent := amqp.Publishing{
		Headers: headers, ContentType: "a/b", ContentEncoding: "utf-8", DeliveryMode: amqp.Transient, Priority: 3, CorrelationId: "c",
		ReplyTo: "r", MessageId: "m", Timestamp: time.Unix(1_700_000_000, 0), Type: "t", UserId: "guest", AppId: "a", Body: []byte{},
	}
	must(t, ch.PublishWithContext(context.Background(), "", queue, false, false, sent))
	got, ok, err := ch.Get(queue, true)
	must(t, err)
	if !ok || !reflect.DeepEqual(got.Headers, headers) {
		t.Fatalf("%v\n%v", got.Headers, headers)
	}
	if got.CorrelationId != "c" || got.ReplyTo != "r" || got.MessageId != "m" || !got.Timestamp.Equal(sent.Timestamp) || got.Type != "t" ||
		got.UserId != "guest" || got.AppId != "a" || got.Priority != 3 || got.ContentEncoding != "utf-8" || len(got.Body) != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestExchangesAndReturns(t *testing.T) {
	ch := channel(t, dial(t, shared))
	queue, name := exclusiveQueue(t, ch), unique("exchange")
	must(t, ch.ExchangeDeclare(name, "topic", false, true, false, false, nil))
	must(t, ch.ExchangeDeclare(name+"-fan", "fanout", false, true, false, false, nil))
	must(t, ch.QueueBind(queue, "stock.#", name, false, nil))
	must(t, ch.ExchangeBind(name+"-fan", "copy", name, false, nil))
	must(t, ch.QueueBind(queue, "", name+"-fan", false, nil))
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	must(t, ch.Confirm(false))
	for _, key := range []string{"stock.usd.nyse", "copy", "nobody"} {
		confirmation, err := ch.PublishWithDeferredConfirm(name, key, true, false, amqp.Publishing{Body: []byte(key)})
		must(t, err)
		if !confirmation.Wait() {
			t.Fatal(key)
		}
	}
	for _, key := range []string{"stock.usd.nyse", "copy"} {
		got, ok, err := ch.Get(queue, true)
		must(t, err)
		if !ok || got.RoutingKey != key || got.Exchange != name {
			t.Fatalf("%+v", got)
		}
	}
	if returned := <-returns; returned.ReplyCode != amqp.NoRoute || string(returned.Body) != "nobody" {
		t.Fatalf("%+v", returned)
	}
	must(t, ch.QueueUnbind(queue, "stock.#", name, nil))
	must(t, ch.ExchangeUnbind(name+"-fan", "copy", name, false, nil))
}

func TestNackAndRedelivery(t *testing.T) {
	connection := dial(t, shared)
	ch := channel(t, connection)
	queue := exclusiveQueue(t, ch)
	for i := range 4 {
		must(t, ch.PublishWithContext(context.Background(), "", queue, false, false, amqp.Publishing{Body: []byte{byte(i)}}))
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	must(t, err)
	got := take(t, deliveries, 4)
	must(t, got[3].Nack(true, true))
	for i, again := range take(t, deliveries, 4) {
		if !again.Redelivered || again.Body[0] != byte(i) {
			t.Fatalf("%d: %+v", i, again)
		}
	}
	// What a channel held comes back when it closes.
	must(t, ch.Close())
	other := channel(t, connection)
	state, err := other.QueueDeclarePassive(queue, false, false, true, false, nil)
	must(t, err)
	if state.Messages != 4 {
		t.Fatal(state.Messages)
	}
	first, ok, err := other.Get(queue, false)
	must(t, err)
	if !ok || !first.Redelivered {
		t.Fatal(first)
	}
	must(t, first.Reject(false))
	n, err := other.QueuePurge(queue, false)
	must(t, err)
	if n != 3 {
		t.Fatal(n)
	}
}

func TestErrorsCloseTheChannel(t *testing.T) {
	connection := dial(t, shared)
	ch := channel(t, connection)
	name := unique("missing")
	_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
	var refusal *amqp.Error
	if !errors.As(err, &refusal) || refusal.Code != amqp.NotFound || refusal.Reason != fmt.Sprintf("NOT_FOUND - no queue '%s' in vhost '/'", name) {
		t.Fatal(err)
	}
	if connection.IsClosed() {
		t.Fatal("the connection went too")
	}
	exclusiveQueue(t, channel(t, connection))
}

func TestWrongPasswordAndVhost(t *testing.T) {
	if _, err := amqp.Dial("amqp://guest:wrong@" + shared.AMQP + "/"); !errors.Is(err, amqp.ErrCredentials) {
		t.Fatal(err)
	}
	if _, err := amqp.Dial("amqp://guest:guest@" + shared.AMQP + "/nowhere"); err == nil {
		t.Fatal("a vhost that is not there")
	}
}

func TestLargeBodyInSmallFrames(t *testing.T) {
	connection, err := amqp.DialConfig("amqp://guest:guest@"+shared.AMQP+"/", amqp.Config{FrameSize: 8192, Heartbeat: time.Second})
	must(t, err)
	defer connection.Close()
	ch := channel(t, connection)
	queue := exclusiveQueue(t, ch)
	body := bytes.Repeat([]byte("bowline"), 300_000)
	must(t, ch.PublishWithContext(context.Background(), "", queue, false, false, amqp.Publishing{Body: body}))
	deliveries, err := ch.Consume(queue, "", true, false, false, false, nil)
	must(t, err)
	if got := take(t, deliveries, 1)[0]; !bytes.Equal(got.Body, body) {
		t.Fatal(len(got.Body))
	}
}

func TestConsumerIsCancelledWithItsQueue(t *testing.T) {
	connection := dial(t, shared)
	ch := channel(t, connection)
	name := unique("gone")
	_, err := ch.QueueDeclare(name, true, false, false, false, nil)
	must(t, err)
	cancelled := ch.NotifyCancel(make(chan string, 1))
	_, err = ch.Consume(name, "tag", false, false, false, false, nil)
	must(t, err)
	_, err = channel(t, connection).QueueDelete(name, false, false, false)
	must(t, err)
	select {
	case tag := <-cancelled:
		if tag != "tag" {
			t.Fatal(tag)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("not told")
	}
}

func TestConfirmedMessagesSurviveAKill(t *testing.T) {
	broker := ownBroker(t)
	ch := channel(t, dial(t, broker))
	_, err := ch.QueueDeclare("kept", true, false, false, false, nil)
	must(t, err)
	must(t, ch.Confirm(false))
	for i := range 100 {
		confirmation, err := ch.PublishWithDeferredConfirm("", "kept", false, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Body: []byte(fmt.Sprint(i))})
		must(t, err)
		if !confirmation.Wait() {
			t.Fatal(i)
		}
	}
	must(t, broker.killAndRestart())
	ch = channel(t, dial(t, broker))
	for i := range 100 {
		got, ok, err := ch.Get("kept", true)
		must(t, err)
		if !ok || string(got.Body) != fmt.Sprint(i) {
			t.Fatalf("%d: %v %s", i, ok, got.Body)
		}
	}
}

// What amqp091-go's users write around it: a client that learns by NotifyClose that its broker has gone and connects
// again, with confirmed publishes retried until they are confirmed, and a consumer that starts over.
func TestAClientThatReconnects(t *testing.T) {
	broker := ownBroker(t)
	const messages = 300
	arguments := amqp.Table{"x-queue-type": "quorum"}
	open := func() (*amqp.Connection, *amqp.Channel, error) {
		connection, err := amqp.DialConfig("amqp://guest:guest@"+broker.AMQP+"/", amqp.Config{Heartbeat: 2 * time.Second})
		if err != nil {
			return nil, nil, err
		}
		ch, err := connection.Channel()
		if err == nil {
			_, err = ch.QueueDeclare("jobs", true, false, false, false, arguments)
		}
		return connection, ch, err
	}
	published := make(chan int, messages)
	go func() {
		for next := 0; next < messages; time.Sleep(10 * time.Millisecond) {
			connection, ch, err := open()
			if err != nil {
				continue
			}
			for closed := connection.NotifyClose(make(chan *amqp.Error, 1)); next < messages && err == nil; {
				if err = ch.Confirm(false); err != nil {
					break
				}
				confirmation, failed := ch.PublishWithDeferredConfirm("", "jobs", false, false, amqp.Publishing{
					DeliveryMode: amqp.Persistent, Body: []byte(fmt.Sprint(next))})
				if err = failed; err != nil {
					break
				}
				select {
				case <-confirmation.Done():
					if confirmation.Acked() {
						published <- next
						next++
					}
				case err = <-closed:
				}
			}
			connection.Close()
		}
	}()
	stop := make(chan bool)
	got := make(chan string, 10*messages)
	go func() {
		for {
			connection, ch, err := open()
			if err == nil {
				ch.Qos(10, 0, false)
				deliveries, _ := ch.Consume("jobs", "", false, false, false, false, nil)
				for delivery := range deliveries {
					got <- string(delivery.Body)
					delivery.Ack(false)
				}
				connection.Close()
			}
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	for i := range messages {
		<-published
		if i == messages/3 || i == 2*messages/3 {
			must(t, broker.killAndRestart())
		}
	}
	// Every job at least once; once more is allowed where the broker went before it had the acknowledgement.
	seen := map[string]bool{}
	for len(seen) < messages {
		select {
		case body := <-got:
			seen[body] = true
		case <-time.After(20 * time.Second):
			t.Fatalf("only %d of %d jobs came", len(seen), messages)
		}
	}
	close(stop)
}
