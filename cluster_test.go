package main

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Cluster of one master with all slots: Redis then refuses a script whose keys
// are in two slots, which is what these tests are to find.
var sharedCluster = sync.OnceValues(func() (*redisServer, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, err
	}
	s, stop, err := redisByBinary([]string{"--cluster-enabled", "yes"})
	if err != nil {
		return nil, err
	}
	stopSharedCluster = stop
	rdb := redis.NewClient(&redis.Options{Addr: s.addr})
	defer rdb.Close()
	ctx := context.Background()
	if err := rdb.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		return nil, err
	}
	for range 500 {
		if info := rdb.ClusterInfo(ctx).Val(); len(info) > 16 && info[:16] == "cluster_state:ok" {
			return s, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, fmt.Errorf("the cluster did not form")
})

var stopSharedCluster = func() {}

func clusterClient(t *testing.T) redis.UniversalClient {
	t.Helper()
	s, err := sharedCluster()
	if err != nil {
		skip(t, err)
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.addr}, DisableIdentity: true})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}
