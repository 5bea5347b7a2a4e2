package clients

import (
	"context"
	"fmt"
	"sort"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// shareGroup names a new share group that begins with the first record.
func shareGroup(t *testing.T, broker *Broker) string {
	group, earliest := unique("share"), "earliest"
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "share.auto.offset.reset", &earliest
	resource.Configs = append(resource.Configs, config)
	request.Resources = append(request.Resources, resource)
	response, err := request.RequestWith(deadline(t), client(t, broker))
	must(t, err)
	must(t, kerr.ErrorForCode(response.Resources[0].ErrorCode))
	return group
}

// TestAShareGroupReleasesAndAccepts: two consumers share three partitions; every third record is released once.
func TestAShareGroupReleasesAndAccepts(t *testing.T) {
	broker := shared
	topic, group := makeTopic(t, broker, "share", 3), shareGroup(t, broker)
	produce(t, client(t, broker), topic, values(0, 300))
	consumers := []*kgo.Client{
		client(t, broker, kgo.ShareGroup(group), kgo.ConsumeTopics(topic)),
		client(t, broker, kgo.ShareGroup(group), kgo.ConsumeTopics(topic)),
	}
	accepted := map[string]int32{}
	end := time.Now().Add(45 * time.Second)
	for len(accepted) < 300 && time.Now().Before(end) {
		for _, consumer := range consumers {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			consumer.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
				value := string(record.Value)
				if _, again := accepted[value]; again {
					t.Errorf("%s was accepted and comes again", value)
				}
				if record.DeliveryCount() == 1 && record.Offset%3 == 0 {
					record.Ack(kgo.AckRelease)
					return
				}
				record.Ack(kgo.AckAccept)
				accepted[value] = record.DeliveryCount()
			})
			cancel()
		}
	}
	var missing []string
	counts := map[int32]int{}
	for i := range 300 {
		count, ok := accepted[fmt.Sprint(i)]
		if !ok {
			missing = append(missing, fmt.Sprint(i))
		}
		counts[count]++
	}
	sort.Strings(missing)
	if len(missing) > 0 || counts[1] == 0 || counts[2] == 0 {
		t.Fatalf("missing %v; deliveries %v", missing, counts)
	}
}
