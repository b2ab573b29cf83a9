package redistest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Cluster returns the addresses of the shared Cluster. It is one master that has all slots. That is enough, because it
// refuses a script whose keys are in two slots, which is what tests on a Cluster are to find.
func Cluster(t testing.TB) (addrs []string) {
	t.Helper()
	s, err := sharedCluster()
	if err != nil {
		testkit.Skip(t, err)
	}
	return []string{s.Addr}
}

var clusterArgs = []string{"--cluster-enabled", "yes"}

var sharedCluster = sync.OnceValues(func() (*Server, error) {
	s, err := runBinary(clusterArgs)
	if err != nil {
		return nil, err
	}
	share(s.stop)
	if err := giveSlots(s.Addr); err != nil {
		return nil, err
	}
	return s, awaitCluster(s.Addr)
})

// giveSlots gives a server all slots.
func giveSlots(addr string) error {
	rdb := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
	defer rdb.Close()
	return rdb.Do(context.Background(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err()
}

// awaitCluster waits until a Cluster serves.
func awaitCluster(addr string) error {
	rdb := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
	defer rdb.Close()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if strings.HasPrefix(rdb.ClusterInfo(context.Background()).Val(), "cluster_state:ok") {
			return nil
		}
	}
	return errors.New("the cluster did not form")
}
