package redisqueue

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

const (
	// statsPage bounds the index entries that one run of stats.lua reads.
	statsPage = 1000
	// detailsPage bounds the sessions that one run of session_details.lua describes.
	detailsPage = 200
)

// Sessions lists the sessions that have live images. It asks all index shards in one pipeline, and again those that
// have more than a page.
func (q *Queue) Sessions(ctx context.Context) ([]queue.Session, error) {
	found := map[string]int{}
	shards := bucketKeys[:]
	for skip := 0; len(shards) > 0; skip += statsPage {
		var err error
		if shards, err = q.statsPages(ctx, shards, skip, found); err != nil {
			return nil, fmt.Errorf("stats: %w", err)
		}
	}
	sessions := make([]queue.Session, 0, len(found))
	for id, images := range found {
		sessions = append(sessions, queue.Session{ID: id, Len: images})
	}
	return sessions, nil
}

// statsPages adds one page of each shard to found and returns the shards that have more.
func (q *Queue) statsPages(ctx context.Context, shards []keys, skip int, found map[string]int) ([]keys, error) {
	pages := make([]*redis.Cmd, len(shards))
	err := q.retry(ctx, q.metrics.stats, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		for i, k := range shards {
			pages[i] = q.sendStats(ctx, pipeline, k, skip)
		}
		_, err := pipeline.Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	var more []keys
	for i, page := range pages {
		read, err := parseStats(page, found)
		if err != nil {
			return nil, err
		}
		if read == statsPage {
			more = append(more, shards[i])
		}
	}
	return more, nil
}

// detailsQuery asks one index shard for the details of some of its sessions.
type detailsQuery struct {
	shard  keys
	places []int // of the sessions in the list of ids
	reply  *redis.Cmd
}

// Details describes sessions, in the order of ids.
func (q *Queue) Details(ctx context.Context, ids []string) ([]queue.Details, error) {
	queries := detailsQueries(ids)
	err := q.retry(ctx, q.metrics.stats, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		for i := range queries {
			some := make([]string, len(queries[i].places))
			for n, place := range queries[i].places {
				some[n] = ids[place]
			}
			queries[i].reply = q.sendSessionDetails(ctx, pipeline, queries[i].shard, some)
		}
		_, err := pipeline.Exec(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("details: %w", err)
	}
	all := make([]queue.Details, len(ids))
	for _, query := range queries {
		some, err := parseDetails(query.reply, len(query.places))
		if err != nil {
			return nil, fmt.Errorf("details: %w", err)
		}
		for n, place := range query.places {
			all[place] = some[n]
		}
	}
	return all, nil
}

// detailsQueries groups sessions by index shard, a page at most in each group.
func detailsQueries(ids []string) (queries []detailsQuery) {
	shards := map[keys][]int{}
	for place, id := range ids {
		k := keysOf(id)
		shards[k] = append(shards[k], place)
	}
	for k, places := range shards {
		for page := range slices.Chunk(places, detailsPage) {
			queries = append(queries, detailsQuery{shard: k, places: page})
		}
	}
	return queries
}
